"""Checks of estimated error rates: of the batch, and of its parts by class, annotator or column."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelfix.gating.judged import Judged
from labelfix.gating.policy import Level, Policy
from labelfix.gating.rates import Rate, Scale, binned, holm
from labelfix.gating.verdict import Check, Outcome, Part
from labelfix.reporting.words import percent, plural

DISTINCT = 0.95
"""A batch fails for being worse than the reference only if it is so probably worse at all. A batch that is as good then
fails at most once in twenty times, however few its rows."""


@dataclass(frozen=True, eq=False)
class Estimates:
    """Rates of the whole batch."""

    scale: Scale
    """The reference's."""
    own: Rate
    """Share of wrong labels among all judged rows."""
    above: Rate
    """How far that is above the reference's."""
    open: NDArray[np.bool_]
    """[N] judged rows that are not known to be right."""
    sure: NDArray[np.bool_]
    """[N] judged rows that are."""
    obstacle: str
    """Why rates cannot be judged; "" where they can."""


def estimate(judged: Judged, policy: Policy, sure: NDArray[np.bool_]) -> Estimates:
    """Estimate the batch's rate; `sure` [N] says which labels are known to be right."""
    usual = judged.usual
    reference = binned(usual.suspicion, np.zeros(len(usual.suspicion), np.intp), 1)[0]
    scale = Scale.fit(reference, usual.sure, usual.doubt, usual.audited, usual.seen, usual.steep)
    open_, known = judged.scored & ~sure, judged.scored & sure
    rows = judged.suspicion[open_]
    batch = binned(rows, np.zeros(len(rows), np.intp), 1)[0]
    if judged.compared is not None:  # else the batch is the reference, and tells of itself nothing more
        scale = scale.hearing(batch)
    own, above = scale.judge(batch, float(known.sum()))
    return Estimates(scale, own, above, open_, known, _obstacle(judged, policy, scale))


def _obstacle(judged: Judged, policy: Policy, scale: Scale) -> str:
    rows = int(judged.scored.sum())
    needed = policy.min_rows_alone if judged.alone else policy.min_rows
    if rows < needed:
        key = "min_rows_alone" if judged.alone else "min_rows"
        more = "; name a --reference to judge fewer" if judged.alone else ""
        return f"only {plural(rows, 'row')} could be judged, and the policy wants {needed} ({key}){more}"
    if scale.quality < policy.min_model_quality:
        return (
            f"the model is too weak to judge labels: scores say {scale.quality:.0%} of what the truth would say about "
            f"the error rate, and the policy wants {policy.min_model_quality:.0%} (min_model_quality)"
        )
    return ""


def rate_checks(judged: Judged, policy: Policy, found: Estimates) -> Iterator[Check]:
    """Yield a check for each limit on an estimated rate that is not off."""
    compares = judged.compared is not None
    wanted: list[tuple[str, Rate, str]] = [("error_rate", found.own, "wrong labels")]
    if compares:
        wanted.append(("error_rate_above_reference", found.above, "wrong labels above the reference"))
    for level in ("fail", "warn"):
        # Limits on the whole batch that do the same are corrected together.
        same = [one for one in wanted if policy.level(one[0], compares) == level]
        above = [rate.above(getattr(policy, name)) for name, rate, _ in same]
        for (name, rate, what), p, exceeds in zip(same, above, holm(above, policy.needed), strict=True):
            outcome, doubt = _outcome(found, level, exceeds), ""
            if exceeds and name == "error_rate_above_reference" and rate.above(0.0) < DISTINCT:
                # Few rows or a weak model: no better than chance at telling the batch from the reference.
                outcome = "inconclusive" if level == "fail" else outcome
                doubt = (
                    "; but so few rows of the reference itself may show as much, so that nothing is proved"
                )
            yield _whole(name, rate, what, getattr(policy, name), p, outcome, found, doubt)
    yield from _parts(judged, policy, found)


def _outcome(found: Estimates, level: Level | str, exceeds: bool) -> Outcome:
    if found.obstacle:
        return "inconclusive" if level == "fail" else "warn"
    return ("fail" if level == "fail" else "warn") if exceeds else "pass"


def _shares(rate: Rate, least: float = 0.0) -> tuple[float, float, float]:
    """Return value, low and high as shares: the normal ones of the mixture go beyond."""
    value, low, high = (min(max(share, least), 1.0) for share in (rate.middle, *rate.interval()))
    return value, low, high


def _whole(
    name: str, rate: Rate, what: str, limit: float, p: float, outcome: Outcome, found: Estimates, doubt: str
) -> Check:
    title = f"estimated {what}"
    if found.obstacle:
        return Check(name, title, outcome, found.obstacle, limit, None)
    points = name == "error_rate_above_reference"
    value, low, high = _shares(rate, -1.0 if points else 0.0)
    said = (
        f"{_points(value)} points ({_points(low)} to {_points(high)})" if points else _span(value, low, high)
    )
    bound = f"{100 * limit:g} points" if points else percent(limit)
    message = f"{said}; above {bound} with probability {probability(p)}"
    if points:
        message += f"; the reference has {percent(found.scale.middle)}"
    return Check(name, title, outcome, message + doubt, limit, value, low, high, p)


def _parts(judged: Judged, policy: Policy, found: Estimates) -> Iterator[Check]:
    kinds: list[tuple[str, str, NDArray[np.object_]]] = [("class_error_rate", "class", judged.labels)]
    if judged.annotators is not None:
        kinds.append(("annotator_error_rate", "annotator", judged.annotators))
    kinds += [("column_error_rate", name, values) for name, values in judged.columns.items()]
    for limit_name, kind, values in kinds:
        level = policy.level(limit_name, judged.compared is not None)
        if level == "off" or found.obstacle:
            continue
        limit = getattr(policy, limit_name)
        parts, few = _judge_parts(values, judged, policy, found, limit)
        worst = [part for part in parts if part.exceeds]
        named = f"{limit_name}.{kind}" if limit_name == "column_error_rate" else limit_name
        outcome = _outcome(found, level, bool(worst))
        message = _said(worst or parts[:1], parts, few, kind, limit)
        top = parts[0] if parts else None
        yield Check(
            named, f"estimated wrong labels by {kind}", outcome, message, limit,
            top.value if top else None, top.low if top else None, top.high if top else None,
            top.probability if top else None, (), tuple(parts),
        )  # fmt: skip


def _judge_parts(
    values: NDArray[np.object_], judged: Judged, policy: Policy, found: Estimates, limit: float
) -> tuple[list[Part], int]:
    """Return the parts with enough rows, the worst first, and the number of those without."""
    names, part = np.unique(values.astype(str), return_inverse=True)
    known = np.bincount(part[found.sure], minlength=len(names))
    counts = binned(judged.suspicion[found.open], part[found.open], len(names))
    rows = counts.sum(axis=1).astype(int) + known
    enough = np.flatnonzero((rows >= policy.min_part_rows) & (names != ""))
    few = int(((rows > 0) & (rows < policy.min_part_rows) & (names != "")).sum())
    rates = [found.scale.judge(counts[k], float(known[k]), like=found.own)[0] for k in enough]
    above = [rate.above(limit) for rate in rates]
    parts = [
        Part(str(names[k]), int(rows[k]), *_shares(rate), p, exceeds)
        for k, rate, p, exceeds in zip(enough, rates, above, holm(above, policy.needed), strict=True)
    ]
    return sorted(parts, key=lambda part: (-part.probability, -part.value, part.name)), few


def _said(shown: list[Part], parts: list[Part], few: int, kind: str, limit: float) -> str:
    small = f"; {few} with too few rows to be judged" if few else ""
    if not parts:
        return f"no {kind} has enough rows to be judged"
    described = ", ".join(
        f"{part.name} {_span(part.value, part.low, part.high)}, above {percent(limit)} with probability "
        f"{probability(part.probability)}"
        for part in shown[:5]
    )
    more = f" and {len(shown) - 5} more" if len(shown) > 5 else ""
    lead = "" if shown[0].exceeds else "worst: "
    return f"{lead}{described}{more}; {len(parts)} judged{small}"


def _span(value: float, low: float, high: float) -> str:
    return f"{percent(value)} ({percent(low)} to {percent(high)})"


def _points(value: Any) -> str:
    return f"{100 * value:+.1f}"


def probability(p: float) -> str:
    """Say a probability without claiming certainty."""
    return "> .99" if p > 0.99 else "< .01" if p < 0.01 else f"{p:.2f}".lstrip("0")
