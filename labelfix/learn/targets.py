"""Targets: the labels that a model learns from, hard or soft, listed class by class.

With S classes listed a row, n rows take 8 · n · S bytes: soft labels of a million rows and a thousand classes fit.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelfix.trajectories import Floats, Ints


@dataclass(frozen=True, eq=False)
class Targets:
    """One variant of the labels of n rows."""

    classes: Ints
    """[n, S] classes of each row's label."""
    p: Floats
    """[n, S] their shares; a row of zeros takes no part."""
    rest: Floats | None = None
    """[n] share of all other classes together, which have it evenly; None: there is none."""

    def __len__(self) -> int:
        return len(self.classes)

    @classmethod
    def hard(cls, labels: Ints, kept: NDArray[np.bool_] | None = None) -> Targets:
        """One class a row [n], −1 or not `kept` [n] = left out."""
        p = labels >= 0 if kept is None else (labels >= 0) & kept
        return cls(np.maximum(labels, 0)[:, None], p[:, None].astype(np.float32))

    @classmethod
    def soft(cls, classes: Ints, p: Floats, rest: Floats | None = None) -> Targets:
        """Listed classes [n, S] with probabilities and that of all others [n], scaled to sum to 1; 0 stays 0."""
        total = p.sum(axis=1) + (0.0 if rest is None else rest)
        scale = (1.0 / np.maximum(total, 1e-9)).astype(np.float32)
        return cls(classes, p * scale[:, None], None if rest is None else rest * scale)

    @property
    def taught(self) -> NDArray[np.intp]:
        """[m] rows that take part."""
        return np.flatnonzero(self.p.any(axis=1))

    def counts(self, classes: int) -> NDArray[np.float64]:
        """Return how many rows [K] each class is the label of, shares of rows added up."""
        listed = np.bincount(self.classes.ravel(), self.p.ravel(), classes)
        even = 0.0 if self.rest is None else float(self.rest.sum(dtype=np.float64)) / classes
        return np.asarray(listed + even, np.float64)

    def of(self, at: NDArray[np.intp]) -> Targets:
        """Return the labels of some rows."""
        return Targets(self.classes[at], self.p[at], None if self.rest is None else self.rest[at])

    def dense(self, at: NDArray[np.intp], classes: int) -> Floats:
        """Return the labels of some rows as distributions [b, K]."""
        listed, p = self.classes[at], self.p[at]
        out = np.zeros((len(at), classes), np.float32)
        np.add.at(out, (np.arange(len(at))[:, None], listed), p)
        if self.rest is not None:
            unlisted = out == 0.0
            each = self.rest[at] / np.maximum(unlisted.sum(axis=1), 1)
            out += unlisted * each[:, None].astype(np.float32)
        return out
