"""Metrics of one method in one trial: pure functions of arrays; NaN where there is nothing to measure.

Ties are broken by nothing: ranks are averaged, and a budget that ends within a tie counts what a random order
would find on average. So a constant score has the error rate as its precision, whatever the order of the rows.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

Bools = NDArray[np.bool_]
Numbers = NDArray[np.floating[Any]]

MISS = 0.1
"""Intervals are meant to hold 90 %."""


def auroc(score: Numbers, wrong: Bools) -> float:
    """Return the probability that a wrong row outranks a right one; ties count half."""
    positives, n = int(wrong.sum()), len(wrong)
    if positives in {0, n}:
        return float("nan")
    _, tie, size = np.unique(score, return_inverse=True, return_counts=True)
    rank = (np.cumsum(size) - (size - 1) / 2)[tie]
    return float((rank[wrong].sum() - positives * (positives + 1) / 2) / (positives * (n - positives)))


def average_precision(score: Numbers, wrong: Bools) -> float:
    """Return the mean precision over the wrong rows, at thresholds that keep ties together."""
    if not wrong.any():
        return float("nan")
    taken, found = _by_threshold(score, wrong)
    step = np.diff(found, prepend=0.0)
    return float((step * found / taken).sum() / wrong.sum())


def found_in_first(score: Numbers, wrong: Bools, budget: int) -> float:
    """Return how many wrong rows the `budget` most suspicious rows hold; the expected number within a tie."""
    taken, found = _by_threshold(score, wrong)
    return float(np.interp(budget, np.concatenate([[0], taken]), np.concatenate([[0], found])))


def fnr_at_true_budget(score: Numbers, wrong: Bools) -> float:
    """Return the share of wrong rows that are missed when as many rows are reviewed as are wrong."""
    count = int(wrong.sum())
    return float("nan") if not count else 1.0 - found_in_first(score, wrong, count) / count


def precision_at(score: Numbers, wrong: Bools, budget: int) -> float:
    """Return the share of wrong rows among the `budget` most suspicious ones."""
    budget = min(budget, len(wrong))
    return found_in_first(score, wrong, budget) / max(budget, 1)


def f1(flagged: Bools, wrong: Bools) -> float:
    """Return the F1 score of flags; NaN where nothing is wrong."""
    if not wrong.any():
        return float("nan")
    return float(2 * (flagged & wrong).sum() / (flagged.sum() + wrong.sum()))


def brier(probability: Numbers, wrong: Bools) -> float:
    """Return the mean squared difference of probability and outcome."""
    return float(np.mean((probability.astype(np.float64) - wrong) ** 2))


def brier_skill(probability: Numbers, wrong: Bools) -> float:
    """Return 1 − Brier / Brier of the true rate said of every row; NaN where all or none are wrong."""
    rate = float(wrong.mean())
    return float("nan") if rate in {0.0, 1.0} else 1.0 - brier(probability, wrong) / (rate * (1 - rate))


def interval_score(low: float, high: float, truth: float) -> float:
    """Return width plus 2 / .1 times the distance to a truth outside; lower is better.

    Gneiting & Raftery 2007, §6.2.
    """
    return (high - low) + 2 / MISS * (max(low - truth, 0.0) + max(truth - high, 0.0))


def net_change(given: NDArray[np.int32], changed: NDArray[np.int32], truth: NDArray[np.int32]) -> float:
    """Return labels made right minus labels made wrong, as a share of rows."""
    return float(((changed == truth).astype(np.int64) - (given == truth)).mean())


def best_net_change(
    score: Numbers, given: NDArray[np.int32], suggested: NDArray[np.int32], truth: NDArray[np.int32]
) -> float:
    """Return what replacing the rows above the best threshold would gain: a bar that needs the truth, at least 0."""
    gain = (suggested == truth).astype(np.float64) - (given == truth)
    _, total = _by_threshold(score, gain)
    return float(max(0.0, total.max(initial=0.0)) / max(len(given), 1))


def bootstrap(differences: Numbers, draws: int = 10_000, seed: int = 0) -> tuple[float, float, float]:
    """Return the mean of paired differences [T] and its 95 % percentile interval over resampled trials."""
    values = np.asarray(differences, np.float64)
    picked = np.random.default_rng(seed).integers(0, len(values), (draws, len(values)))
    low, high = np.quantile(values[picked].mean(axis=1), [0.025, 0.975])
    return float(values.mean()), float(low), float(high)


def _by_threshold(score: Numbers, value: NDArray[Any]) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Return rows taken and the sum of `value` among them at each distinct score, the highest first."""
    order = np.argsort(-score, kind="stable")
    last = np.flatnonzero(np.diff(score[order], append=np.nan) != 0)  # NaN differs from everything
    return last + 1, np.cumsum(value[order], dtype=np.float64)[last]
