"""Variants: what a run's findings make of the labels; each is something that a classifier can learn from."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from labelfix.errors import InconclusiveError, UsageError, unknown_name
from labelfix.findings import Findings
from labelfix.learn.targets import Targets

ALL = "all"
CLEANLAB = "cleanlab-pruned"
"""Needs cleanlab's verdict in the findings."""


def choose(names: Sequence[str], findings: Findings) -> tuple[str, ...]:
    """Return the variants that are meant, in the order of the table; raises UsageError."""
    names = [names] if isinstance(names, str) else names
    there = "cleanlab.is_issue" in findings.table.column_names
    for name in names:
        if name not in {*VARIANTS, ALL}:
            raise unknown_name("variant of labels", name, [*VARIANTS, ALL])
    if CLEANLAB in names and not there:
        raise UsageError(
            f"labels {CLEANLAB!r} need cleanlab's verdict, which this run lacks; scan with -c cleanlab"
        )
    if not names:
        raise UsageError("no labels are chosen; name some with --labels, for instance --labels soft")
    return tuple(name for name in VARIANTS if name in names or (ALL in names and (there or name != CLEANLAB)))


def labels_of(name: str, findings: Findings, rows: NDArray[np.intp]) -> Targets:
    """Return a variant of the labels of some rows [n], which all have a given label.

    Raises InconclusiveError where fewer than two classes are left.
    """
    targets = VARIANTS[name](findings, rows)
    taught = targets.taught
    left = np.unique(targets.classes[taught][targets.p[taught] > 0])
    if len(left) < 2:
        raise InconclusiveError(
            f"labels {name!r} leave {len(taught)} rows of {len(left)} classes: nothing to learn from"
        )
    return targets


def _given(findings: Findings, rows: NDArray[np.intp]) -> Targets:
    return Targets.hard(findings.numbers("label")[rows].astype(np.int32))


def _without(column: str) -> Callable[[Findings, NDArray[np.intp]], Targets]:
    """Return the variant that leaves out the rows that a column flags."""

    def pruned(findings: Findings, rows: NDArray[np.intp]) -> Targets:
        flagged = findings.column(column).astype(bool)[rows]
        return Targets.hard(findings.numbers("label")[rows].astype(np.int32), ~flagged)

    return pruned


def _fixed(findings: Findings, rows: NDArray[np.intp]) -> Targets:
    fix = findings.column("auto_fix").astype(bool)
    labels = np.where(fix, findings.numbers("suggested"), findings.numbers("label"))
    return Targets.hard(labels[rows].astype(np.int32))


def _soft(findings: Findings, rows: NDArray[np.intp]) -> Targets:
    """Soft labels as they are listed; rows that were not scored keep the given one."""
    N, (row, number, p) = len(findings), findings.listed()
    count = np.bincount(row, minlength=N)
    width = max(1, int(count.max(initial=1)))
    classes, shares = np.zeros((N, width), np.int32), np.zeros((N, width), np.float32)
    column = np.arange(len(row)) - np.repeat(np.cumsum(count) - count, count)
    classes[row, column], shares[row, column] = number, p
    other = np.nan_to_num(findings.column("soft_label_other").astype(np.float32))
    kept = count == 0
    classes[kept, 0], shares[kept, 0], other[kept] = findings.numbers("label")[kept], 1.0, 0.0
    return Targets.soft(classes[rows], shares[rows], other[rows])


VARIANTS: dict[str, Callable[[Findings, NDArray[np.intp]], Targets]] = {
    "given": _given,
    CLEANLAB: _without("cleanlab.is_issue"),
    "pruned": _without("is_label_error"),
    "fixed": _fixed,
    "soft": _soft,
}
"""As they were given; without the rows that cleanlab flags; without those that the primary corrector flags; with its
`auto_fix` taken; its soft labels."""
