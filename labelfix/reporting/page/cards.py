"""Cards: all that is known of the rows that a page shows, gathered from the files of a run."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from labelfix.findings import Findings
from labelfix.reporting.histories import Histories, History
from labelfix.reporting.page.choosing import Chosen
from labelfix.reporting.page.legible import isolated, legible
from labelfix.reporting.surroundings import Surrounding

NEIGHBOURS = 5
"""Neighbours shown of a suspect."""

OTHERS = re.compile(r"\d+ of \d+ other annotators say(?= )")
"""How a reason of the findings begins where others answered about the same item."""


@dataclass(frozen=True)
class Opinion:
    """What one corrector says of a row."""

    corrector: str
    """Name."""
    score: float | None
    """Higher is more suspicious; the scales of correctors differ."""
    suggested: str
    """Its own suggestion; "" where it has none."""
    flagged: bool | None
    """Its own verdict; None where it gives none."""


@dataclass(frozen=True)
class Neighbour:
    """One of the nearest rows."""

    row: int
    """In the manifest."""
    label: str
    """The label it was given."""
    similarity: float
    """Cosine."""


@dataclass(frozen=True)
class Card:
    """One row of the manifest."""

    row: int
    """Its position there."""
    rank: int
    """1 is the most suspicious; 0 where it was not scored."""
    id: str
    image: str
    given: str
    """The label in the manifest; "" = none."""
    suggested: str
    """The likeliest other class; "" = none."""
    suspicion: float
    """Probability that the given label is wrong."""
    confidence: float
    """Probability of the suggested class."""
    why: str
    """The evidence in one sentence."""
    error: bool
    """Flagged as wrong."""
    fix: bool
    """The suggestion should be taken without review."""
    ambiguous: bool
    outlier: bool
    conflict: bool
    """A copy carries another label."""
    tools: str
    """`both`, `ours`, `theirs` or `neither` flags it, of the primary corrector and cleanlab; "" for one corrector."""
    annotator: str
    """Who gave the label; "" = not known."""
    soft: tuple[tuple[str, float], ...]
    """Classes with their probabilities, descending."""
    other: float
    """What is left for all other classes."""
    opinions: tuple[Opinion, ...]
    """The primary corrector's first."""
    history: Mapping[str, History]
    """By block; empty where nothing was recorded."""
    neighbours: tuple[Neighbour, ...]
    """The nearest first; empty where they are not known."""


def deal(
    findings: Findings,
    rows: Sequence[int],
    chosen: Chosen,
    histories: Histories,
    around: Mapping[int, Surrounding],
) -> list[Card]:
    """Return the cards of these rows [n] of the manifest."""
    table = findings.table
    labels = table.column("label").combine_chunks()  # once: taking from chunks would join them each time
    has_cleanlab = "cleanlab.is_issue" in table.column_names and findings.correctors[0] != "cleanlab"
    cards = []
    for row, held in zip(rows, table.take(pa.array(rows, pa.int64())).to_pylist(), strict=True):
        near = around.get(row)
        carried = labels.take(pa.array(near.rows, pa.int64())).to_pylist() if near is not None else []
        neighbours = (
            tuple(map(Neighbour, near.rows, (label or "" for label in carried), near.similarity))
            if near is not None
            else ()
        )
        history = histories.rows.get(row, {})
        conflict = bool(chosen.conflicting[row])
        cards.append(
            Card(
                row=row,
                rank=held["rank"] or 0,
                id=held["id"] or "",
                image=held["image"] or "",
                given=held["label"] or "",
                suggested=held["suggested"] or "",
                suspicion=_number(held["suspicion"]),
                confidence=_number(held["confidence"]),
                why=_why(held, neighbours, history.get("out_of_fold"), conflict),
                error=bool(held["is_label_error"]),
                fix=bool(held["auto_fix"]),
                ambiguous=bool(held["is_ambiguous"]),
                outlier=bool(held["is_outlier"]),
                conflict=conflict,
                tools=_tools(held) if has_cleanlab else "",
                annotator=held.get("annotator") or "",
                soft=tuple((pair["label"], _number(pair["p"])) for pair in held["soft_label"] or ()),
                other=_number(held["soft_label_other"]),
                opinions=tuple(_opinion(held, name) for name in findings.correctors),
                history=history,
                neighbours=neighbours[:NEIGHBOURS],
            )
        )
    return cards


def _why(held: dict[str, Any], near: Sequence[Neighbour], history: History | None, conflict: bool) -> str:
    """Say in one sentence what speaks for the suggestion; the reason of the findings where that says more."""
    name, said = held["suggested"], []
    if name is None:
        return legible(held["reason"] or "", 500)
    others = OTHERS.match(held["reason"] or "")
    if others:
        said.append(f"{others[0]} {isolated(name)}")
    agree = sum(neighbour.label == name for neighbour in near)
    if agree:
        said.append(f"{agree} of {len(near)} neighbours say {isolated(name)}")
    if history is not None and history.preferred and len(history.given) > 1:
        times, epochs = history.preferred, len(history.given)
        often = f"in all {epochs} epochs" if times == epochs else f"in {times} of {epochs} epochs"
        said.append(f"the out-of-fold model preferred {isolated(name)} {often}")
    if not said and held["reason"]:
        return legible(held["reason"], 500)
    if not said:
        said.append(f"little speaks against the label; {isolated(name)} comes closest")
    if conflict:
        said.append("a copy of this image carries another label")
    return "; ".join(said)


def _tools(held: dict[str, Any]) -> str:
    ours, theirs = bool(held["is_label_error"]), bool(held["cleanlab.is_issue"])
    if ours == theirs:
        return "both" if ours else "neither"
    return "ours" if ours else "theirs"


def _opinion(held: dict[str, Any], name: str) -> Opinion:
    score = held.get(f"{name}.score")
    known = float(score) if score is not None and np.isfinite(score) else None
    return Opinion(name, known, held.get(f"{name}.suggested") or "", held.get(f"{name}.is_issue"))


def _number(value: float | None) -> float:
    return float(np.nan_to_num(value or 0.0))
