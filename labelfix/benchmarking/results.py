"""Results: one row for each trial and method, every column documented, in memory and as Parquet."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from labelfix.rundir import writing

Row = dict[str, Any]
"""Column → value; None where the method does not claim it or there is nothing to measure."""

TRIAL = ("data", "noise", "wanted_rate", "seed")
"""What names a trial."""

NOTHING, CEILING = "nothing", "ceiling"
"""Rows that are no opponents: leaving the labels alone, and the oracle."""

_TEXT, _WHOLE, _NUMBER, _YES = pa.string(), pa.int64(), pa.float64(), pa.bool_()

COLUMNS: dict[str, tuple[pa.DataType, str]] = {
    "data": (_TEXT, "data set: file name without ending"),
    "noise": (_TEXT, "column of real given labels, or family of the injected noise"),
    "wanted_rate": (_NUMBER, "rate asked for; null for real labels"),
    "seed": (_WHOLE, "of the noise, of the heads and of the ceiling"),
    "rows": (_WHOLE, "rows that were scanned"),
    "classes": (_WHOLE, "classes of the given labels"),
    "held_out": (_WHOLE, "rows that took no part in the scan: downstream classifiers are tested on them"),
    "true_rate": (_NUMBER, "share of the given labels that differ from the truth"),
    "evidence_seconds": (_NUMBER, "of training heads and replaying trajectories, once for all methods"),
    "method": (_TEXT, "row of the table"),
    "auroc": (_NUMBER, "probability that a wrong label outranks a right one"),
    "average_precision": (_NUMBER, "area under precision and recall for wrong labels; ties stay together"),
    "fnr_at_true_budget": (_NUMBER, "wrong labels missed when as many rows are reviewed as are wrong"),
    "precision_at_100": (_NUMBER, "share of wrong labels among the 100 most suspicious"),
    "f1": (_NUMBER, "of the method's own flags, else of those a scan sets (is_label_error)"),
    "flagged": (_NUMBER, "share of rows flagged"),
    "rate_estimate": (_NUMBER, "estimated share of wrong labels; the share flagged where flags are its own"),
    "rate_low": (_NUMBER, "lower end of its 90 % interval; of flags of its own, by bootstrap"),
    "rate_high": (_NUMBER, "upper end"),
    "rate_covered": (_YES, "the interval holds the true rate"),
    "interval_score": (_NUMBER, "width, plus 20 times the distance to a true rate outside; lower is better"),
    "ece": (_NUMBER, "expected calibration error of suspicion, 15 equal bins"),
    "brier": (_NUMBER, "mean squared error of suspicion"),
    "brier_skill": (_NUMBER, "1 − Brier score / that of the true rate said of every row"),
    "fixed": (_NUMBER, "share of rows replaced unseen (auto_fix); argmax-disagreement replaces all it flags"),
    "accuracy_fixed": (_NUMBER, "share of right labels after that"),
    "accuracy_argmax": (_NUMBER, "share of right labels if every row took its likeliest class"),
    "net_change": (_NUMBER, "labels made right minus labels made wrong by auto_fix, share of rows"),
    "net_best": (_NUMBER, "the same at the best threshold, chosen with the truth"),
    "distance": (_NUMBER, "share of the way from cleanlab's best score (0) to the ceiling (1), in AP"),
    "downstream_given": (_NUMBER, "accuracy of a probe trained on the given labels"),
    "downstream_pruned": (_NUMBER, "… without the rows flagged"),
    "downstream_fixed": (_NUMBER, "… on labels after auto_fix"),
    "downstream_soft": (_NUMBER, "… on the method's soft labels"),
    "downstream_truth": (_NUMBER, "… on true labels"),
    "seconds": (_NUMBER, "of fitting and scoring, evidence apart"),
}  # fmt: skip
"""Column → type and meaning."""


@dataclass(frozen=True)
class Results:
    """All rows so far, and how they came about."""

    rows: tuple[Row, ...]
    """In the order of trials and methods."""
    first: str
    """The method in question."""
    command: str
    """As on the command line, files without their directories."""
    versions: dict[str, str]
    """Package → version."""
    host: str
    """System, cores, device."""
    seconds: dict[str, float]
    """Wall clock, and by data set and stage."""
    notes: tuple[str, ...] = ()
    """What the reader should know, a sentence each."""

    def write_parquet(self, path: Path) -> None:
        """Write the rows; the meaning of each column is in its field's metadata."""
        fields = [
            pa.field(name, kind, metadata={"description": text}) for name, (kind, text) in COLUMNS.items()
        ]
        schema = pa.schema(fields, metadata={"labelfix": self.command})
        table = pa.Table.from_pylist([{k: clean(row.get(k)) for k in COLUMNS} for row in self.rows], schema)
        with writing(path) as temporary:
            pq.write_table(table, temporary, compression="zstd")


def clean(value: Any) -> Any:
    """Return None for NaN."""
    return None if isinstance(value, float) and math.isnan(value) else value
