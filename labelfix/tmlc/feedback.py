"""Feedback: what annotators' answers change in the suspicion of rows that nobody was asked about.

A net that has seen no truth of a target knows how wrong labels look, but not which of its classes people confuse.
Answers tell. The log-odds of an answered label being wrong are modelled as its score plus effects of the given class,
of the suggested one, of the pair, and of a few readings, each with a normal prior around nothing (a logistic regression
with random effects; Gelman & Hill 2007, ch. 14): few answers move little. That rows were chosen by their score does not
bend the effects, since the score is in the model, and so is how far to believe it. The level is fitted beside them and
dropped: for that there are answers to rows drawn at random (`labelfix.answers`).

As arrays: two floats a class, and one a pair that was asked about. Measured: examples/benchmarks/loop.md.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from labelfix.tmlc.scored import Scored
from labelfix.trajectories import Floats

OF_PAIR, OF_CLASS, OF_READING = 0.5, 0.35, 0.25
"""Standard deviations of the effects in log-odds; readings are standardised."""
OF_SLOPE, OF_LEVEL = 0.3, 3.0
"""Of the share of the score that is added or taken away, and of the level."""
CLOSELY = {"maxiter": 2000, "ftol": 1e-15, "gtol": 1e-7}
"""The loss is strictly convex: so near to its one minimum, the numbering of classes makes no difference."""
PREFIX = "feedback."

Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Feedback:
    """Effects in log-odds; K classes, P pairs, R readings."""

    pairs: NDArray[np.int64]
    """[P] given class × K + suggested class, ascending."""
    of_pair: Floats
    """[P]"""
    of_given: Floats
    """[K]"""
    of_suggested: Floats
    """[K]"""
    of_reading: Floats
    """[R]"""
    centre: Floats
    """[R] mean of each reading over training rows."""
    spread: Floats
    """[R] standard deviation, likewise."""
    slope: Floats
    """[2] share of the score that is added, and the score at which that is nothing."""
    level: Floats
    """[1] what keeps the mean suspicion where it was."""
    answers: NDArray[np.int64]
    """[1] m, the answers that it was learnt from."""

    @classmethod
    def fit(cls, answered: Scored, wrong: NDArray[np.bool_], usual: Scored, stretched: float = 1.0) -> Self:
        """Fit on m answers, which say whether a label was `wrong` [m]; `usual` rows keep their mean suspicion.

        Effects are in proportion to log-odds that were `stretched` by a factor.
        """
        from scipy.optimize import minimize
        from scipy.special import expit

        K = answered.rows.classes
        pairs, pair = np.unique(answered.pairs, return_inverse=True)
        given, suggested, readings = answered.rows.labels, answered.suggested, usual.readings
        centre, spread = readings.mean(axis=0), readings.std(axis=0) + np.float32(1e-6)
        x = ((answered.readings - centre) / spread).astype(np.float64)
        score = answered.score.astype(np.float64)
        about = score - score.mean()
        sizes = 1, 1, len(pairs), K, K, x.shape[1]
        effects = stretched * np.array([OF_PAIR, OF_CLASS, OF_CLASS, OF_READING])
        deviation = np.repeat([OF_LEVEL, OF_SLOPE, *effects], sizes)
        ends = np.cumsum(sizes)[:-1]

        def loss(z: Numbers) -> tuple[float, Numbers]:
            level, slope, of_pair, of_given, of_suggested, of_reading = np.split(deviation * z, ends)
            odds = score + level + slope * about
            odds += of_pair[pair] + of_given[given] + of_suggested[suggested] + x @ of_reading
            off = expit(odds) - wrong
            gradient = [
                [off.sum(), off @ about],
                np.bincount(pair, off, len(pairs)),
                np.bincount(given, off, K),
                np.bincount(suggested, off, K),
                x.T @ off,
            ]
            value = (np.logaddexp(0.0, odds) - wrong * odds).sum() + (z**2).sum() / 2
            return float(value), deviation * np.concatenate(gradient) + z

        found = minimize(loss, np.zeros(len(deviation)), jac=True, method="L-BFGS-B", options=CLOSELY)
        fitted = (deviation * found.x).astype(np.float32)
        _, slope, of_pair, of_given, of_suggested, of_reading = np.split(fitted, ends)
        line, level = np.array([slope[0], score.mean()], np.float32), np.zeros(1, np.float32)
        of_each = of_pair, of_given, of_suggested, of_reading
        bare = cls(pairs, *of_each, centre, spread, line, level, np.array([len(wrong)]))
        return replace(bare, level=usual.level(bare(usual)))

    def __call__(self, scored: Scored) -> Floats:
        """Return what to add to the scores [n]."""
        code = scored.pairs
        place = np.searchsorted(self.pairs, code).clip(0, len(self.pairs) - 1)
        found = self.of_given[scored.rows.labels] + self.of_suggested[scored.suggested] + self.level
        found += np.where(self.pairs[place] == code, self.of_pair[place], np.float32(0.0))
        found += ((scored.readings - self.centre) / self.spread) @ self.of_reading
        found += self.slope[0] * (scored.score - self.slope[1])
        return np.asarray(found, np.float32)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays for a State."""
        return {PREFIX + field.name: getattr(self, field.name) for field in fields(self)}

    @classmethod
    def of(cls, arrays: dict[str, NDArray[Any]]) -> Self | None:
        """Undo `arrays`; None where nobody had been asked."""
        if f"{PREFIX}pairs" not in arrays:
            return None
        return cls(**{field.name: arrays[PREFIX + field.name] for field in fields(cls)})
