"""Trajectories: what training said, per sample, per epoch, per candidate class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Ints = NDArray[np.int32]

FLOOR = -20.0
"""Log-probabilities are clipped here: a half-precision head cannot tell smaller ones apart."""


@dataclass(frozen=True, eq=False)
class Trajectories:
    """One block (in-sample, or out-of-fold) for n rows, E recorded epochs and C candidate classes.

    A probe computes it from head checkpoints; fine-tuning records it. Candidate 0 is the given label.
    """

    log_p: Floats
    """[n, E, C] log-probability of each candidate; `FLOOR` at least."""
    margin: Floats
    """[n, E, C] log_p of the candidate minus that of the likeliest other class of all K."""
    entropy: Floats
    """[n, E] entropy of the whole distribution over log K, in [0, 1]."""

    @property
    def loss(self) -> Floats:
        """[n, E] cross-entropy of the given label, in nats."""
        return -self.log_p[:, :, 0]

    def take(self, rows: NDArray[np.intp] | slice) -> Trajectories:
        """Return the block of some of its rows."""
        return Trajectories(self.log_p[rows], self.margin[rows], self.entropy[rows])

    @classmethod
    def joined(cls, parts: Sequence[Trajectories]) -> Trajectories:
        """Put blocks of several rows one after the other."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__match_args__))


def belief(margin: Floats) -> Floats:
    """Return how far heads believe labels, 0 … 1, given the labels' mean margins [n]: the logistic of them."""
    return np.asarray(1.0 / (1.0 + np.exp(-margin.clip(FLOOR, -FLOOR))), np.float32)


def summarise(log_p: Floats, candidates: Ints, entropy: Floats | None = None) -> Trajectories:
    """Reduce full log-probabilities to a block.

    `log_p` is [n, E, K], normalised; `candidates` [n, C], column 0 the given label. `entropy` [n, E] is given where
    it is known better than `log_p` tells.
    """
    classes = log_p.shape[2]
    clipped = np.maximum(log_p, FLOOR)
    chosen = np.take_along_axis(clipped, candidates[:, None, :], axis=2)
    if entropy is None:
        entropy = -(np.exp(clipped) * clipped).sum(axis=2) / np.log(classes)
    best = clipped.argmax(axis=2)[:, :, None]  # [n, E, 1]
    top = np.take_along_axis(clipped, best, axis=2)
    np.put_along_axis(clipped, best, -np.inf, axis=2)
    second = clipped.max(axis=2, keepdims=True)
    margin = chosen - np.where(candidates[:, None, :] == best, second, top)
    return Trajectories(chosen, margin, entropy.clip(0.0, 1.0).astype(np.float32))
