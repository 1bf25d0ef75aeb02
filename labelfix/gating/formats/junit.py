"""The verdict as JUnit XML: one test case for each check, as CI servers show them."""

from __future__ import annotations

from datetime import UTC, datetime
from xml.etree import ElementTree as ET

from labelfix.gating.formats import told
from labelfix.gating.verdict import Check, Verdict
from labelfix.reporting.words import visible


def render(verdict: Verdict, now: datetime | None = None) -> str:
    """Return the document: a failed check is a failure, an inconclusive one an error, a warning passes and says so."""
    count = {name: sum(check.outcome == name for check in verdict.checks) for name in told.OUTCOME}
    totals = {
        "tests": str(len(verdict.checks)),
        "failures": str(count["fail"]),
        "errors": str(count["inconclusive"]),
    }
    root = ET.Element("testsuites", {"name": "labelfix gate", **totals})
    when = (now or datetime.now(UTC)).strftime("%Y-%m-%dT%H:%M:%S")
    suite = ET.SubElement(
        root,
        "testsuite",
        {"name": _legal(told.headline(verdict)), **totals, "skipped": "0", "time": "0", "timestamp": when},
    )
    for check in verdict.checks:
        _case(suite, verdict, check)
    said = ET.SubElement(suite, "system-out")
    said.text = _legal("\n".join([*told.facts(verdict), *verdict.notes]))
    ET.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ET.tostring(root, encoding="unicode") + "\n"


def _case(suite: ET.Element, verdict: Verdict, check: Check) -> None:
    named = {"classname": "labelfix.gate", "name": _legal(check.name), "time": "0"}
    case = ET.SubElement(suite, "testcase", named)
    message = _legal(check.message)
    if check.outcome in {"fail", "inconclusive"}:
        tag = "failure" if check.outcome == "fail" else "error"
        body = ET.SubElement(case, tag, {"message": message, "type": check.outcome})
        held = {finding.row: finding for finding in verdict.findings}
        body.text = _legal("\n".join([message, *(told.described(held[r]) for r in check.rows if r in held)]))
    else:
        said = ET.SubElement(case, "system-out")
        said.text = f"warning: {message}" if check.outcome == "warn" else message


def _legal(text: str) -> str:
    """Spell out what XML cannot hold."""
    return "\n".join(visible(line, 4000) if line.strip() else "" for line in text.split("\n"))
