"""The base model of probe mode: frozen features and the recorded heads, for correctors that train on it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from labelfix.learn.probe import Heads
from labelfix.trajectories import Floats, Ints

if TYPE_CHECKING:
    from labelfix.learn.features import Features


@dataclass(frozen=True, eq=False)
class Base:
    """Frozen features and head checkpoints as one model, see `evidence.LinearBase`."""

    held: Features
    heads: Heads
    rows: NDArray[np.int64]
    row_folds: Ints

    @property
    def folds(self) -> int:
        """F."""
        return self.heads.folds

    def fold(self, rows: NDArray[np.int64]) -> Ints:
        """[n] fold of each row."""
        order = np.argsort(self.rows)
        return self.row_folds[order[np.searchsorted(self.rows, rows, sorter=order)]]

    def features(self, rows: NDArray[np.int64]) -> Floats:
        """[n, d] standardised."""
        return (self.held.single(rows) - self.heads.mean) / self.heads.scale

    def head(self, epoch: int, fold: int) -> tuple[Floats, Floats]:
        """Weight [d, K] and bias [K]."""
        return self.heads.weight[epoch, fold].astype(np.float32), self.heads.bias[epoch, fold]
