"""Estimating: how many labels are wrong, from answers to rows that were chosen and rows that were drawn at random.

The difference estimator (Särndal, Swensson & Wretman 1992, §6.3): the sum of all suspicions, which the model gives,
plus what the answers say it is off by, each answer weighted by one over the probability of its row having been drawn.
It is unbiased whatever the suspicions are worth; the better they are, the narrower the interval.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
Mask = NDArray[np.bool_]

LEVEL = 0.9
"""Of the intervals, as everywhere."""


@dataclass(frozen=True)
class Estimate:
    """A number of wrong labels, with its interval."""

    value: float
    low: float
    high: float
    drawn: int
    """Answered rows that had been drawn at random: what it rests on."""
    complete: bool
    """Whether every task of the queue was answered; else the open ones are taken to be like the others."""

    def less(self, found: float) -> Estimate:
        """Return the number that is left when some are found."""
        value, low, high = (max(0.0, number - found) for number in (self.value, self.low, self.high))
        return Estimate(value, low, high, self.drawn, self.complete)


def estimate_errors(
    total: float, rows: int, suspicion: Numbers, drawn_with: Numbers, answered: Mask, wrong: Mask
) -> Estimate | None:
    """Estimate the wrong labels among M `rows` with suspicions that sum to `total`, of which n came into a queue.

    `suspicion` [n] and the probability of having come there, `drawn_with` [n]; 1 = chosen. `wrong` [n] counts where
    `answered` [n]. None where no row that was drawn at random is answered.
    """
    random = drawn_with < 1.0
    count = int((random & answered).sum())
    if not count:
        return None
    chance = drawn_with.copy()
    for part in (random, ~random):
        if part.any():  # those who answered, of those who were asked, weighted as they were drawn
            weight = 1.0 / drawn_with[part]
            chance[part] *= max(float(weight[answered[part]].sum() / weight.sum()), 1e-9)
    off = np.where(answered, wrong - suspicion, 0.0)
    value = total + float((off / chance)[answered].sum())
    variance = 0.0
    for part in (random & answered, ~random & answered):
        variance += max(_by_design(off[part], chance[part]), _by_model(suspicion[part], chance[part]))
    from scipy.stats import t

    half = float(t.ppf((1 + LEVEL) / 2, max(count - 1, 1))) * float(np.sqrt(variance))
    known = float(wrong[answered].sum())
    most = known + rows - int(answered.sum())
    low, value, high = (float(np.clip(number, known, most)) for number in (value - half, value, value + half))
    return Estimate(value, low, high, count, bool(answered.all()))


def _by_design(off: Numbers, chance: Numbers) -> float:
    """Variance of the weighted sum of `off` [n], from first-order probabilities alone (Hájek 1964)."""
    n, weight = len(off), 1.0 - chance
    if n < 2 or not weight.any():
        return 0.0
    scaled = off / chance
    middle = float((weight * scaled).sum() / weight.sum())
    return float(n / (n - 1) * (weight * (scaled - middle) ** 2).sum())


def _by_model(suspicion: Numbers, chance: Numbers) -> float:
    """Variance of the same if suspicions are right, but no row is surer than n answers can tell.

    A sample without any error would otherwise claim to know that there is none.
    """
    least = 1.0 / (len(suspicion) + 2.0)
    p = suspicion.clip(least, 1.0 - least)
    return float(((1.0 - chance) / chance**2 * p * (1.0 - p)).sum())
