"""The verdict for GitHub Actions: annotations on standard output, and a job summary, both within GitHub's limits."""

from __future__ import annotations

from labelfix.gating.formats import markdown, told
from labelfix.gating.verdict import Check, Verdict

MOST = 10
"""Errors, and as many warnings, that one step may show; GitHub drops the others without a word."""
SUMMARY_BYTES = 1_000_000
"""A summary over 1,024 KiB is dropped whole."""


def commands(verdict: Verdict) -> str:
    """Return workflow commands: failed checks are errors; warnings and findings are warnings, by suspicion."""
    where = told.location(verdict)
    errors = [c for c in verdict.checks if c.outcome in {"fail", "inconclusive"}]
    warnings = [
        _command("warning", c.message, where, _line(verdict, c), c.name)
        for c in verdict.checks
        if c.outcome == "warn"
    ]
    open_ = [finding for finding in verdict.findings if finding.state != "waived"]
    left = max(MOST - len(warnings), 0)
    for finding in open_[:left]:
        line = verdict.lines.get(finding.row, 1)
        warnings.append(_command("warning", told.described(finding), where, line, "probably a wrong label"))
    lines = [_command("error", c.message, where, _line(verdict, c), c.name) for c in errors[:MOST]]
    lines += warnings[:MOST]
    said = [told.headline(verdict), told.findings(verdict)]
    if len(errors) > MOST:
        said.append(f"{MOST} of {len(errors)} failed checks are annotated")
    if len(open_) > left:
        said.append(told.cut(left, len(open_), " as annotations"))
    lines.append(_command("notice", ". ".join(said), where, 1, "labelfix gate"))
    return "\n".join(lines) + "\n"


def summary(verdict: Verdict) -> str:
    """Return the job summary: as many findings as fit."""
    top = 1000
    while len((text := markdown.render(verdict, top)).encode()) > SUMMARY_BYTES and top:
        top //= 2
    return text


def _line(verdict: Verdict, check: Check) -> int:
    """Return the line of the first row that a check is about; the first one where it is about the whole batch."""
    return verdict.lines.get(check.rows[0], 1) if check.rows else 1


def _command(kind: str, message: str, file: str, line: int, title: str) -> str:
    return f"::{kind} file={_property(file)},line={line},title={_property(title)}::{_data(message)}"


def _data(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _data(text).replace(":", "%3A").replace(",", "%2C")
