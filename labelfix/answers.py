"""Answers: what annotators said of rows before, and what that tells of the rows that nobody was asked about.

Merging writes beside each answered row the label it had, its round, and how many unasked rows it stands for. Rows that
were chosen because they were suspicious stand for none: they would make all others look worse than they are. Which
labels people confuse can be learnt from all answers.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

WRONG = ("corrected", "none of these")
"""Decisions that say that the label a row had was wrong."""
COVERED = 0.9
"""An audit must have been about so much of the rows that are left; else too many came after it."""


@dataclass(frozen=True)
class Audit:
    """What is known of the error rate of the rows left, as if some of them had been looked up."""

    asked: float
    """Rows of a simple random sample that would say as much."""
    wrong: float
    """Of these, with a wrong label."""


@dataclass(frozen=True, eq=False)
class Verdicts:
    """Labels that were looked up, as they were before; m rows."""

    rows: NDArray[np.intp]
    """[m] manifest positions, ascending."""
    labels: NDArray[np.int32]
    """[m] class that the row was given before it was asked about."""
    wrong: NDArray[np.bool_]
    """[m] the answer named another class."""


@dataclass(frozen=True, eq=False)
class Told:
    """What answers tell of the rows that are left."""

    audit: Audit | None = None
    """What looking at randomly drawn rows told of their error rate; None where nobody did."""
    mended: float = 0.0
    """Errors that were found in rows chosen as the most suspicious, for each row left."""
    verdicts: Verdicts | None = None
    """The answers one by one; None without any."""


NOTHING = Told()
"""Nobody was asked."""


@dataclass(frozen=True, eq=False)
class Rounds:
    """Answers that a manifest of N rows carries."""

    number: NDArray[np.int32]
    """[N] round in which the row was answered last, from 1; 0 = never."""
    stands_for: NDArray[np.float64]
    """[N] rows that nobody had been asked about after that round and that this one, drawn at random, stands for."""
    wrong: NDArray[np.bool_]
    """[N] the answer said that the label was wrong."""
    previous: NDArray[np.int32]
    """[N] class that the row had before it was answered last; -1 where it had none, or one that no row has now."""

    @property
    def last(self) -> int:
        """The last round; 0 without any."""
        return int(self.number.max(initial=0))

    @property
    def changed(self) -> NDArray[np.bool_]:
        """Rows [N] whose label was found wrong."""
        return self.wrong & (self.number > 0)

    def mended(self, left: int) -> float:
        """Return how many errors were found in rows that were chosen, for each of the rows `left`."""
        return float((self.changed & (self.stands_for == 0)).sum()) / max(left, 1)

    def about(self, left: int) -> Audit | None:
        """Return what the last round with a random part says of the rows `left` unanswered.

        What later rounds found is not there any more. None without a random part, and where it was about less than
        `COVERED` of them.
        """
        drawn = self.stands_for > 0
        if not drawn.any() or left < 1:
            return None
        drawn &= self.number == self.number[drawn].max()
        later = self.number > self.number[drawn][0]
        weight = self.stands_for[drawn]
        total = float(weight.sum())
        rest = total - float(later.sum())
        if rest < COVERED * left:
            return None
        errors = float(weight[self.wrong[drawn]].sum() - self.wrong[later].sum())
        asked = total**2 / float((weight**2).sum()) * min(rest / total, 1.0) ** 2  # Kish 1965, §11.7
        return Audit(asked, asked * float(np.clip(errors / rest, 0.0, 1.0)))

    def verdicts(self, labels: NDArray[np.int32]) -> Verdicts | None:
        """Return the answers that name a class, given the labels [N] as they are now; None without any.

        Those that do not go with the labels were overruled later.
        """
        answered = (self.number > 0) & (self.previous >= 0) & (labels >= 0)
        rows = np.flatnonzero(answered & (self.wrong == (self.previous != labels)))
        return Verdicts(rows, self.previous[rows], self.wrong[rows]) if len(rows) else None
