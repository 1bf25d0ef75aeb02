"""Tasks spread over processes of one thread each."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

import torch
from threadpoolctl import threadpool_limits

from labelfix.progress import Progress

T = TypeVar("T")

TOGETHER = 8
"""Tasks, at most, that a process is sent at once: `work` goes with them, and may hold sets of hundreds of megabytes."""


def spread(
    work: Callable[[int], T], numbers: Sequence[int], stage: str, progress: Progress, processes: int
) -> Iterator[T]:
    """Yield what `work` makes of each task number, in their order; `work` and its results are pickled."""
    context = multiprocessing.get_context("spawn")
    together = max(1, min(TOGETHER, len(numbers) // (2 * processes)))
    with (
        progress.stage(stage, len(numbers), "tasks") as advance,
        context.Pool(processes, _one_thread) as pool,
    ):
        for made in pool.imap(work, numbers, together):
            advance(1)
            yield made


def _one_thread() -> None:
    # Also those of numpy and faiss: threads that wait for each other in turns are ten times slower.
    threadpool_limits(1)
    torch.set_num_threads(1)
