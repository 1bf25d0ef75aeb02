"""Annotators: how far each agrees with the others, where several answered the same rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from labelfix.findings import Findings
from labelfix.merging.consensus import Decision
from labelfix.merging.gathering import Vote


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
    found = []
    for name in sorted({vote.annotator for vote in votes}):
        own = [vote for vote in votes if vote.annotator == name]
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
    """Ask cleanlab, which weighs the annotators against each other and against the model."""
    import pandas as pd
    from cleanlab.multiannotator import get_label_quality_multiannotator

    named = {name: k for k, name in enumerate(findings.classes)}
    usable = [vote for vote in votes if vote.says in named]
    rows = sorted({vote.row for vote in usable})
    place = {row: i for i, row in enumerate(rows)}
    who = sorted({vote.annotator for vote in usable})
    if len(who) < 2:
        return {}
    labels = np.full((len(rows), len(who)), np.nan)
    for vote in usable:
        labels[place[vote.row], who.index(vote.annotator)] = named[str(vote.says)]
    p = Findings(findings.table.take(pa.array(rows)), findings.meta).soft_labels()
    frame = pd.DataFrame(labels, columns=who)
    try:
        asked = get_label_quality_multiannotator(
            frame, p, calibrate_probs=False, return_detailed_quality=False, verbose=False
        )
    except (ValueError, AssertionError):  # too few rows in common, or one class only: it says so by raising
        return {}
    return {str(name): float(value) for name, value in asked["annotator_stats"]["annotator_quality"].items()}
