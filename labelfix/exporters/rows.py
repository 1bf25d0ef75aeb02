"""Answers in tables, whichever file they lie in: which columns say what."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from labelfix.errors import InputError
from labelfix.exporters.answers import Answer

ANSWERED = ("answer", "annotator", "answered_at", "comment")
"""Columns of a table that are for the annotator to fill."""
IDS = ("id", "sample_id")
WHO = ("annotator", "annotator_id", "completed_by", "worker")
WHEN = ("answered_at", "updated_at", "at", "created_at")
DECISIONS = ("accept", "reject", "relabel")
"""Of the HTML report: the suggestion, in `label`, is right; the given label is right; `label` is another class."""


def answers_of(rows: Iterable[Mapping[str, Any]], names: Sequence[str], path: Path) -> list[Answer]:
    """Return the answers in rows with these columns; raises InputError when no column can hold them."""
    if not set(IDS) & set(names):
        raise InputError(
            f"{path}: has no column 'id', so its answers belong to no row; its columns: {', '.join(names)}"
        )
    if (
        "answer" not in names
        and not {"label", "decision"} <= set(names)
        and not ("label" in names and "queue" not in names)
    ):
        raise InputError(
            f"{path}: has no column 'answer' (nor 'label' and 'decision'), so it answers nothing; its columns: "
            f"{', '.join(names)}"
        )
    return [answer_of(row, f"{path}: row {number} (the first is 0)") for number, row in enumerate(rows)]


def answer_of(row: Mapping[str, Any], where: str) -> Answer:
    """Return the answer of one row. A decision counts before a label, and `answer` before both."""
    decision = _text(row, ("decision",)).strip().lower()
    says = _text(row, ("answer",))
    if "answer" not in row:
        says = _text(row, ("label",))
        if decision and decision not in DECISIONS:
            says = decision
    who, copy = _text(row, WHO), _text(row, ("copy",))
    return Answer(
        says=says if says.strip() else None,
        where=where,
        id=_text(row, IDS),
        keeps=decision == "reject",
        annotator=who or (f"copy {copy}" if copy else ""),
        at=_text(row, WHEN),
        queue=_text(row, ("queue",)),
    )


def _text(row: Mapping[str, Any], names: Sequence[str]) -> str:
    """Return the first of these cells that holds something."""
    return next((str(row[name]) for name in names if row.get(name) not in {None, ""}), "")
