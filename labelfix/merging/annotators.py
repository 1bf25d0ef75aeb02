"""Annotators: how far each agrees with the others, where several answered the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from labelfix.findings import Findings
from labelfix.learn.spacing import evenly
from labelfix.merging.consensus import Decision
from labelfix.merging.gathering import Vote

CELLS = 20_000_000
"""Numbers, at most, that cleanlab is given: 160 MB."""


@dataclass(frozen=True)
class Annotator:
    """One annotator's record."""

    name: str
    answers: int
    """Rows answered."""
    shared: int
    """Of these, rows that others answered too and that were decided."""
    agreement: float | None
    """Share of the shared rows where the decision is what this one said; None without shared rows."""
    quality: float | None
    """cleanlab's estimate of how often this one is right (CROWDLAB, Goh et al. 2022); None where it cannot tell."""


def annotators(
    votes: Sequence[Vote], decisions: Sequence[Decision], findings: Findings
) -> tuple[Annotator, ...]:
    """Return those who answered, by name."""
    decided = {one.row: one for one in decisions if one.settled and len(one.annotators) > 1}
    quality = _quality(votes, findings) if decided else {}
    by_name: dict[str, list[Vote]] = {}
    for vote in votes:
        by_name.setdefault(vote.annotator, []).append(vote)
    found = []
    for name, own in sorted(by_name.items()):
        shared = [vote for vote in own if vote.row in decided]
        alike = sum(
            vote.says == decided[vote.row].label and vote.special == _special(decided[vote.row])
            for vote in shared
        )
        share = alike / len(shared) if shared else None
        found.append(Annotator(name, len(own), len(shared), share, quality.get(name)))
    return tuple(found)


def _special(decision: Decision) -> str:
    return decision.word if decision.label is None else ""


def _quality(votes: Sequence[Vote], findings: Findings) -> dict[str, float]:
    """Ask cleanlab, which weighs the annotators against each other and against the model.

    It holds all rows × annotators and rows × classes, so of many rows as many are asked about as fill `CELLS`.
    """
    import pandas as pd
    from cleanlab.multiannotator import get_label_quality_multiannotator

    named = {name: k for k, name in enumerate(findings.classes)}
    usable = [vote for vote in votes if vote.says in named]
    who = {name: i for i, name in enumerate(sorted({vote.annotator for vote in usable}))}
    if len(who) < 2:
        return {}
    rows = np.unique([vote.row for vote in usable])
    rows = rows[evenly(len(rows), max(1, CELLS // (len(who) + len(named))))]
    place = {int(row): i for i, row in enumerate(rows)}
    labels = np.full((len(rows), len(who)), np.nan)
    for vote in usable:
        if vote.row in place:
            labels[place[vote.row], who[vote.annotator]] = named[str(vote.says)]
    heard = ~np.isnan(labels).all(axis=0)
    p = Findings(findings.table.take(pa.array(rows)), findings.meta).soft_labels()
    frame = pd.DataFrame(labels[:, heard], columns=np.array(list(who))[heard])
    try:
        asked = get_label_quality_multiannotator(
            frame, p, calibrate_probs=False, return_detailed_quality=False, verbose=False
        )
    except (ValueError, AssertionError):  # too few rows in common, or one class only: it says so by raising
        return {}
    return {str(name): float(value) for name, value in asked["annotator_stats"]["annotator_quality"].items()}
