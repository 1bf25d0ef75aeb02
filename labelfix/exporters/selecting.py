"""Selecting: which rows go into a queue, and with which probability each of them came there."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from labelfix.errors import UsageError, nearest
from labelfix.exporters.sampling import draw, probabilities
from labelfix.findings import Findings
from labelfix.rundir import RunDir

AUDIT = 0.1
"""Share of a budget that is spent on rows drawn at random."""

Mask = NDArray[np.bool_]


def _flag(name: str) -> Callable[[Findings], Mask]:
    return lambda findings: pc.fill_null(findings.table.column(name), False).to_numpy().astype(bool)


ISSUES: dict[str, Callable[[Findings], Mask]] = {
    "label-error": _flag("is_label_error"),
    "auto-fix": _flag("auto_fix"),
    "ambiguous": _flag("is_ambiguous"),
    "outlier": _flag("is_outlier"),
    "duplicate": lambda findings: findings.copies() >= 0,
    "conflict": Findings.conflicting,
}
"""What `--only` may ask for → the rows [N] it is true of."""


@dataclass(frozen=True)
class Selection:
    """What the user asks for. Rows whose label is trusted, and rows that were not scored, are never asked about."""

    top: int | None = None
    """At most so many of the most suspicious rows."""
    min_suspicion: float | None = None
    """Rows at least so suspicious."""
    budget: int | None = None
    """At most so many tasks, a part of them drawn at random."""
    audit: int | None = None
    """So many rows drawn at random among those not chosen; None: a tenth of the budget, or none without one."""
    per_class: int | None = None
    """At most so many chosen rows of each given class; rows drawn at random come on top."""
    only: tuple[str, ...] = ()
    """Names of `ISSUES`: rows with one of them."""
    seed: int = 0
    """Of the random part."""

    def __post_init__(self) -> None:
        for name in self.only:
            if name not in ISSUES:
                raise UsageError(f"--only {name}: no such issue; {nearest(name, ISSUES)}")
        if self.budget is not None and self.top is not None:
            raise UsageError("--budget and --top both say how many rows; leave one of them out")
        for option, value, least in (("--top", self.top, 1), ("--budget", self.budget, 1), ("--audit", self.audit, 0),
                                     ("--per-class", self.per_class, 1)):  # fmt: skip
            if value is not None and value < least:
                raise UsageError(f"{option} is {value}, but must be at least {least}")
        if self.budget is not None and self.audit is not None and self.audit > self.budget:
            raise UsageError(
                f"--audit {self.audit} is more than --budget {self.budget}, of which it is a part"
            )
        if self.min_suspicion is not None and not 0 <= self.min_suspicion <= 1:
            raise UsageError(f"--min-suspicion is {self.min_suspicion}, but suspicion lies in 0 … 1")


@dataclass(frozen=True, eq=False)
class Selected:
    """n rows in the order they are served: descending suspicion, by rank where it is equal."""

    rows: NDArray[np.intp]
    """[n] manifest positions."""
    drawn_with: NDArray[np.float64]
    """[n] probability of having come into the queue: 1 for those chosen, less for those drawn."""


def askable(findings: Findings, trusted: Mask | None) -> NDArray[np.intp]:
    """Return the rows [M] that a queue may hold, by descending suspicion, each id once.

    Where a row is one annotator's answer, the most suspicious row of an image stands for the image.
    """
    order, codes = _ordered(findings)
    free = ~np.isnan(findings.column("suspicion").astype(np.float64))
    order = order[(free if trusted is None else free & ~trusted)[order]]
    _, first = np.unique(codes[order], return_index=True)
    return order[np.sort(first)]


def trusted_rows(findings: Findings) -> Mask | None:
    """Return which rows [N] carried a trusted label when they were scanned; None where none were, or nobody knows."""
    path = None if findings.run is None else RunDir(findings.run).manifest
    if path is None or not path.exists() or "trusted" not in pq.read_schema(path).names:
        return None
    return pq.read_table(path, columns=["trusted"]).column(0).to_numpy().astype(bool)  # type: ignore[no-any-return]


def representatives(findings: Findings) -> NDArray[np.intp]:
    """Return for each row [N] the one that stands for its id: the most suspicious, as `askable` has it."""
    order, codes = _ordered(findings)
    _, first = np.unique(codes[order], return_index=True)
    return np.asarray(order[first][codes])


def _ordered(findings: Findings) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return all rows [N] by descending suspicion, those that were not judged last, and the number of each row's id."""
    suspicion = np.nan_to_num(findings.column("suspicion").astype(np.float64), nan=-1.0)
    ranked = findings.order()
    order = np.concatenate([ranked, np.setdiff1d(np.arange(len(findings)), ranked)])
    codes = findings.table.column("id").combine_chunks().dictionary_encode().indices.to_numpy()
    return order[np.argsort(-suspicion[order], kind="stable")], codes


def select(findings: Findings, selection: Selection, trusted: Mask | None = None) -> Selected:
    """Choose rows; raises UsageError when none is left.

    Asking about a row is expected to mend as many errors as its suspicion, so the most suspicious rows mend most.
    Without --top, --min-suspicion, --budget or --only, the rows that are flagged as label errors are chosen.
    """
    pool = askable(findings, trusted)
    suspicion = findings.column("suspicion").astype(np.float64)
    only = selection.only
    unbounded = selection.top is None and selection.min_suspicion is None and selection.budget is None
    if unbounded and not only:
        only = ("label-error",)
    fits = np.ones(len(pool), bool)
    if only:
        fits = np.logical_or.reduce([ISSUES[name](findings) for name in only])[pool]
    if selection.min_suspicion is not None:
        fits &= suspicion[pool] >= selection.min_suspicion
    if selection.per_class is not None:
        fits &= _first_of_class(findings, pool, fits, selection.per_class)
    audit = selection.audit
    if audit is None:
        audit = (
            0 if selection.budget is None else min(selection.budget, max(1, round(AUDIT * selection.budget)))
        )
    most = selection.top if selection.budget is None else selection.budget - audit
    chosen = np.flatnonzero(fits)[:most]
    rest = np.setdiff1d(np.arange(len(pool)), chosen)
    drawn, chance = rest[:0], np.zeros(0)
    if audit and len(rest):
        every = probabilities(suspicion[pool[rest]], audit)
        found = draw(every, np.random.default_rng(selection.seed))
        drawn, chance = rest[found], every[found]
    if not len(chosen) + len(drawn):
        raise UsageError(
            f"no row is selected: {len(pool):,} rows may be asked about, and none of them fits; "
            f"relax --min-suspicion or --only, or choose by --top or --budget"
        )
    places = np.concatenate([chosen, drawn])
    order = np.argsort(places)
    return Selected(pool[places[order]], np.concatenate([np.ones(len(chosen)), chance])[order])


def _first_of_class(findings: Findings, pool: NDArray[np.intp], fits: Mask, most: int) -> Mask:
    """[M] whether fewer than `most` rows of the same given class that fit come before."""
    codes = findings.table.column("label").combine_chunks().dictionary_encode().indices.to_numpy()[pool]
    keep = np.zeros(len(pool), bool)
    at = np.flatnonzero(fits)
    order = at[np.argsort(codes[at], kind="stable")]
    starts = np.flatnonzero(np.concatenate([[True], codes[order][1:] != codes[order][:-1]]))
    within = np.arange(len(order)) - np.repeat(starts, np.diff(np.append(starts, len(order))))
    keep[order[within < most]] = True
    return keep
