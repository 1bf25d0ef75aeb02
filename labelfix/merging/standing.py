"""Standing: how many rows that nobody has been asked about each answered row that was drawn at random stands for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelfix.exporters.selecting import askable
from labelfix.findings import Findings

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Asked:
    """Rows that were asked about in one queue."""

    rows: NDArray[np.int64]
    """[n] manifest positions."""
    drawn_with: NDArray[np.float64]
    """[n] probability of having come into it; 1 = chosen."""

    def drawn(self, answered: Mask) -> Mask:
        """Say which [n] were drawn at random and are `answered` [N]."""
        return (self.drawn_with < 1) & answered[self.rows]


def audited(asked: Sequence[Asked], answered: Mask) -> Asked | None:
    """Return the queue of which most rows that were drawn at random are answered; None without a queue."""
    return max(asked, key=lambda one: int(one.drawn(answered).sum()), default=None)


def stands_for(
    findings: Findings, trusted: Mask | None, answered: Mask, asked: Sequence[Asked]
) -> dict[int, float]:
    """Return row → so many of the rows that are left, for answered rows that were drawn at random.

    One that was drawn with probability π stands for 1 / π − 1 others; together they stand for all that are left.
    """
    queue = audited(asked, answered)
    if queue is None:
        return {}
    part = queue.drawn(answered)
    weight = 1.0 / queue.drawn_with[part] - 1.0
    pool = askable(findings, trusted)
    left = len(pool) - int(answered[pool].sum())
    return dict(zip(queue.rows[part].tolist(), (left * weight / weight.sum()).tolist(), strict=True))
