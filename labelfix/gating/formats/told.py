"""What every output says of a verdict, in the same words."""

from __future__ import annotations

from pathlib import Path

from labelfix.gating.verdict import Comparison, Finding, Verdict
from labelfix.reporting.words import percent, plural, visible

OUTCOME = {"pass": "passed", "warn": "passed with warnings", "fail": "failed", "inconclusive": "inconclusive"}


def headline(verdict: Verdict) -> str:
    """What was judged, by what, and the outcome."""
    by = f" against {visible(verdict.reference)}" if verdict.reference else ""
    return f"{visible(verdict.source)}{by}: {OUTCOME[verdict.outcome]}"


def facts(verdict: Verdict) -> list[str]:
    """Rows, the estimated rate, the policy, and the baseline, a sentence each."""
    said = [f"{plural(verdict.rows, 'row')}, {verdict.scored:,} judged"]
    if verdict.rate is not None:
        value, low, high = verdict.rate
        rate = f"estimated wrong labels: {percent(value)} ({percent(low)} to {percent(high)})"
        usual = verdict.reference_rate
        said.append(rate if usual is None else f"{rate}; the reference has {percent(usual)}")
    said.append(f"policy: {visible(verdict.policy)}, confidence {verdict.confidence:g}")
    said.append(findings(verdict))
    return said


def findings(verdict: Verdict) -> str:
    """How many findings there are, and how they stand to the baseline."""
    count = plural(len(verdict.findings), "suspicious label")
    return count if verdict.comparison is None else f"{count}: {compared(verdict.comparison)}"


def compared(comparison: Comparison) -> str:
    """new / unchanged / waived / fixed."""
    absent = f", {comparison.absent:,} not in this batch" if comparison.absent else ""
    return (
        f"{comparison.new:,} new, {comparison.unchanged:,} unchanged, {comparison.waived:,} waived, "
        f"{comparison.fixed:,} fixed{absent} (baseline {visible(comparison.path)})"
    )


def cut(shown: int, of: int, where: str = "") -> str:
    """Say what was left out; "" for nothing."""
    if shown >= of:
        return ""
    return f"the {shown:,} most suspicious of {of:,} findings are shown{where}"


def described(finding: Finding) -> str:
    """One sentence of a finding."""
    state = {
        "new": "new; ",
        "unchanged": "in the baseline; ",
        "waived": f"waived ({finding.waiver}); ",
        "found": "",
    }
    why = f"; {finding.reason}" if finding.reason else ""
    said = f"{finding.id}: labelled {finding.label!r}, probably wrong (suspicion {finding.suspicion:.2f})"
    return f"{said}; {state[finding.state]}{finding.suggested!r} comes closest{why}"


def location(verdict: Verdict) -> str:
    """The manifest as a path relative to the working directory, with forward slashes, where it is below it."""
    path = Path(verdict.source)
    try:
        return path.resolve().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return path.as_posix()
