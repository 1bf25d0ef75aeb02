"""Tasks spread over processes of one thread each."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import torch
from threadpoolctl import threadpool_limits

from labelfix.progress import Progress

T = TypeVar("T")

_work: list[Callable[[int], Any]] = []
"""In a process of the pool: what it does."""


def spread(
    work: Callable[[int], T], numbers: Sequence[int], stage: str, progress: Progress, processes: int
) -> Iterator[T]:
    """Yield what `work` makes of each task number, in their order; `work` and its results are pickled.

    Each process is sent `work`, which may hold sets of hundreds of megabytes, once.
    """
    context = multiprocessing.get_context("spawn")
    with (
        progress.stage(stage, len(numbers), "tasks") as advance,
        context.Pool(processes, _begin, (work,)) as pool,
    ):
        for made in pool.imap(_made_of, numbers):
            advance(1)
            yield made


def _begin(work: Callable[[int], Any]) -> None:
    # Also those of numpy and faiss: threads that wait for each other in turns are ten times slower.
    threadpool_limits(1)
    torch.set_num_threads(1)
    _work.append(work)


def _made_of(number: int) -> Any:
    return _work[0](number)
