"""Applying: labels are replaced without review where that should do more good than harm; and the way back."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from labelfix.errors import InputError, UsageError
from labelfix.findings import Findings
from labelfix.manifest import Manifest
from labelfix.origin import record_of, reopen, source_of
from labelfix.readers.rows import Rows
from labelfix.readers.table import TableReader, open_rows
from labelfix.rewriting import PREFIX, Edits, check_out, default_out, raw_labels, rewrite
from labelfix.rundir import check_spared, writing

REPLACED = "replaced"
COLUMNS = ("previous_label", "decision", "annotators", "source", "at", "trusted")


@dataclass(frozen=True)
class Applied:
    """What was replaced, or would be."""

    out: str | None
    """The new manifest; None where nothing was written."""
    undo: str | None
    """The file that takes it back."""
    rows: int
    """Labels replaced."""
    right: float
    """Of these, how many should become right."""
    wrong: float
    """How many should have been right before."""
    pairs: tuple[tuple[str, str, int], ...]
    """Given class, new class, how often; the most frequent first."""


def apply(
    findings: Findings | str | Path,
    out: str | Path | None = None,
    *,
    min_confidence: float = 0.0,
    write: bool = False,
    manifest: str | Path | None = None,
) -> Applied:
    """Say which labels would be replaced, and with `write` write the manifest and `<out>.undo.json`.

    Only rows whose replacement has a positive expected effect (`auto_fix`), with at least this confidence. Raises
    InputError when the manifest is not what was scanned, UsageError for a bad `out`.
    """
    if not 0 <= min_confidence <= 1:
        raise UsageError(f"--min-confidence is {min_confidence}, but confidence lies in 0 … 1")
    found = findings if isinstance(findings, Findings) else Findings.read(findings)
    confidence = np.nan_to_num(found.column("confidence").astype(np.float64))
    fix = found.column("auto_fix").astype(bool) & (confidence >= min_confidence)
    rows = np.flatnonzero(fix)
    chosen = found.table.select(["label", "suggested", "suspicion"]).take(pa.array(rows))
    labels, suggested = chosen.column("label").to_pylist(), chosen.column("suggested").to_pylist()
    pairs = Counter(zip(labels, suggested, strict=True)).most_common()
    right = float(confidence[rows].sum())
    wrong = float((1.0 - chosen.column("suspicion").to_numpy().astype(np.float64)).sum())
    counted = tuple((a, b, count) for (a, b), count in pairs)
    if not write:
        return Applied(None, None, len(rows), right, wrong, counted)
    source = source_of(record_of(found), manifest)
    place = default_out(source) if out is None else Path(out)
    check_out(source, place)
    check_spared([place], ())
    now = reopen(record_of(found), source)
    if now.digest != found.meta.get("manifest"):
        raise InputError(f"{source}: is not what was scanned any more; scan it again, then apply")
    when = datetime.now(UTC).isoformat(timespec="seconds")
    values = (labels, REPLACED, f"labelfix {version('labelfix')}", str(found.run or ""), when, False)
    columns = {
        name: value if isinstance(value, list) else [value] * len(rows)
        for name, value in zip(COLUMNS, values, strict=True)
    }
    undo = place.with_name(f"{place.name}.undo.json")
    way_back = _way_back(now, rows, place)
    with writing(undo) as temporary:  # first: what is written has a way back
        temporary.write_text(json.dumps(way_back, ensure_ascii=False), encoding="utf-8")
    rewrite(now, Edits(rows, suggested, columns), place)
    return Applied(str(place), str(undo), len(rows), right, wrong, counted)


def take_back(findings: Findings | str | Path, undo: str | Path, out: str | Path) -> int:
    """Write the manifest as it was before `apply` and return how many labels were taken back; raises InputError."""
    found = findings if isinstance(findings, Findings) else Findings.read(findings)
    try:
        kept = json.loads(Path(undo).read_text(encoding="utf-8"))
        place, ids, rows = kept["manifest"], kept["ids"], np.array(kept["rows"], np.int64)
        labels, columns, added = kept["labels"], kept["columns"], tuple(kept["added"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{undo}: is no undo file of labelfix apply ({error!r}); name that one") from error
    fixed = str(Path(undo).with_name(Path(place).name))
    check_out(fixed, Path(out))
    now = reopen(record_of(found), fixed)
    held = [str(now.ids[row]) if row < len(now) else None for row in rows]
    if held != ids:
        raise InputError(f"{fixed}: its rows are not those that were written; take back before it is changed")
    rewrite(now, Edits(rows, labels, columns, raw=True, dropped=added), Path(out))
    return len(rows)


def _way_back(manifest: Manifest, rows: Any, place: Path) -> dict[str, Any]:
    """Return what the cells held before they are written."""
    table = open_rows(manifest.source) if TableReader().recognises(manifest.source) else None
    there = [] if table is None else [name for name in COLUMNS if PREFIX + name in table.schema.names]
    return {
        "manifest": str(place),
        "rows": rows.tolist(),
        "ids": [str(manifest.ids[row]) for row in rows],
        "labels": raw_labels(manifest, rows),
        "columns": {name: _cells(table, PREFIX + name, rows) for name in there if table is not None},
        "added": [name for name in COLUMNS if name not in there],
    }


def _cells(table: Rows, name: str, rows: Any) -> list[Any]:
    values: list[Any] = table.column(name).take(pa.array(rows)).to_pylist()
    return values
