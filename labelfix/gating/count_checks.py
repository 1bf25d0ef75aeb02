"""Checks of what can be counted: unreadable rows, missing labels, unknown classes, copies, the baseline."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from labelfix.findings import conflicting
from labelfix.gating.judged import Judged, numbers
from labelfix.gating.policy import Policy
from labelfix.gating.verdict import Check, Comparison
from labelfix.reporting.words import percent, plural, visible

SHOWN = 5
"""Rows that a message names."""


def count_checks(
    judged: Judged, policy: Policy, comparison: Comparison | None, new: Sequence[int]
) -> Iterator[Check]:
    """Yield a check for each limit on a count that is not off; `new` are the rows of new findings."""
    for name, title, status, of_what in (
        ("unreadable_rate", "unreadable rows", "unreadable", "cannot be read"),
        ("unlabelled_rate", "missing labels", "unlabelled", "have no label"),
        (
            "unknown_class_rate",
            "unknown classes",
            "unknown_class",
            "carry a class that the reference does not know",
        ),
    ):
        if name == "unknown_class_rate" and judged.compared is None:
            continue
        rows = np.flatnonzero(judged.status == status)
        named = _classes(judged, rows) if name == "unknown_class_rate" and len(rows) else ""
        yield from _share(judged, policy, name, title, rows, of_what + named)
    within, across = conflicts(judged)
    both = np.union1d(within, across)
    where = "have a copy with another label"
    if judged.compared is not None and len(across):
        where += f" ({len(across)} in the reference)"
    yield from _share(judged, policy, "conflicting_duplicate_rate", "conflicting duplicates", both, where)
    if judged.compared is not None:
        copies = np.flatnonzero(judged.compared.copy_of != "")
        what = "are copies of rows of the reference"
        yield from _share(judged, policy, "reference_overlap", "overlap with the reference", copies, what)
    if comparison is not None:
        said = f"{plural(len(new), 'finding')} that {comparison.path} does not hold{_first(judged, new)}"
        yield from _number(judged, policy, "new_findings", "new findings", new, said)
        late = np.flatnonzero(np.isin(judged.names.astype(str), comparison.expired))
        said = f"{plural(len(late), 'waiver')} past its date{_first(judged, late)}"
        yield from _number(judged, policy, "expired_waivers", "expired waivers", late.tolist(), said)


def conflicts(judged: Judged) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return rows that have a copy with another label: in the batch, and in the reference."""
    copies = np.nan_to_num(numbers(judged.findings.table, "duplicate_group"), nan=-1.0).astype(np.int64)
    _, label = np.unique(judged.labels.astype(str), return_inverse=True)
    within = np.flatnonzero(conflicting(copies, np.where(judged.labels == "", -1, label)))
    if judged.compared is None:
        return within, within[:0]
    other = judged.compared.copy_label
    return within, np.flatnonzero(
        (judged.compared.copy_of != "") & (judged.labels != "") & (other != judged.labels)
    )


def _share(
    judged: Judged, policy: Policy, name: str, title: str, rows: NDArray[np.intp], of_what: str
) -> Iterator[Check]:
    level = policy.level(name, judged.compared is not None)
    if level == "off":
        return
    limit = getattr(policy, name)
    share = len(rows) / max(len(judged), 1)
    bound = f"at most {percent(limit)} may" if limit else "none may"
    message = f"{len(rows):,} of {plural(len(judged), 'row')} ({percent(share)}) {of_what}; {bound}"
    message += _first(judged, rows)
    if not len(rows):
        message = f"none of {plural(len(judged), 'row')}"
    yield Check(
        name, title, level if share > limit else "pass", message, limit, share, rows=tuple(rows.tolist())
    )


def _number(
    judged: Judged, policy: Policy, name: str, title: str, rows: Sequence[int], said: str
) -> Iterator[Check]:
    level = policy.level(name, judged.compared is not None)
    if level == "off":
        return
    limit = getattr(policy, name)
    message = f"{said}; {f'at most {limit:g} may be' if limit else 'none may be'}" if rows else "none"
    yield Check(
        name, title, level if len(rows) > limit else "pass", message, limit, len(rows), rows=tuple(rows)
    )


def _classes(judged: Judged, rows: NDArray[np.intp]) -> str:
    """Name the classes of some rows, the most frequent first."""
    names, counts = np.unique(judged.labels[rows].astype(str), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    named = ", ".join(f"{visible(names[k], 60)!r} ({counts[k]:,})" for k in order[:SHOWN])
    return f" ({named}{', …' if len(names) > SHOWN else ''})"


def _first(judged: Judged, rows: Sequence[int] | NDArray[np.intp]) -> str:
    if not len(rows):
        return ""
    named = ", ".join(visible(judged.names[row], 60) for row in rows[:SHOWN])
    return f": {named}{', …' if len(rows) > SHOWN else ''}"
