"""Consensus: several answers to one row become one decision, or stay open."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from labelfix.merging.gathering import Vote

CONFIRMED, CORRECTED, DISPUTED, UNSURE = "confirmed", "corrected", "disputed", "unsure"
EMPTIED = ("none of these", "bad image", "exclude")
"""Decisions after which the row has no label, so that neither scans nor training use it; the row stays."""
TRUSTED = (CONFIRMED, CORRECTED)
"""Decisions after which the label is known to be right."""


@dataclass(frozen=True)
class Decision:
    """What the annotators together say of one row."""

    row: int
    """Manifest position."""
    word: str
    """confirmed, corrected, disputed, unsure, or one of EMPTIED."""
    label: str | None
    """The class that is right; None where no class was agreed on."""
    agreement: float
    """Share of annotators who said so."""
    annotators: tuple[str, ...]
    """Who answered, sorted."""
    sources: tuple[str, ...]
    """Files and queues, sorted."""
    at: str
    """When the last of them answered; "" where no tool says."""

    @property
    def settled(self) -> bool:
        """Whether nobody needs to be asked again."""
        return self.word not in {DISPUTED, UNSURE}


def decide(votes: Sequence[Vote], given: Sequence[str | None]) -> list[Decision]:
    """Return a decision for each row that has votes, by row. `given` are the labels of all rows.

    More annotators must have said one thing than any other. Those who are unsure abstain, unless all are.
    """
    of_row = defaultdict[int, list[Vote]](list)
    for vote in votes:
        of_row[vote.row].append(vote)
    return [_decide(row, of_row[row], given[row]) for row in sorted(of_row)]


def _decide(row: int, votes: list[Vote], given: str | None) -> Decision:
    counts = Counter((vote.says, vote.special) for vote in votes)
    unsure = counts.pop((None, UNSURE), 0)
    label: str | None = None
    if not counts:
        word, most = UNSURE, unsure
    else:
        ((label, special), most), *rest = counts.most_common()
        word = special or (CONFIRMED if label == given else CORRECTED)
        if rest and rest[0][1] == most:
            word, label = DISPUTED, None
    return Decision(
        row,
        word,
        label,
        most / len(votes),
        tuple(sorted({vote.annotator for vote in votes})),
        tuple(sorted({vote.source for vote in votes})),
        max(vote.at for vote in votes),
    )
