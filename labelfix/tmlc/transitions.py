"""Transitions: which class is given for which, beyond what the net makes of each row by itself.

The odds that a row given class i is of class j are those of its content times the chance that an i is given for a j:
the noise transition matrix (Patrini et al. 2017, §3). A net that has seen no truth of the target knows how alike two
classes look, but not which way people err between them. The rows that it calls wrong tell: those of one pair are
counted, and compared

- with the same two classes the other way round. What makes classes alike makes them so both ways, errors need not be;
- with how many both ways together would be if the classes of wrong labels were independent of those suggested;
- with the rows whose neighbours prefer the suggested class, which they also do where classes are alike.

Counts are few, so each comparison is drawn towards none by as much as chance explains of what the pairs differ by:
empirical Bayes (Efron & Morris 1975), its variance by moments (DerSimonian & Laird 1986). Where all pairs err alike,
nothing moves. The mean suspicion stays.

As an array: one float a pair of classes, 4 MB at 1,000, and one addition a row, seen or unseen. Measured:
examples/benchmarks/LOG.md.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from labelfix.tmlc.scored import Scored
from labelfix.trajectories import Floats

ONE_WAY, TOGETHER, CONVINCED = 0.35, 0.5, 0.5
"""Of each comparison's logarithm, the part that is added to the log-odds. The first would be a half alone: what both
ways share is known from how alike the classes look. The others overlap with it."""
HALF = 0.5
"""Added to counts before their logarithms are taken."""
MARGINS = 3.0
"""Rows' worth of doubt about a count that is expected from the sums of its row and column."""
COUNTED = 0.3
"""Pairs of which fewer wrong labels are expected say nothing of how much pairs differ."""
ROUNDS = 30
"""Of fitting a table to its sums; errors of 1e-6 are left after far fewer."""
PREFIX = "transitions."

Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Transitions:
    """Effects in log-odds; K classes."""

    of_pair: Floats
    """[K, K] by given and suggested class."""
    level: Floats
    """[1] what keeps the mean suspicion where it was."""

    @classmethod
    def fit(cls, scored: Scored, *answered: tuple[Scored, NDArray[np.bool_]]) -> Self:
        """Fit on training rows [n]; and on `answered` rows [m] as they were, with whether the label was wrong [m]: what
        was mended would else be missing where it was found.
        """
        counted = [_counts(*each) for each in ((scored, scored.score > 0), *answered)]
        wrong, doubted = np.sum(counted, axis=0)
        effects = ONE_WAY * _one_way(wrong) + TOGETHER * _together(wrong)
        effects += CONVINCED * _convinced(wrong, doubted)
        bare = cls(effects.astype(np.float32), np.zeros(1, np.float32))
        return replace(bare, level=scored.level(bare(scored)))

    def __call__(self, scored: Scored) -> Floats:
        """Return what to add to the scores [n]."""
        return np.asarray(self.of_pair[scored.rows.labels, scored.suggested] + self.level)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays for a State."""
        return {PREFIX + "of_pair": self.of_pair, PREFIX + "level": self.level}

    @classmethod
    def of(cls, arrays: dict[str, NDArray[Any]]) -> Self | None:
        """Undo `arrays`; None for a state that was written before pairs were counted."""
        if f"{PREFIX}of_pair" not in arrays:
            return None
        return cls(arrays[PREFIX + "of_pair"], arrays[PREFIX + "level"])


def _counts(scored: Scored, wrong: NDArray[np.bool_]) -> Numbers:
    """Count rows [2, K, K] that are wrong, and that are doubted, by given and suggested class."""
    K, pairs = scored.rows.classes, scored.pairs
    kinds = [np.bincount(pairs[which], minlength=K * K) for which in (wrong, _doubted(scored))]
    return np.stack(kinds).reshape(2, K, K).astype(np.float64)


def _one_way(wrong: Numbers) -> Numbers:
    """Return the shrunk logarithm [K, K] of how much oftener i is given for j than j for i."""
    ratio = np.log((wrong + HALF) / (wrong.T + HALF))
    variance = 1.0 / (wrong + HALF) + 1.0 / (wrong.T + HALF)
    return _shrunk(ratio, variance, np.triu(wrong + wrong.T, 1) > 0)


def _together(wrong: Numbers) -> Numbers:
    """Return the shrunk logarithm [K, K] of how much oftener two classes are mixed up than others, for their sums."""
    both = wrong + wrong.T
    expected = _independent(both)
    ratio = np.log((both + HALF) / (expected + HALF))
    return _shrunk(ratio, 1.0 / (both + HALF) + 1.0 / (expected + MARGINS), expected > COUNTED)


def _convinced(wrong: Numbers, doubted: Numbers) -> Numbers:
    """Return the shrunk logarithm [K, K] of how many of the doubted rows are called wrong, against all pairs."""
    expected = doubted * (wrong.sum() / max(doubted.sum(), 1.0))
    ratio = np.log((wrong + HALF) / (expected + HALF))
    return _shrunk(ratio, 1.0 / (wrong + HALF) + 1.0 / (doubted + HALF), expected > COUNTED)


def _doubted(scored: Scored) -> NDArray[np.bool_]:
    """Say which rows' [n] neighbours prefer the suggested class to the given one; heads, where there are no votes."""
    rows, at = scored.rows, np.arange(len(scored.rows))
    if rows.votes is not None:
        return np.asarray(rows.votes[:, 0] < rows.votes[at, scored.column])
    block = rows.out_of_fold if rows.out_of_fold is not None else rows.dynamics()
    return np.asarray(block.margin[:, :, 0].mean(axis=1) < 0)


def _independent(table: Numbers) -> Numbers:
    """Return the table with the same sums, and nothing on its diagonal, whose rows are else alike: by iterated
    proportional fitting (Deming & Stephan 1940)."""
    rows, columns = table.sum(axis=1), table.sum(axis=0)
    fitted = np.outer(rows, columns)
    np.fill_diagonal(fitted, 0.0)
    for _ in range(ROUNDS):
        fitted *= (rows / np.maximum(fitted.sum(axis=1), 1e-12))[:, None]
        fitted *= columns / np.maximum(fitted.sum(axis=0), 1e-12)
    return fitted


def _shrunk(ratio: Numbers, variance: Numbers, counted: NDArray[np.bool_]) -> Numbers:
    """Draw logarithms [K, K] towards 0, by the share of what the `counted` ones differ by that chance explains."""
    chance = variance[counted]
    excess = (ratio[counted] ** 2 / chance).sum() - counted.sum()
    between = max(float(excess), 0.0) / max(float((1.0 / chance).sum()), 1e-12)
    return np.asarray(ratio * between / (between + variance))
