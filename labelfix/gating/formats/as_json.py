"""The verdict as one JSON document, for scripts."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from labelfix.gating.verdict import Verdict

SCHEMA = 1
"""Version of the document; a field may be added without a new one, none is renamed or removed."""


def document(verdict: Verdict) -> dict[str, Any]:
    """Return the document: `schema`, `exit_code`, and the fields of Verdict; a finding has its `line`, or null."""
    plain = asdict(verdict)
    lines = plain.pop("lines")
    for finding in plain["findings"]:
        finding["line"] = lines.get(finding["row"])
    rate = plain["rate"]
    plain["rate"] = dict(zip(("rate", "low", "high"), rate, strict=True)) if rate else None
    return {"schema": SCHEMA, "exit_code": verdict.exit_code, "passed": verdict.passed, **plain}


def render(verdict: Verdict) -> str:
    """Return the document as text, ASCII only."""
    return json.dumps(document(verdict), indent=2, allow_nan=False) + "\n"
