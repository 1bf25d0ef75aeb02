"""The verdict as SARIF 2.1.0, for code-scanning pages: a result for each finding and each check not passed.

A result points at the row's line in a text manifest; for other manifests at its line in a JSON sidecar that is written
beside the SARIF file.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from importlib.metadata import version
from typing import Any
from urllib.parse import quote

from labelfix.gating.formats import told
from labelfix.gating.verdict import Check, Finding, Verdict

MOST = 5_000
"""Results that GitHub shows; it refuses a run of more than 25,000."""
SCHEMA = "https://json.schemastore.org/sarif-2.1.0-rtm.5.json"
RULE = "label-error"
LEVEL = {"fail": "error", "inconclusive": "error", "warn": "warning"}


def render(verdict: Verdict, sidecar: str | None) -> str:
    """Return the document; `sidecar` is the path of the JSON lines that rows are found in, None for a text manifest."""
    wanting, made_by = [check for check in verdict.checks if check.outcome != "pass"], version("labelfix")
    shown = verdict.findings[: MOST - len(wanting)]
    rules: list[dict[str, Any]] = [_rule(RULE, "A label that is probably wrong")]
    rules += [_rule(name, title) for name, title in {c.name: c.title for c in wanting}.items()]
    where = _uri(told.location(verdict))
    results = [_of_check(check, where) for check in wanting]
    for number, finding in enumerate(shown, 1):
        line = verdict.lines.get(finding.row) if sidecar is None else number
        results.append(_of_finding(finding, where if sidecar is None else _uri(sidecar), line or 1))
    said = [told.headline(verdict), *told.facts(verdict), *verdict.notes]
    if cut := told.cut(len(shown), len(verdict.findings)):
        said.append(cut)
    notes = [{"level": "note", "message": {"text": text}} for text in said]
    run = {
        "tool": {
            "driver": {
                "name": "labelfix",
                "version": made_by,
                "semanticVersion": made_by,
                "rules": rules,
            }
        },
        "invocations": [
            {"executionSuccessful": True, "exitCode": verdict.exit_code, "toolExecutionNotifications": notes}
        ],
        "columnKind": "unicodeCodePoints",
        "results": results,
        "properties": {"outcome": verdict.outcome, "shown": len(shown), "findings": len(verdict.findings)},
    }
    return json.dumps({"$schema": SCHEMA, "version": "2.1.0", "runs": [run]}, indent=2) + "\n"


def rows(verdict: Verdict) -> str:
    """Return the sidecar: a line of JSON for each finding that the SARIF file shows, in its order."""
    wanting = sum(check.outcome != "pass" for check in verdict.checks)
    return "".join(json.dumps(asdict(finding)) + "\n" for finding in verdict.findings[: MOST - wanting])


def _rule(name: str, title: str) -> dict[str, Any]:
    return {"id": name, "shortDescription": {"text": title}, "defaultConfiguration": {"level": "warning"}}


def _of_check(check: Check, uri: str) -> dict[str, Any]:
    properties = {"limit": check.limit, "value": check.value, "probability": check.probability}
    result = _result(check.name, LEVEL[check.outcome], check.message, uri, 1)
    return result | {"properties": {name: value for name, value in properties.items() if value is not None}}


def _of_finding(finding: Finding, uri: str, line: int) -> dict[str, Any]:
    result = _result(
        RULE, "note" if finding.state == "waived" else "warning", told.described(finding), uri, line
    )
    result["rank"] = round(100 * finding.suspicion, 2)
    result["partialFingerprints"] = {"labelfix/v1": f"{finding.id}:{finding.content}:{finding.label}"}
    if finding.state in {"new", "unchanged"}:
        result["baselineState"] = finding.state
    if finding.state == "waived":
        result["suppressions"] = [{"kind": "external", "justification": finding.waiver}]
    kept = {"id": finding.id, "row": finding.row, "given": finding.label, "suggested": finding.suggested}
    return result | {"properties": kept}


def _result(rule: str, level: str, text: str, uri: str, line: int) -> dict[str, Any]:
    place = {"artifactLocation": {"uri": uri}, "region": {"startLine": line}}
    return {
        "ruleId": rule,
        "level": level,
        "message": {"text": text},
        "locations": [{"physicalLocation": place}],
    }


def _uri(path: str) -> str:
    return quote(path, safe="/:@~!$&'()*+,;=")
