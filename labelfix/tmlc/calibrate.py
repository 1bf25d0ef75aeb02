"""The level on the target: how many labels are wrong, and how sure that is, without any truth."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]

SMALL = 0.02
"""Added to rates, and to what is left of 1, before their logarithms are compared: 0 has none."""
FARTHEST = 30.0
"""Log-odds that a level is moved by at most."""
NINETY = 1.645
"""Standard deviations: between minus and plus so many of them lie 90 %."""
SLACK_BELOW, SLACK_ABOVE = 0.7, 0.95
"""By how much the log-odds of the true rate may lie below the lowest estimate of it, or above the highest: the 95 %
quantile in the worst family of injected noise on eight sets (`examples/benchmarks/rate_interval.py`). Too low are
estimates where errors are people's or go by neighbourhoods, which heads learn as right where many agree."""
TAKEN, AS_SAID = 0.43, 0.37
"""Log-odds are flattened by this power of how much of the suspicion lies with undecided rows, beyond as much as this:
fitted on 68 trials of 15 sets, eleven of them people's labels; leaving each set out, it changes little (`LOG.md`)."""


def confidently_other(
    p: NDArray[np.floating[Any]], labels: NDArray[np.int32], thresholds: NDArray[np.floating[Any]]
) -> NDArray[np.bool_]:
    """Say of rows [n] whether out-of-sample probabilities [n, K] confidently prefer another class than the given one.

    Confident is at least the mean probability that rows of a class have of it, `thresholds` [K]: the confident joint
    (Northcutt et al. 2021, §3.1).
    """
    confident = np.where(p >= thresholds, p, -1.0)
    return np.asarray((confident.max(axis=1) > 0) & (confident.argmax(axis=1) != labels))


def confident_share(
    p: NDArray[np.floating[Any]], labels: NDArray[np.int32], trusted: NDArray[np.bool_] | None = None
) -> float:
    """Return the share of rows that are confidently of another class: an estimate of the error rate without truth.

    Rows that are `trusted` set thresholds with the others, but are not counted.
    """
    own = p[np.arange(len(labels)), labels]
    counts = np.bincount(labels, minlength=p.shape[1])
    total = np.bincount(labels, own, minlength=p.shape[1])
    thresholds = np.where(counts > 0, total / np.maximum(counts, 1), 1.0)
    other = confidently_other(p, labels, thresholds)
    return float(other.mean() if trusted is None or trusted.all() else other[~trusted].mean())


def joint_rate(confident: float, known_wrong: float) -> float:
    """Return the error rate that two views agree on: their geometric mean.

    `confident_share` counts hard rows too, and is too high where few labels are wrong; `known_wrong.compare` misses
    errors milder than its own, and is too low. Measured (examples/benchmarks/LOG.md), the mean is nearer than either.
    """
    return float(np.sqrt((confident + SMALL) * (known_wrong + SMALL)) - SMALL)


@dataclass(frozen=True)
class Doubt:
    """How far the level of estimated rates may be off: 90 %, in log-odds."""

    below: float
    """The true rate may lie so far below the estimate."""
    above: float
    """Or so far above it."""

    @classmethod
    def among(cls, rate: float, views: Sequence[float] = ()) -> Self:
        """Reach from the lowest to the highest of a rate and other estimates of it, and by the slack beyond."""
        lowest, highest = min(rate, *views, 1.0), max(rate, *views, 0.0)
        return cls(
            float(log_odds(rate) - log_odds(lowest)) + SLACK_BELOW,
            float(log_odds(highest) - log_odds(rate)) + SLACK_ABOVE,
        )

    def at(self, rate: float | Numbers, deviations: float | Numbers) -> Numbers:
        """Return what rates become so many standard deviations of the doubt away."""
        slack = np.where(np.asarray(deviations) < 0, self.below, self.above)
        odds = np.exp(log_odds(rate) + deviations / NINETY * slack)
        return np.asarray((odds * (1.0 + SMALL) - SMALL) / (1.0 + odds))

    @classmethod
    def of(cls, low: float, rate: float, high: float, variance: float, rows: int) -> Self:
        """Return the doubt that gave this interval: `rate_interval` the other way round."""
        chance = NINETY * np.sqrt(variance) / max(rows, 1)
        below, above = (np.sqrt(max(end**2 - chance**2, 0.0)) for end in (rate - low, high - rate))
        return cls(
            float(log_odds(rate) - log_odds(max(rate - below, 0.0))),
            float(log_odds(min(rate + above, 1.0)) - log_odds(rate)),
        )


def error_rate(
    suspicion: NDArray[np.float32], doubt_at: Callable[[float], Doubt] = Doubt.among
) -> dict[str, float]:
    """Return rate, low and high of the share of wrong labels among rows with these probabilities [n].

    The interval (90 %) joins chance and doubt about the level; `doubt_at` gives that of a mean probability.
    """
    if len(suspicion) == 0:
        return {"rate": 0.0, "low": 0.0, "high": 1.0}
    p = suspicion.astype(np.float64)
    rate = float(p.mean())
    variance, rows = np.array([(p * (1 - p)).sum()]), np.array([len(p)])
    low, high = rate_interval(np.array([rate]), variance, rows, doubt_at(rate))
    return {"rate": rate, "low": float(low[0]), "high": float(high[0])}


def rate_interval(
    rate: Numbers, variance: Numbers, rows: NDArray[np.integer], doubt: Doubt
) -> tuple[Numbers, Numbers]:
    """Return low and high [G] of error rates [G], each of some rows [G] whose p (1 - p) add up to `variance` [G].

    Chance is that of a sum of Bernoulli draws.
    """
    chance = NINETY * np.sqrt(variance) / rows
    low, high = doubt.at(rate, -NINETY), doubt.at(rate, NINETY)
    return (
        np.maximum(0.0, rate - np.hypot(rate - low, chance)),
        np.minimum(1.0, rate + np.hypot(high - rate, chance)),
    )


def level_offset(odds: Numbers, mean: float) -> float:
    """Return what to add to log-odds [n], so that the probabilities have this mean."""
    low, high = -FARTHEST, FARTHEST
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if sigmoid(odds + middle).mean() < mean else (low, middle)
    return (low + high) / 2


def worth(odds: NDArray[np.floating[Any]]) -> tuple[float, float]:
    """Return offset and slope with which log-odds [n] say what they are worth; their mean probability stays.

    Where most of the expected errors are rows that could as well be right, errors are hard rows, and the model's own
    mistakes look like them: there log-odds say too much. Where wrong labels stand apart they say too little.
    """
    p = sigmoid(odds)
    undecided = float((p * (1.0 - p)).sum() / max(p.sum(), 1e-9))
    slope = float((np.clip(undecided, 0.1, 1.0) / AS_SAID) ** -TAKEN)
    return level_offset(slope * np.asarray(odds, np.float64), float(p.mean())), slope


def sigmoid(odds: NDArray[np.floating[Any]]) -> Numbers:
    """Return probabilities of log-odds."""
    return np.asarray(1.0 / (1.0 + np.exp(-np.asarray(odds, np.float64))))


def log_odds(rate: float | Numbers) -> Numbers:
    """Return the log-odds of rates in 0 … 1, finite at both ends."""
    return np.asarray(np.log((np.asarray(rate) + SMALL) / (1.0 + SMALL - np.asarray(rate))))


def calibration_error(p: NDArray[np.float32], happened: NDArray[np.bool_], bins: int = 15) -> float:
    """Return the expected calibration error: mean |p − frequency| over equal bins of p, weighted by their size."""
    number = np.minimum((p * bins).astype(np.intp), bins - 1)
    size = np.bincount(number, minlength=bins)
    gap = np.abs(np.bincount(number, p, bins) - np.bincount(number, happened, bins))
    return float(gap.sum() / max(size.sum(), 1))
