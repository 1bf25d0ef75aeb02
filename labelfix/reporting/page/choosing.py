"""Choosing: which rows of a run the page shows, list by list."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from labelfix.findings import Findings
from labelfix.reporting.summary import YieldPoint

SPOT_CHECK = 12
"""Rows shown where nothing is suspicious, so that one can see that this is so."""
LISTED = 100
"""Most rows of each list beside the suspects."""
MEMBERS = 6
"""Most images shown of a set of copies."""


@dataclass(frozen=True, eq=False)
class Listed:
    """The first rows of a list, and how many there are in all."""

    rows: NDArray[np.intp]
    """Rows of the manifest, in the order in which they are shown."""
    total: int
    """All rows that belong there."""


@dataclass(frozen=True, eq=False)
class Chosen:
    """What the page shows."""

    suspects: Listed
    """By rank: what is flagged by the primary corrector or by cleanlab, and what a review to the place to stop would
    meet; where there is no such row, a few for a spot check."""
    suspicious: bool
    """False for a spot check."""
    ambiguous: Listed
    """The least decided first."""
    outliers: Listed
    """The most suspicious first."""
    conflicts: tuple[NDArray[np.intp], ...]
    """Sets of copies with different labels, those with the most suspicious member first."""
    conflict_count: int
    """All such sets."""
    conflicting: NDArray[np.bool_]
    """[N] whether a copy of the row carries another label."""
    unreadable: Listed
    """In the manifest's order."""


def choose(findings: Findings, stop: YieldPoint | None, top: int) -> Chosen:
    """Choose at most `top` suspects, and the other lists."""
    table, order = findings.table, findings.order()
    flagged = flags(findings, "is_label_error") | flags(findings, "cleanlab.is_issue")
    near = np.arange(len(order)) < (stop.review if stop is not None else 0)
    suspects = order[near | flagged[order]]
    suspicious = len(suspects) > 0
    if not suspicious:
        suspects = order[: min(SPOT_CHECK, top)]
    conflicts, conflicting = _conflicts(findings, order)
    decided = np.nan_to_num(
        pc.list_element(_not_empty(findings), 0).field("p").to_numpy(zero_copy_only=False)
    )
    ambiguous = np.flatnonzero(flags(findings, "is_ambiguous"))
    ambiguous = ambiguous[np.argsort(decided[ambiguous], kind="stable")]
    outliers = flags(findings, "is_outlier")
    late = np.flatnonzero(outliers & ~np.isin(np.arange(len(findings)), order))
    outliers_ordered = np.concatenate([order[outliers[order]], late])
    unreadable = np.flatnonzero(pc.equal(table.column("status"), "unreadable").to_numpy())
    return Chosen(
        Listed(suspects[:top], len(suspects)), suspicious,
        Listed(ambiguous[:LISTED], len(ambiguous)),
        Listed(outliers_ordered[:LISTED], len(outliers_ordered)),
        tuple(conflicts[:LISTED]), len(conflicts), conflicting,
        Listed(unreadable[:LISTED], len(unreadable)),
    )  # fmt: skip


def flags(findings: Findings, name: str) -> NDArray[np.bool_]:
    """Return a column of yes and no [N]; no where it is missing or null."""
    if name not in findings.table.column_names:
        return np.zeros(len(findings), bool)
    return np.asarray(findings.table.column(name).fill_null(False).to_numpy(), bool)


def _not_empty(findings: Findings) -> pa.Array:
    """Soft labels [N] as lists of at least one element."""
    lists = findings.table.column("soft_label").combine_chunks()
    nothing = pa.scalar([{"label": None, "p": 0.0}], lists.type)
    return pc.if_else(pc.fill_null(pc.greater(pc.list_value_length(lists), 0), False), lists, nothing)


def _conflicts(
    findings: Findings, order: NDArray[np.intp]
) -> tuple[list[NDArray[np.intp]], NDArray[np.bool_]]:
    conflicting = findings.conflicting()
    rows = np.flatnonzero(conflicting)
    if not len(rows):
        return [], conflicting
    _, group = np.unique(findings.copies()[rows], return_inverse=True)
    place = np.full(len(findings), len(findings))
    place[order] = np.arange(len(order))
    best = np.full(int(group.max()) + 1, len(findings))
    np.minimum.at(best, group, place[rows])
    by = np.lexsort((place[rows], group, best[group]))
    starts = np.flatnonzero(np.diff(group[by], prepend=-1))
    return np.split(rows[by], starts[1:]), conflicting
