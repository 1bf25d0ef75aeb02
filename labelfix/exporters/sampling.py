"""Sampling: how the random part of a queue is drawn, so that what its answers say can be scaled to all rows."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

LEAST_SPREAD = 0.05
"""Standard deviation assumed of a row that is thought to be right or wrong for sure: suspicion may be off."""


def probabilities(suspicion: Numbers, count: int) -> Numbers:
    """Return with which probability [n] each row enters a random sample of `count`; they sum to min(count, n).

    Proportional to the standard deviation that the suspicion leaves, √(s (1 − s)), which makes the variance of the
    difference estimator least (Särndal, Swensson & Wretman 1992, §12.2), but not below `LEAST_SPREAD`.
    """
    n = len(suspicion)
    if count >= n:
        return np.ones(n)
    size = np.sqrt(suspicion * (1.0 - suspicion)).clip(LEAST_SPREAD, None)
    drawn = np.zeros(n)
    free = np.ones(n, bool)
    while True:  # those that would come more than once come for certain, and the others share what is left
        left = count - int((~free).sum())
        drawn[free] = left * size[free] / size[free].sum()
        over = free & (drawn >= 1.0)
        if not over.any():
            return drawn
        drawn[over], free = 1.0, free & ~over


def draw(chance: Numbers, rng: np.random.Generator) -> NDArray[np.intp]:
    """Return the rows drawn, each with exactly its probability [n] and as many as these sum to.

    Systematic sampling in random order (Madow 1949).
    """
    count = round(float(chance.sum()))
    if not count:
        return np.zeros(0, np.intp)
    order = rng.permutation(len(chance))
    reached = np.cumsum(chance[order])
    reached *= count / reached[-1]  # a whole number, rounding aside
    steps = rng.random() + np.arange(count)
    return np.sort(order[np.searchsorted(reached, steps, side="right").clip(max=len(order) - 1)])
