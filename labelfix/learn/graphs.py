"""Graphs: a training step's kernels, recorded once on a GPU and then replayed as one.

A small model on small images computes for less time than Python needs to ask for its hundreds of kernels: so they are
asked for once for each size of batch.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

WARM_UP = 3
"""Runs before recording, in which libraries choose their ways and take their memory."""

Step = Callable[[Tensor, Tensor, int], Tensor]
"""(pixels [b, S, S, 3], wanted [b, K], b) → loss; leaves gradients at the model's parameters, and nothing else."""


class _Recorded(NamedTuple):
    graph: torch.cuda.CUDAGraph
    pixels: Tensor
    wanted: Tensor
    loss: Tensor
    slopes: list[Tensor | None]
    """Gradient of each parameter."""


class Graphs:
    """A step of a model in training mode, for each size of batch."""

    def __init__(self, model: nn.Module, step: Step) -> None:
        self.plain, self._model = step, model
        self._held = dict[int, _Recorded | None]()
        self._pool: Any = None

    def __call__(self, pixels: Tensor, wanted: Tensor, whole: int) -> Tensor:
        """Take the step; what it returns is valid until the next one."""
        if not self.record(pixels, wanted, whole):
            return self.plain(pixels, wanted, whole)
        held = self._held[whole]
        assert held is not None  # else it was not recorded
        held.pixels.copy_(pixels)
        held.wanted.copy_(wanted)
        held.graph.replay()
        for parameter, slope in zip(self._model.parameters(), held.slopes, strict=True):
            parameter.grad = slope
        return held.loss

    def record(self, pixels: Tensor, wanted: Tensor, whole: int) -> bool:
        """Record the step for batches of this size, once; False for a model that cannot be recorded.

        Weights, statistics and random states stay as they were.
        """
        if whole in self._held:
            return self._held[whole] is not None
        before = [buffer.clone() for buffer in self._model.buffers()]
        try:
            with torch.random.fork_rng(devices=[pixels.device]), torch.cuda.device(pixels.device):
                self._held[whole] = self._record(pixels.clone(), wanted.clone())
        except RuntimeError:  # out of memory, or a model that asks the processor in between
            self._held[whole] = None
        finally:
            self._model.zero_grad()
            with torch.no_grad():
                for buffer, value in zip(self._model.buffers(), before, strict=True):
                    buffer.copy_(value)
        return self._held[whole] is not None

    def _record(self, pixels: Tensor, wanted: Tensor) -> _Recorded:
        here, beside = torch.cuda.current_stream(), torch.cuda.Stream()  # type: ignore[no-untyped-call]  # torch's own
        beside.wait_stream(here)
        with torch.cuda.stream(beside):
            for _ in range(WARM_UP):
                self._model.zero_grad()
                self.plain(pixels, wanted, len(pixels))
        here.wait_stream(beside)
        self._model.zero_grad()  # gradients are then made where the recording keeps them
        graph = torch.cuda.CUDAGraph()
        # Other threads may go on: one reads ahead.
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            loss = self.plain(pixels, wanted, len(pixels))
        self._pool = graph.pool()  # steps follow one another: they can use the same memory
        slopes = [parameter.grad for parameter in self._model.parameters()]
        return _Recorded(graph, pixels, wanted, loss, slopes)
