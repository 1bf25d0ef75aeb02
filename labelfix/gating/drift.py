"""Checks of drift: does the batch look like the reference, and are its classes as frequent?

A distance is judged less what chance alone makes of so few rows, so that a small batch is not called drifted.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from labelfix.gating.judged import Compared, Judged
from labelfix.gating.policy import Policy
from labelfix.gating.verdict import Check
from labelfix.reporting.words import visible

CHANCE = 0.05
"""Batches of the reference's own kind that the allowance for chance does not cover."""


def drift_checks(judged: Judged, policy: Policy) -> Iterator[Check]:
    """Yield the checks of class mix and features that are not off; none without a reference."""
    if judged.compared is None or not judged.scored.any():
        return
    for name, title, found in (
        ("class_mix_drift", "class mix", class_mix(judged, judged.compared)),
        ("feature_drift", "features", features(judged.compared)),
    ):
        level = policy.level(name, True)
        if level == "off" or found is None:
            continue
        distance, chance, where = found
        limit = getattr(policy, name)
        beyond = distance - chance > limit
        message = f"distance {distance:.2f} from the reference, of which {chance:.2f} may be chance; {where}"
        yield Check(name, f"drift of the {title}", level if beyond else "pass", message, limit, distance)


def class_mix(judged: Judged, compared: Compared) -> tuple[float, float, str]:
    """Return the total variation distance of the shares of known classes, chance's part, and the most moved class.

    Chance: the expected distance of n draws is at most ½ Σ √(p / n); it exceeds that by √(log(1/α) / 2n) with
    probability α (McDiarmid 1989).
    """
    number = {name: k for k, name in enumerate(compared.classes)}
    known = np.array([number[name] for name in judged.labels if name in number], np.intp)
    n = max(len(known), 1)
    shares = np.bincount(known, minlength=len(number)) / n
    apart = shares - compared.shares
    fewer = 1.0 / n + 1.0 / max(compared.rows, 1)
    chance = 0.5 * float(np.sqrt(compared.shares * fewer).sum()) + float(
        np.sqrt(np.log(1 / CHANCE) * fewer / 2)
    )
    moved = int(np.abs(apart).argmax())
    said = f"{visible(compared.classes[moved], 60)} went from {compared.shares[moved]:.1%} to {shares[moved]:.1%}"
    return float(np.abs(apart).sum() / 2), chance, said


def features(compared: Compared) -> tuple[float, float, str] | None:
    """Return the largest Kolmogorov-Smirnov distance of what is measured, chance's part, and what moved most.

    Chance: Dvoretzky-Kiefer-Wolfowitz with Massart's constant (1990), for all that is measured together.
    """
    apart = {
        name: ks_distance(values, usual) for name, (values, usual) in compared.views.items() if len(values)
    }
    if not apart:
        return None
    worst = max(apart, key=lambda name: apart[name])
    fewer = 1.0 / len(compared.views[worst][0]) + 1.0 / max(compared.rows, 1)
    chance = float(np.sqrt(np.log(2 * len(apart) / CHANCE) * fewer / 2))
    return apart[worst], chance, f"most in the {worst}"


def ks_distance(values: NDArray[np.float32], quantiles: NDArray[np.float32]) -> float:
    """Return the largest difference between the distribution of values [n] and that with these quantiles [Q]."""
    ordered, n = np.sort(values.astype(np.float64)), len(values)
    shares = np.linspace(0.0, 1.0, len(quantiles))
    usual = quantiles.astype(np.float64)
    below, up_to = (np.searchsorted(ordered, usual, side=side) / n for side in ("left", "right"))
    # Where the reference has ties its distribution jumps: from the first share of a quantile to the last.
    low = shares[np.searchsorted(usual, usual, side="left")]
    high = shares[np.searchsorted(usual, usual, side="right") - 1]
    return float(max(np.maximum(below - high, 0).max(), np.maximum(low - up_to, 0).max()))
