"""Error rates of groups of rows, classes or annotators, each with its interval."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from labelfix.findings import Findings
from labelfix.tmlc.calibrate import Doubt, rate_interval

FEWEST = 20
"""With fewer scored rows a rate is said to rest on too little data."""


@dataclass(frozen=True)
class GroupRate:
    """The estimated share of wrong labels in one group."""

    name: str
    """Class as given, or annotator."""
    rows: int
    """Scored rows."""
    expected: float
    """Expected wrong labels: the sum of suspicions."""
    rate: float
    """`expected` / `rows`."""
    low: float
    """Lower end of the 90 % interval of the rate."""
    high: float
    """Upper end."""
    flagged: int
    """Rows with is_label_error."""
    enough: bool
    """Whether there are enough rows (20) for the rate to mean something."""


def group_rates(
    findings: Findings, column: str, estimate: tuple[float, float, float] | None
) -> tuple[GroupRate, ...]:
    """Return the rate of each value of a column among the scored rows, most wrong labels first.

    `estimate` is the rate of all rows with its interval: what of its width chance does not explain, the groups
    share. Each group then has its own chance (`tmlc.calibrate.rate_interval`).
    """
    table = findings.table
    if column not in table.column_names:
        return ()
    held = table.select([column, "suspicion", "is_label_error", "status"])
    held = held.filter(pc.and_(pc.equal(held.column("status"), "scored"), pc.is_valid(held.column(column))))
    if not len(held):
        return ()
    names, codes = _encoded(held.column(column))
    p = np.nan_to_num(held.column("suspicion").to_numpy().astype(np.float64))
    flagged = held.column("is_label_error").fill_null(False).to_numpy()
    rows = np.bincount(codes, minlength=len(names))
    expected = np.bincount(codes, p, minlength=len(names))
    variance = np.bincount(codes, p * (1 - p), minlength=len(names)).astype(np.float64)
    doubt = Doubt.among(float(p.mean()))
    if estimate is not None:
        rate, low, high = estimate
        doubt = Doubt.of(low, rate, high, float(variance.sum()), len(held))
    rates: NDArray[np.float64] = expected / rows
    low_ends, high_ends = rate_interval(rates, variance, rows, doubt)
    marked = np.bincount(codes, flagged, minlength=len(names)).astype(np.int64)
    order = np.lexsort((np.array(names), -expected))
    return tuple(
        GroupRate(
            names[g], int(rows[g]), float(expected[g]), float(rates[g]), float(low_ends[g]),
            float(high_ends[g]), int(marked[g]), bool(rows[g] >= FEWEST),
        )
        for g in order
    )  # fmt: skip


def _encoded(column: Any) -> tuple[list[str], NDArray[np.int32]]:
    encoded = column.combine_chunks().dictionary_encode()
    encoded = encoded.combine_chunks() if isinstance(encoded, pa.ChunkedArray) else encoded
    return encoded.dictionary.to_pylist(), encoded.indices.to_numpy()
