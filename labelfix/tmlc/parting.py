"""Parting: where scores fall into two heaps with a gap between them, the upper one is the wrong labels.

No estimate of the error rate knows better than such a gap, whatever kind of errors lie above it; the others judge by
how wrong labels *usually* score, and find too few where these ones are milder. Where there is no gap, or too few rows
to tell one from chance, nothing is said. As in thresholding grey levels at the valley of their histogram (Prewitt and
Mendelsohn 1966), but asked how deep the valley is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelfix.tmlc.calibrate import SMALL

WIDE = 1.0
"""Log-odds on either side in which the rows of a gap are counted."""
STEP = 0.25
"""Log-odds between the places where a gap is looked for."""
FEWEST = 10
"""Rows of an upper heap, at least."""
MOST = 0.5
"""Share of the rows that it has, at most."""
CHANCE = 2
"""Rows that a gap may have more by chance than were counted."""


@dataclass(frozen=True)
class Parting:
    """The deepest gap between scores."""

    share: float = 0.0
    """Of the rows, that lie above it."""
    depth: float = 0.0
    """1 for a gap without rows; 0 where they lie as densely as above it on average, so that there is no gap."""

    def moved(self, rate: float) -> float:
        """Return an estimate of the error rate, moved towards the share above the gap, all the way where it is deepest:
        a geometric mean."""
        parts = (1.0 - self.depth) * np.log(rate + SMALL) + self.depth * np.log(self.share + SMALL)
        return float(np.exp(parts) - SMALL)


def part(scores: NDArray[np.floating]) -> Parting:
    """Find the deepest gap between scores [n], in log-odds."""
    ordered = np.sort(scores.astype(np.float64))
    n = len(ordered)
    places = np.arange(ordered[0], ordered[-1], STEP) if n else np.zeros(0)
    first = np.searchsorted(ordered, places)
    above = n - first
    possible = (above >= FEWEST) & (above <= MOST * n)
    if not possible.any():
        return Parting()
    places, first, above = places[possible], first[possible], above[possible]
    near = np.searchsorted(ordered, places + WIDE) - np.searchsorted(ordered, places - WIDE)
    low, high = (ordered[(first + share * above).astype(np.intp)] for share in (0.05, 0.95))
    usual = (
        0.9 * above * np.minimum(2 * WIDE / np.maximum(high - low, STEP), 1.0)
    )  # of the heap, in as wide a window
    filled = (near + CHANCE) / usual
    lowest = np.flatnonzero(filled == filled.min())
    at = lowest[len(lowest) // 2]
    return Parting(float(above[at] / n), float(np.clip(1.0 - filled[at], 0.0, 1.0)))
