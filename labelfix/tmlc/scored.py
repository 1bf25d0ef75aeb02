"""Scored rows: what corrections on top of the blend, by pairs of classes and by answers, read of them."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from labelfix.evidence import EvidenceChunk
from labelfix.tmlc.calibrate import level_offset, sigmoid
from labelfix.trajectories import Floats, Ints


@dataclass(frozen=True, eq=False)
class Scored:
    """Rows with a score, and what their effects go by."""

    rows: EvidenceChunk
    """Their evidence; n rows."""
    score: Floats
    """[n] log-odds of the label being wrong."""
    column: NDArray[np.intp]
    """[n] the candidate that is likeliest if it is."""

    @classmethod
    def of(cls, rows: EvidenceChunk, score: Floats, log_q: Floats) -> Self:
        """Take the suggestion from the net's log-posteriors [n, C + 1]."""
        return cls(rows, score, 1 + log_q[:, 1:-1].argmax(axis=1))

    def moved(self, by: Floats) -> Self:
        """Add something to the scores [n]."""
        return replace(self, score=self.score + by)

    def stretched(self, line: tuple[float, float]) -> Self:
        """Multiply the scores [n] by a slope, then add an offset."""
        return replace(self, score=np.asarray(line[0] + line[1] * self.score, np.float32))

    def level(self, by: Floats) -> Floats:
        """Return what else to add [1], so that adding something [n] leaves the mean suspicion where it was."""
        before = self.score.astype(np.float64)
        return np.array([level_offset(before + by, float(sigmoid(before).mean()))], np.float32)

    @property
    def suggested(self) -> Ints:
        """[n] class."""
        return np.take_along_axis(self.rows.candidates, self.column[:, None], axis=1)[:, 0]

    @property
    def pairs(self) -> NDArray[np.int64]:
        """[n] given class × K + suggested class."""
        return self.rows.labels.astype(np.int64) * self.rows.classes + self.suggested

    @property
    def readings(self) -> Floats:
        """[n, R] mean margin and last loss, both out of fold; shares of the neighbours that carry the given label, that
        do and are believed, and that carry the suggested one."""
        block, votes, believed = self.rows.out_of_fold, self.rows.votes, self.rows.reliable_votes
        assert block is not None
        nothing = np.zeros(len(self.rows), np.float32)
        columns = [
            block.margin[:, :, 0].mean(axis=1),
            block.loss[:, -1],
            nothing if votes is None else votes[:, 0],
            nothing if believed is None else believed[:, 0],
            nothing if votes is None else np.take_along_axis(votes, self.column[:, None], axis=1)[:, 0],
        ]
        return np.stack(columns, axis=1).astype(np.float32)
