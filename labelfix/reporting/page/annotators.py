"""Annotators: what each of them confuses."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from labelfix.findings import Findings

PAIRS = 3
"""Pairs of classes said of each."""


def confused_by(findings: Findings) -> dict[str, tuple[tuple[str, str, int], ...]]:
    """Return each annotator's most frequent (given, suggested, flagged rows)."""
    table = findings.table
    if "annotator" not in table.column_names:
        return {}
    flagged = table.filter(pc.fill_null(table.column("is_label_error"), False))
    by = ["annotator", "label", "suggested"]
    counted = flagged.select(by).group_by(by, use_threads=False).aggregate([([], "count_all")])
    order = [("count_all", "descending"), ("label", "ascending"), ("suggested", "ascending")]
    found: dict[str, list[tuple[str, str, int]]] = {}
    for pair in pa.Table.to_pylist(counted.sort_by(order)):
        pairs = found.setdefault(pair["annotator"], [])
        if len(pairs) < PAIRS:
            pairs.append((pair["label"], pair["suggested"], pair["count_all"]))
    return {name: tuple(pairs) for name, pairs in found.items()}
