"""Measuring: opinions and the truth of one trial → rows of the result table; the only place where both meet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from labelfix.benchmarking import metrics
from labelfix.benchmarking.opponents import CLEANLAB, Opinion
from labelfix.benchmarking.results import CEILING, COLUMNS, NOTHING, Row
from labelfix.tmlc.calibrate import calibration_error
from labelfix.trajectories import Ints

FIRST = 100
"""Rows of the precision at the top."""


def measure(opinion: Opinion, given: Ints, truth: Ints) -> Row:
    """Return all metrics of one method; `given` and `truth` [n], rows whose truth is −1 are left out."""
    known = np.flatnonzero(truth >= 0)
    given, truth = given[known], truth[known]
    wrong = given != truth
    score, suspicion = opinion.score[known], opinion.suspicion[known]
    fixed = np.where(opinion.fix[known], opinion.suggested[known], given)
    rate, low, high = (opinion.rate[name] for name in ("rate", "low", "high"))
    true_rate = float(wrong.mean())
    return {
        "method": opinion.method,
        "auroc": metrics.auroc(score, wrong),
        "average_precision": metrics.average_precision(score, wrong),
        "fnr_at_true_budget": metrics.fnr_at_true_budget(score, wrong),
        "precision_at_100": metrics.precision_at(score, wrong, FIRST),
        "f1": metrics.f1(opinion.flagged[known], wrong),
        "flagged": float(opinion.flagged.mean()),
        "rate_estimate": rate,
        "rate_low": low,
        "rate_high": high,
        "rate_covered": low <= true_rate <= high,
        "interval_score": metrics.interval_score(low, high, true_rate),
        "ece": calibration_error(suspicion, wrong),
        "brier": metrics.brier(suspicion, wrong),
        "brier_skill": metrics.brier_skill(suspicion, wrong),
        "fixed": float(opinion.fix.mean()),
        "accuracy_fixed": float((fixed == truth).mean()),
        "accuracy_argmax": float((opinion.classes[known, 0] == truth).mean()),
        "net_change": metrics.net_change(given, fixed, truth),
        "net_best": metrics.best_net_change(score, given, opinion.suggested[known], truth),
        "seconds": opinion.seconds,
    }


def tabulate(
    shared: Row, opinions: Sequence[Opinion], given: Ints, truth: Ints, downstream: Mapping[str, float]
) -> list[Row]:
    """Return the rows of one trial: what all share, each method's metrics, its downstream accuracies, its distance.

    `downstream` holds "given", "truth" and `<method>.<variant>`.
    """
    known = truth >= 0
    true_rate = float((given != truth)[known].mean())
    nothing = {
        "method": NOTHING,
        "flagged": 0.0,
        "fixed": 0.0,
        "accuracy_fixed": 1.0 - true_rate,
        "net_change": 0.0,
    }
    rows: list[Row] = [measure(opinion, given, truth) for opinion in opinions]
    after = next((at for at, row in enumerate(rows) if row["method"] == CEILING), len(rows))
    rows.insert(after, nothing)
    precision = {row["method"]: row.get("average_precision") for row in rows}
    shared = shared | {
        "true_rate": true_rate,
        "downstream_given": downstream.get("given"),
        "downstream_truth": downstream.get("truth"),
    }
    for row in rows:
        row |= {
            f"downstream_{variant}": downstream.get(f"{row['method']}.{variant}")
            for variant in ("pruned", "fixed", "soft")
        }
        row["distance"] = _distance(row.get("average_precision"), precision)
    return [{name: (shared | row).get(name) for name in COLUMNS} for row in rows]


def _distance(own: float | None, precision: Mapping[str, Any]) -> float | None:
    """Return the share of the way from cleanlab's best score to the ceiling; None where there is no way to go."""
    start = max(precision[name] for name in CLEANLAB)
    end = precision.get(CEILING)
    if own is None or end is None or not end > start:
        return None
    return float((own - start) / (end - start))
