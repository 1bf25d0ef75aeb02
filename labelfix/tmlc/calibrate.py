"""The level on the target: how many labels are wrong, and how sure that is, without any truth."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

DEFAULT_SLACK = 0.7
"""Where no meta-training measured it: the rate may be off by a factor of two either way."""
SMALL = 0.02
"""Added to rates before their logarithms are compared: a rate of 0 has none."""


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


def error_rate(suspicion: NDArray[np.float32], slack: float = DEFAULT_SLACK) -> dict[str, float]:
    """Return rate, low and high of the share of wrong labels among rows with these probabilities [n].

    The interval (90 %) joins two sources: chance, given the probabilities (a sum of Bernoulli draws), and `slack`,
    the 90 % quantile of |log (estimated / true)| on held-out source tasks.
    """
    if len(suspicion) == 0:
        return {"rate": 0.0, "low": 0.0, "high": 1.0}
    p = suspicion.astype(np.float64)
    rate = float(p.mean())
    low, high = rate_interval(np.array([rate]), np.array([(p * (1 - p)).sum()]), np.array([len(p)]), slack)
    return {"rate": rate, "low": float(low[0]), "high": float(high[0])}


def rate_interval(
    rate: NDArray[np.float64], variance: NDArray[np.float64], rows: NDArray[np.int64], slack: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return low and high [G] of error rates [G], each of some rows [G] whose p (1 - p) add up to `variance` [G]."""
    chance = 1.645 * np.sqrt(variance) / rows
    low = (rate + SMALL) * np.exp(-slack) - SMALL
    high = (rate + SMALL) * np.exp(slack) - SMALL
    return np.maximum(0.0, rate - np.hypot(rate - low, chance)), np.minimum(
        1.0, rate + np.hypot(high - rate, chance)
    )


def slack_of(low: float, rate: float, high: float, variance: float, rows: int) -> float:
    """Return the slack that gave this interval: `rate_interval` the other way round."""
    chance = 1.645 * np.sqrt(variance) / max(rows, 1)
    for end in (low, high) if high >= 1.0 else (high, low):
        if 0.0 < end < 1.0:
            edge = rate + np.sign(end - rate) * np.sqrt(max(0.0, (end - rate) ** 2 - chance**2))
            return float(abs(np.log((edge + SMALL) / (rate + SMALL))))
    return DEFAULT_SLACK


def measured_slack(estimated: NDArray[np.float64], true: NDArray[np.float64]) -> float:
    """Return the slack of estimated against true rates of held-out tasks [T]."""
    ratio = np.log((estimated + SMALL) / (true + SMALL))
    return float(np.quantile(np.abs(ratio), 0.9))


def calibration_error(p: NDArray[np.float32], happened: NDArray[np.bool_], bins: int = 15) -> float:
    """Return the expected calibration error: mean |p − frequency| over equal bins of p, weighted by their size."""
    number = np.minimum((p * bins).astype(np.intp), bins - 1)
    size = np.bincount(number, minlength=bins)
    gap = np.abs(np.bincount(number, p, bins) - np.bincount(number, happened, bins))
    return float(gap.sum() / max(size.sum(), 1))
