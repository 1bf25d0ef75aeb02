"""What a gate knows of a batch when it judges: findings, and what the reference says is usual. Arrays only."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from labelfix.findings import Findings
from labelfix.gating.rates import STEEP, Audited, Seen
from labelfix.tmlc.calibrate import Doubt

SEEN: Seen = ((0.47, 0.25), (0.75, 0.5), (1.05, 0.25))
"""Errors that annotators make look less suspicious than posteriors say: so much was seen of a rise in the error rate on
six sets that no weights had seen, quartile means of simulated annotators' errors with half as many labels drawn at
random or by similarity (benchmarks: LOG.md)."""
SEEN_BY_CROWD: Seen = ((0.75, 0.25), (0.89, 0.5), (1.03, 0.25))
"""Likewise, where others answered about the same items, in reference and batch: eleven rises of 3 to 8 points
on six sets (benchmarks: LOG.md)."""


@dataclass(frozen=True, eq=False)
class Usual:
    """How rows of the reference score and look; m of its rows."""

    suspicion: NDArray[np.float32]
    """[m] as unseen rows, of those that are not known to be right."""
    sure: int
    """How many more were asked that are known to be right."""
    doubt: Doubt
    """How far the level of suspicions may be off."""
    audited: Audited | None = None
    """Rows of it whose truth is known."""
    seen: Seen = SEEN
    """Shares that suspicions may see of a difference in error rates, each with its probability."""
    steep: Seen = STEEP
    """Factors of their log-odds, likewise."""


@dataclass(frozen=True, eq=False)
class Compared:
    """A batch beside a reference that it is not part of; N rows, n of them judged."""

    name: str
    """Run directory or file of the reference."""
    classes: tuple[str, ...]
    """[K] classes that the reference knows."""
    shares: NDArray[np.float64]
    """[K] of its rows by class."""
    rows: int
    """Of the reference that were scored as unseen ones; shares were taken from these, quantiles from up to twice as
    many."""
    copy_of: NDArray[np.object_]
    """[N] id of a row of the reference that shows the same; "" = none."""
    copy_label: NDArray[np.object_]
    """[N] its label."""
    views: dict[str, tuple[NDArray[np.float32], NDArray[np.float32]]]
    """What is measured of the features: values [n] of the batch and quantiles [Q] of the reference, by name."""


@dataclass(frozen=True, eq=False)
class Judged:
    """A finished scan, or a batch that was scored by a reference; N rows."""

    findings: Findings
    """Of the N rows."""
    source: str
    """What the user named."""
    usual: Usual
    """Where there is no other reference: of the findings' own rows."""
    trusted: NDArray[np.bool_]
    """[N] the label is known to be right."""
    content: NDArray[np.uint8]
    """[N, 16] content hashes; zeros where not known."""
    compared: Compared | None = None
    """None without a reference."""
    alone: bool = False
    """The batch was cross-validated within itself."""
    columns: dict[str, NDArray[np.object_]] = field(default_factory=dict)
    """[N] text values by column that the policy names."""
    notes: tuple[str, ...] = ()
    """What the user should know."""
    lines: dict[int, int] = field(default_factory=dict)
    """Row → line of the manifest, where it is a text file; may be of some rows only."""

    def __len__(self) -> int:
        return len(self.findings)

    @cached_property
    def scored(self) -> NDArray[np.bool_]:
        """[N] rows that were judged."""
        return np.asarray(self.status == "scored")

    @cached_property
    def status(self) -> NDArray[Any]:
        """[N]"""
        return texts(self.findings.table, "status").astype(str)

    @cached_property
    def suspicion(self) -> NDArray[np.float64]:
        """[N] 0 where a row was not judged."""
        return np.nan_to_num(numbers(self.findings.table, "suspicion"))

    @cached_property
    def labels(self) -> NDArray[np.object_]:
        """[N] text; "" without one."""
        return texts(self.findings.table, "label")

    @cached_property
    def names(self) -> NDArray[np.object_]:
        """[N] what a row is called: its id, with its annotator where a row is one answer."""
        ids = texts(self.findings.table, "id")
        if self.annotators is None:
            return ids
        return np.array([f"{i} ({a})" if a else i for i, a in zip(ids, self.annotators, strict=True)], object)

    @cached_property
    def annotators(self) -> NDArray[np.object_] | None:
        """[N] text; "" where none is named."""
        if "annotator" not in self.findings.table.column_names:
            return None
        return texts(self.findings.table, "annotator")


def texts(table: pa.Table, name: str) -> NDArray[np.object_]:
    """Return a column of text [N] with "" for what is missing. (Arrow's own conversion would import pandas.)"""
    return np.array(["" if value is None else value for value in table.column(name).to_pylist()], object)


def numbers(table: pa.Table, name: str) -> NDArray[np.float64]:
    """Return a column of numbers [N] with NaN for what is missing."""
    return np.array(table.column(name).to_pylist(), np.float64)
