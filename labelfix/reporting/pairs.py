"""Pairs of classes: how many rows of one given class are expected to belong to another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from labelfix.findings import Findings

SLICE = 1 << 17
"""Rows whose soft labels are unfolded at a time: bounds memory at a million rows."""
ONE_ROW = 0.5
"""So many expected rows are one, rounded."""


@dataclass(frozen=True, eq=False)
class Pairs:
    """Expected numbers of rows by given and true class, P pairs, the most confused first."""

    given: NDArray[np.int64]
    """[P] class as given."""
    other: NDArray[np.int64]
    """[P] class that the rows are expected to belong to; never the given one."""
    expected: NDArray[np.float64]
    """[P] rows, descending; above 0."""


def expected_pairs(findings: Findings, suspicion: NDArray[np.float64]) -> Pairs:
    """Return what the soft labels say of pairs of classes.

    A row adds its suspicion [N], shared among the other classes as its soft label is. Soft labels are
    unfolded slice by slice.
    """
    names = pa.array(findings.classes, pa.string())
    parts = []
    for start in range(0, len(findings), SLICE):
        rows = findings.table.slice(start, SLICE).select(["label", "soft_label", "soft_label_other"])
        given = class_numbers(rows.column("label"), names)
        lists = rows.column("soft_label").combine_chunks()
        lengths = lists.value_lengths().fill_null(0).to_numpy(zero_copy_only=False)
        row = np.repeat(np.arange(len(rows)), lengths)
        flat = lists.flatten()
        other = class_numbers(flat.field("label"), names)
        p = flat.field("p").fill_null(0.0).to_numpy(zero_copy_only=False).astype(np.float64)
        p[(other < 0) | (given[row] < 0) | (other == given[row])] = 0.0
        rest = rows.column("soft_label_other").to_numpy().astype(np.float64)
        mass = np.bincount(row, p, minlength=len(rows)) + np.nan_to_num(rest, nan=0.0)
        weight = suspicion[start : start + len(rows)] / np.maximum(mass, 1e-12)
        expected = p * weight[row]
        keep = expected > 0
        key = given[row].astype(np.int64) * len(names) + other
        parts.append(pa.table({"key": key[keep], "expected": expected[keep]}))
    if not parts:
        return Pairs(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0))
    summed = pa.concat_tables(parts).group_by("key", use_threads=False).aggregate([("expected", "sum")])
    best = summed.sort_by([("expected_sum", "descending"), ("key", "ascending")])
    given, other = np.divmod(best.column("key").to_numpy(), len(names))
    return Pairs(given, other, best.column("expected_sum").to_numpy())


def class_numbers(column: Any, names: Any) -> NDArray[np.int32]:
    """Return the positions [n] of text in `names`; -1 where it is missing there."""
    found = pc.index_in(column, value_set=names).cast(pa.int32())
    found = found.combine_chunks() if isinstance(found, pa.ChunkedArray) else found
    return found.fill_null(-1).to_numpy(zero_copy_only=False)  # type: ignore[no-any-return]  # pyarrow is untyped
