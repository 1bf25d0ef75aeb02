"""Judging: a batch, a policy and a baseline become a verdict."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import date

import numpy as np
from numpy.typing import NDArray

from labelfix.errors import InconclusiveError
from labelfix.gating.baseline import Baseline, Fingerprint
from labelfix.gating.count_checks import count_checks
from labelfix.gating.drift import drift_checks
from labelfix.gating.judged import Judged, texts
from labelfix.gating.policy import Policy
from labelfix.gating.rate_checks import estimate, rate_checks
from labelfix.gating.verdict import Comparison, Finding, Outcome, Verdict
from labelfix.reporting.words import percent, plural

WORST: tuple[Outcome, ...] = ("fail", "inconclusive", "warn", "pass")


def judge(
    judged: Judged, policy: Policy, baseline: Baseline | None = None, today: date | None = None
) -> Verdict:
    """Check everything that the policy asks for; raises InconclusiveError where there is no row at all."""
    if not len(judged):
        raise InconclusiveError(f"{judged.source}: has no rows, so that there is nothing to judge")
    today = today or date.today()  # noqa: DTZ011 (a waiver ends on the user's own day)
    found = findings(judged, policy.suspicion)
    waived = np.zeros(len(judged), bool)
    comparison = None
    notes = judged.notes
    if baseline is not None:
        waived = confirmed(judged, baseline, today)
        found, comparison, remark = compare(judged, found, baseline, today)
        notes += remark
    estimates = estimate(judged, policy, judged.trusted | waived)
    new = [one.row for one in found if one.state == "new"]
    checks = (
        *rate_checks(judged, policy, estimates),
        *count_checks(judged, policy, comparison, new),
        *drift_checks(judged, policy),
    )
    outcomes = {check.outcome for check in checks}
    outcome: Outcome = next((one for one in WORST if one in outcomes), "pass")
    rate, expected = None, 0.0
    if not estimates.obstacle:
        expected = estimates.own.middle * float(judged.scored.sum())
        low, high = estimates.own.interval()
        rate = (max(estimates.own.middle, 0.0), max(low, 0.0), min(high, 1.0))
    return Verdict(
        outcome=outcome,
        checks=checks,
        findings=tuple(found),
        source=judged.source,
        reference=None if judged.compared is None else judged.compared.name,
        policy=policy.source,
        confidence=policy.needed,
        rows=len(judged),
        scored=int(judged.scored.sum()),
        rate=rate,
        reference_rate=None if judged.compared is None else estimates.scale.middle,
        notes=notes + _advice(judged, estimates.scale.middle, expected, len(found), outcome == "pass"),
        comparison=comparison,
        lines=judged.lines,
    )


def _advice(judged: Judged, usual: float, wrong: float, listed: int, passed: bool) -> tuple[str, ...]:
    """Say so when the reference is small for what it is asked, and when more labels are wrong than are listed."""
    said, rows = [], len(judged.usual.suspicion)
    if judged.compared is not None and rows < 500:
        said.append(
            f"the reference has only {plural(rows, 'row')}: its rate of {percent(usual)} is itself uncertain"
        )
    if not passed and wrong > 2 * listed + 5:
        said.append(
            f"about {wrong:.0f} labels are wrong, but only {plural(listed, 'row')} can be named; what --findings "
            f"writes ranks all rows for a review"
        )
    return tuple(said)


def findings(judged: Judged, threshold: float) -> list[Finding]:
    """Return the rows that are probably labelled wrongly, the most suspicious first."""
    rows = np.flatnonzero(judged.scored & ~judged.trusted & (judged.suspicion >= threshold))
    rows = rows[np.argsort(-judged.suspicion[rows], kind="stable")]
    columns = [texts(judged.findings.table, name)[rows] for name in ("image", "label", "suggested", "reason")]
    return [
        Finding(int(row), str(judged.names[row]), str(image), str(label), str(suggested), float(judged.suspicion[row]),
                str(reason), content_of(judged, row), "found")
        for row, image, label, suggested, reason in zip(rows, *columns, strict=True)
    ]  # fmt: skip


def content_of(judged: Judged, row: int) -> str:
    """Return the hash of a row's content, hexadecimal; "" where it is not known."""
    key = judged.content[row]
    return bytes(key).hex() if key.any() else ""


def confirmed(judged: Judged, baseline: Baseline, today: date) -> NDArray[np.bool_]:
    """Say of each row [N] whether a waiver that holds confirms its label."""
    out = np.zeros(len(judged), bool)
    for _, row in _present(judged, baseline.waived(today)):
        out[row] = True
    return out


def _present(judged: Judged, named: Iterable[Fingerprint]) -> Iterator[tuple[Fingerprint, int]]:
    """Yield those of the fingerprints that a row has, and the row."""
    at = {str(name): row for row, name in enumerate(judged.names)}
    for one in named:
        row = at.get(one.id)
        if row is not None and judged.labels[row] == one.label and content_of(judged, row) == one.content:
            yield one, row


def compare(
    judged: Judged, found: list[Finding], baseline: Baseline, today: date
) -> tuple[list[Finding], Comparison, tuple[str, ...]]:
    """Say of each finding whether it is new, and count what the baseline has beyond them; also a remark, if any."""
    held = baseline.waived(today)
    told = []
    for one in found:
        named = Fingerprint.of(one)
        if named in held:
            told.append(replace(one, state="waived", waiver=held[named].reason))
        else:
            told.append(replace(one, state="unchanged" if named in baseline.findings else "new"))
    present = set(map(str, judged.names))
    now = {Fingerprint.of(one) for one in found}
    gone = [one for one in baseline.findings if one not in now]
    fixed = sum(one.id in present for one in gone)
    over = (w.fingerprint for w in baseline.waivers if w.until < today and w.fingerprint not in held)
    late = [one.id for one, _ in _present(judged, over)]
    count = {state: sum(one.state == state for one in told) for state in ("new", "unchanged", "waived")}
    comparison = Comparison(
        baseline.path, **count, fixed=fixed, absent=len(gone) - fixed, expired=tuple(sorted(late))
    )
    known = [*baseline.findings, *(w.fingerprint for w in baseline.waivers)]
    remark: tuple[str, ...] = ()
    if known and not any(one.id in present for one in known):
        held_rows = plural(len(known), "row")
        remark = (
            f"{baseline.path}: none of its {held_rows} is in {judged.source}; is it another manifest's?",
        )
    return told, comparison, remark
