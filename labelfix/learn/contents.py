"""Contents: rows that show the very same thing, told by their hashes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelfix.trajectories import Ints


@dataclass(frozen=True, eq=False)
class Contents:
    """Which of n rows show the very same thing: answers about one image, or files of it. It is searched for once."""

    number: NDArray[np.intp]
    """[n] of each row's content, in the order of their first rows: 0, 1, 2, … where no two are equal."""
    rows: NDArray[np.intp]
    """[n] by content, ascending within one."""
    starts: NDArray[np.intp]
    """[m + 1] where each content's part of `rows` begins."""

    @classmethod
    def of(cls, keys: NDArray[np.uint8]) -> Contents:
        """Tell by content hashes [n, 16]."""
        order = np.lexsort(keys.T[::-1])  # stable: the first row of each content comes first
        begins = np.ones(len(keys), bool)
        begins[1:] = (keys[order[1:]] != keys[order[:-1]]).any(axis=1)
        first = np.zeros(len(keys), np.intp)
        first[order] = order[begins][np.cumsum(begins) - 1]
        number = (np.cumsum(first == np.arange(len(keys))) - 1)[first]
        starts = np.concatenate([[0], np.cumsum(np.bincount(number))])
        return cls(number, np.argsort(number, kind="stable"), starts)

    def __len__(self) -> int:
        return len(self.starts) - 1

    @property
    def first(self) -> NDArray[np.intp]:
        """[m] a row of each content."""
        return self.rows[self.starts[:-1]]

    @property
    def equal(self) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        """Pairs of rows that tie together all rows of each content."""
        same = self.number[self.rows[1:]] == self.number[self.rows[:-1]]
        return self.rows[:-1][same], self.rows[1:][same]

    def in_turn(self, contents: Ints, who: NDArray[np.intp]) -> Ints:
        """Return a row [q, k] of each of some contents, -1 for none; another one for the next `who` [q].

        So what was answered about an image many times has one vote, and all its answers are heard.
        """
        sizes, rows = np.diff(self.starts), np.full(contents.shape, -1, np.int32)
        for column, found in enumerate(contents.T):
            some = np.flatnonzero(found >= 0)
            of = found[some]
            rows[some, column] = self.rows[self.starts[of] + (who[some] + column) % sizes[of]]
        return rows
