"""Decoding: images in order, by a thread or by worker processes, while something else computes."""

from __future__ import annotations

import contextlib
import os
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np

from labelfix.errors import ImageUnreadable
from labelfix.learn.images import Batch, ImageDataset, collate, decode
from labelfix.learn.recipe import Recipe

_CHEAP = (
    1.5e-3  # seconds to decode an image: up to here a thread keeps up, and batches need not cross processes
)
_AHEAD = 3  # batches made while something else computes
_WORTH_WORKERS = 2.0  # seconds of decoding that pay for starting worker processes

Item = TypeVar("Item")
Made = TypeVar("Made")


def batches(dataset: ImageDataset, size: int, workers: int) -> Generator[Batch]:
    """Yield the data set's batches in order; closing it ends the worker processes."""
    if not workers:

        def load(start: int) -> Batch:
            return collate(dataset.__getitems__(range(start, min(start + size, len(dataset)))))

        yield from ahead(load, range(0, len(dataset), size))
        return
    from torch.utils.data import DataLoader

    mapped: Any = dataset  # map-style by its methods: no need to import torch for a base class
    loader: DataLoader[Batch] = DataLoader(
        mapped, size, num_workers=workers, collate_fn=collate, worker_init_fn=_leave_interrupts_to_parent
    )
    iterator = iter(loader)
    try:
        while (batch := next(iterator, None)) is not None:
            yield batch
    finally:
        del iterator  # the last reference: torch then stops and joins the workers


def ahead(make: Callable[[Item], Made], items: Iterable[Item]) -> Generator[Made]:
    """Yield what is made of each item, in order, by a thread that works while the caller computes.

    Who computes outside the interpreter leaves a core half idle.
    """
    with ThreadPoolExecutor(1) as thread:
        coming: deque[Future[Made]] = deque()
        for item in items:
            coming.append(thread.submit(make, item))
            if len(coming) > _AHEAD:
                yield coming.popleft().result()
        while coming:
            yield coming.popleft().result()


def _leave_interrupts_to_parent(_: int) -> None:
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)


def worker_count(recipe: Recipe, dataset: ImageDataset) -> int:
    """Return how many processes decode. Only speed depends on it, so it may be measured."""
    if recipe.workers is not None:
        return recipe.workers
    sample = dataset.rows[np.linspace(0, len(dataset) - 1, 9).astype(int)]
    seconds = []
    for row in sample:
        with contextlib.suppress(ImageUnreadable):
            data = dataset.images.read(int(row))
            began = time.perf_counter()
            decode(data, dataset.size)
            seconds.append(time.perf_counter() - began)
    each = float(np.median(seconds[1:])) if len(seconds) > 1 else 0.0  # the first one also warms up
    from labelfix.learn.backbone import choose_device

    if each * len(dataset) < _WORTH_WORKERS or (each < _CHEAP and choose_device(recipe).type == "cpu"):
        return 0
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
