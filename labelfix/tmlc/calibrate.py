"""The level on the target: how many labels are wrong, and how sure that is, without any truth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

SMALL = 0.02
"""Added to rates before their logarithms are compared: a rate of 0 has none."""
SLACK_BELOW, SLACK_ABOVE = 0.7, 0.95
"""By how much the log-odds of the true rate may lie below the lowest estimate of it, or above the highest: the 95 %
quantile in the worst family of injected noise on eight sets (`examples/benchmarks/rate_interval.py`). Too low are
estimates where errors are people's or go by neighbourhoods, which heads learn as right where many agree."""


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


def error_rate(suspicion: NDArray[np.float32], views: Sequence[float] = ()) -> dict[str, float]:
    """Return rate, low and high of the share of wrong labels among rows with these probabilities [n].

    The interval (90 %) joins chance, given the probabilities (a sum of Bernoulli draws), and doubt about their level:
    it reaches from the lowest of the estimates to the highest, `views` being other estimates than the mean of the
    probabilities, and by the slack beyond. Where estimates contradict each other it is wide.
    """
    if len(suspicion) == 0:
        return {"rate": 0.0, "low": 0.0, "high": 1.0}
    p = suspicion.astype(np.float64)
    rate = float(p.mean())
    chance = 1.645 * float(np.sqrt((p * (1 - p)).sum())) / len(p)
    low = _rate(log_odds(min(rate, *views, 1.0)) - SLACK_BELOW)
    high = _rate(log_odds(max(rate, *views, 0.0)) + SLACK_ABOVE)
    return {
        "rate": rate,
        "low": float(max(0.0, rate - np.hypot(rate - low, chance))),
        "high": float(min(1.0, rate + np.hypot(high - rate, chance))),
    }


def log_odds(rate: float) -> float:
    """Return the log-odds of a rate in 0 … 1, finite at both ends."""
    return float(np.log((rate + SMALL) / (1.0 - min(rate, 1.0 - 1e-9))))


def _rate(log_odds: float) -> float:
    odds = np.exp(log_odds)
    return float((odds - SMALL) / (1.0 + odds))


def calibration_error(p: NDArray[np.float32], happened: NDArray[np.bool_], bins: int = 15) -> float:
    """Return the expected calibration error: mean |p − frequency| over equal bins of p, weighted by their size."""
    number = np.minimum((p * bins).astype(np.intp), bins - 1)
    size = np.bincount(number, minlength=bins)
    gap = np.abs(np.bincount(number, p, bins) - np.bincount(number, happened, bins))
    return float(gap.sum() / max(size.sum(), 1))
