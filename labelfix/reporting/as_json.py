"""The summary as one JSON document, for scripts."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

from labelfix.reporting.summary import Summary

SCHEMA = 1
"""Version of the document; a field may be added without a new one, none is renamed or removed."""


def document(summary: Summary) -> dict[str, Any]:
    """Return the document; `report.schema.json` beside this file describes every field.

    `schema`, `run`, `source`, `columns`, `notes`, `correctors`, `classes`, `rows`, `scored`,
    `statuses` {status: rows}, `estimated_errors` {rate, low, high} or null, `asked`, `flagged`, `auto_fix`,
    `ambiguous`, `outliers`,
    `suspects` [{rank, id, image, given, suggested, suspicion, confidence, reason, annotator, trajectory}],
    `class_rates` and `annotator_rates` [{name, rows, expected, rate, low, high, flagged, enough}],
    `yield` {`stop`, `curve`} of {review, found, remaining}, `confusions` [{given, suggested, expected}],
    `agreement` {corrector, both, only_ours, only_cleanlab} or null,
    `conflicts` {`groups`, `first` [{ids, labels}]}, `unreadable` [{id, reason}], `files` {path: what},
    `next_steps` [{command, what}], `seconds`.
    """
    plain = asdict(summary)
    rate, stop, curve, groups = (plain.pop(name) for name in ("rate", "stop", "curve", "conflict_count"))
    return {
        "schema": SCHEMA,
        **plain,
        "scored": summary.scored,
        "estimated_errors": dict(zip(("rate", "low", "high"), rate, strict=True)) if rate else None,
        "yield": {"stop": stop, "curve": curve},
        "conflicts": {"groups": groups, "first": plain["conflicts"]},
        "unreadable": [{"id": id_, "reason": reason} for id_, reason in summary.unreadable],
        "files": dict(summary.files),
        "next_steps": [{"command": command, "what": what} for command, what in summary.next_steps],
    }


def render(summary: Summary) -> str:
    """Return the document as text, ASCII only, so that no name can break a pipe."""
    return json.dumps(document(summary), indent=2, allow_nan=False, default=str)
