"""Findings built by hand, with the schema that findings.py documents."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from labelfix.findings import SOFT_LABEL, Findings

SCHEMA = pa.schema(
    [
        ("id", pa.string()),
        ("image", pa.string()),
        ("label", pa.string()),
        ("suggested", pa.string()),
        ("suspicion", pa.float32()),
        ("confidence", pa.float32()),
        ("soft_label", SOFT_LABEL),
        ("soft_label_other", pa.float32()),
        ("rank", pa.int32()),
        ("is_label_error", pa.bool_()),
        ("auto_fix", pa.bool_()),
        ("is_ambiguous", pa.bool_()),
        ("is_outlier", pa.bool_()),
        ("duplicate_group", pa.int32()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("tmlc.score", pa.float32()),
        ("tmlc.suggested", pa.string()),
        ("cleanlab.score", pa.float32()),
        ("cleanlab.suggested", pa.string()),
        ("cleanlab.is_issue", pa.bool_()),
    ]
)

Row = dict[str, Any]


def scored(
    id_: str, given: str, suggested: str, suspicion: float, soft: dict[str, float] | None = None, **more: Any
) -> Row:
    """One judged row; the mass of the suggestion is all that is not the given label's."""
    soft = soft if soft is not None else {suggested: suspicion, given: 1 - suspicion}
    row = {
        "id": id_,
        "image": f"images/{id_}",
        "label": given,
        "suggested": suggested,
        "suspicion": suspicion,
        "confidence": soft.get(suggested, 0.0),
        "soft_label": [{"label": name, "p": p} for name, p in soft.items()],
        "soft_label_other": max(0.0, 1 - sum(soft.values())),
        "is_label_error": suspicion > 0.5,
        "auto_fix": suspicion > 0.9,
        "is_ambiguous": False,
        "is_outlier": False,
        "duplicate_group": None,
        "status": "scored",
        "reason": f"the held-out head says {suggested}",
        "tmlc.score": suspicion,
        "tmlc.suggested": suggested,
        "cleanlab.score": suspicion,
        "cleanlab.suggested": suggested,
        "cleanlab.is_issue": False,
    }
    return row | more


def unscored(id_: str, status: str, reason: str = "", label: str | None = "cat") -> Row:
    """One row that could not be judged."""
    flags = ("is_label_error", "auto_fix", "is_ambiguous", "is_outlier")
    return {"id": id_, "image": id_, "label": label, "status": status, "reason": reason} | dict.fromkeys(
        flags, False
    )


def findings(
    rows: Sequence[Row],
    classes: Sequence[str] = ("cat", "dog", "eel"),
    correctors: Sequence[str] = ("tmlc", "cleanlab"),
    rate: tuple[float, float, float] | None = (0.1, 0.05, 0.2),
) -> Findings:
    """Rank the rows by suspicion and make the table."""
    judged = [i for i, row in enumerate(rows) if row["status"] == "scored"]
    ranks: dict[int, int] = {
        i: n + 1 for n, i in enumerate(sorted(judged, key=lambda i: -rows[i]["suspicion"]))
    }
    table = pa.Table.from_pylist([{**row, "rank": ranks.get(i)} for i, row in enumerate(rows)], schema=SCHEMA)
    meta: dict[str, Any] = {"schema": 1, "classes": list(classes), "correctors": list(correctors)}
    if rate is not None:
        meta["estimated_errors"] = {
            **dict(zip(("rate", "low", "high"), rate, strict=True)),
            "rows": len(judged),
        }
    return Findings(table, meta)


def many(count: int, classes: int = 10, seed: int = 0) -> Findings:
    """Return many plausible rows, a tenth of them suspicious."""
    rng = np.random.default_rng(seed)
    names = np.array([f"class {k}" for k in range(classes)])
    given = rng.integers(0, classes, count)
    other = (given + rng.integers(1, classes, count)) % classes
    suspicion = rng.beta(0.15, 1.35, count).astype(np.float32)
    rank = np.empty(count, np.int32)
    rank[np.argsort(-suspicion, kind="stable")] = np.arange(1, count + 1)
    listed = np.stack(
        [np.where(suspicion > 0.5, other, given), np.where(suspicion > 0.5, given, other)], axis=1
    )
    p = np.stack([np.maximum(suspicion, 1 - suspicion), np.minimum(suspicion, 1 - suspicion)], axis=1)
    structs = pa.StructArray.from_arrays(
        [pa.array(names).take(pa.array(listed.ravel())), pa.array(p.ravel())], names=["label", "p"]
    )
    soft = pa.ListArray.from_arrays(pa.array(np.arange(count + 1, dtype=np.int32) * 2), structs)
    no = np.zeros(count, bool)
    columns = {
        "id": pa.array(np.char.add("row ", np.arange(count).astype(str))),
        "image": pa.array(np.char.add("images/", np.arange(count).astype(str))),
        "label": names[given],
        "suggested": names[other],
        "suspicion": suspicion,
        "confidence": suspicion,
        "soft_label": soft,
        "soft_label_other": np.zeros(count, np.float32),
        "rank": rank,
        "is_label_error": suspicion > 0.5,
        "auto_fix": suspicion > 0.9,
        "is_ambiguous": no,
        "is_outlier": no,
        "duplicate_group": pa.nulls(count, pa.int32()),
        "status": ["scored"] * count,
        "reason": ["the held-out head says otherwise"] * count,
        "tmlc.score": suspicion,
        "tmlc.suggested": names[other],
        "cleanlab.score": suspicion,
        "cleanlab.suggested": names[other],
        "cleanlab.is_issue": (suspicion + rng.normal(0, 0.2, count)) > 0.5,
    }
    share = float(suspicion.mean())
    estimated = {"rate": share, "low": 0.8 * share, "high": 1.2 * share, "rows": count}
    meta = {"schema": 1, "classes": names.tolist(), "correctors": ["tmlc", "cleanlab"]}
    return Findings(pa.table(columns), meta | {"estimated_errors": estimated})


class Made:
    """The builders above, for tests that get them as a fixture."""

    scored: Callable[..., Row] = staticmethod(scored)
    unscored: Callable[..., Row] = staticmethod(unscored)
    findings: Callable[..., Findings] = staticmethod(findings)
    many: Callable[..., Findings] = staticmethod(many)


@pytest.fixture(scope="session")
def made() -> type[Made]:
    return Made
