"""Error rates as distributions: how many labels of some rows are wrong, by how the reference's rows scored.

Suspicions of a batch are posteriors under the *reference's* error rate: their mean shrinks towards it, and so hides
both a bad batch and a good one. But they hold the likelihood ratio of wrong and right, and with it the batch's own
rate has a likelihood, as in the EM of Saerens, Latinne & Decaestecker (2002, §2.2), whose fixed point is its maximum.
On the reference's own rows that maximum is their mean suspicion, whatever the calibration: what is off in level
cancels when a batch is compared with the reference.

How far the level itself may be off is a shift of all log-odds, unknown and integrated over: as wide as meta-training
saw on foreign data, or as far as rows whose truth somebody looked up allow. So is how steep they are: what a nearly
clean reference shows of wrong labels are its hardest rows, and a batch's errors may stand out far more. Which slope it
is, the batch's own rows tell a little. Rows are counted in bins of log-odds, so that the work does not grow with their
number.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import erf, sqrt
from typing import Self

import numpy as np
from numpy.typing import NDArray

from labelfix.tmlc.calibrate import Doubt, sigmoid

EDGE, BINS = 15.0, 300
"""Log-odds are binned from −EDGE to EDGE."""
NODES = 7
"""Values of the shift that stand for its distribution, for each slope."""
TELLING = 30.0
"""A batch tells of them as much as so many of its rows: the shape of scores is not all that differs between batches."""
POINTS = 64
"""Values of the rate that stand for its distribution."""
TYPICAL = 0.1
"""Rate at which the quality of a model is stated, so that it does not depend on how clean the reference is."""
UNBELIEVED = 1e-4
"""Slopes and shifts less probable than this are left out."""
PRIOR_ROWS = 20.0
"""A part of a batch is first thought of as like the whole, as firmly as so many rows would say."""

Numbers = NDArray[np.float64]
Seen = tuple[tuple[float, float], ...]

ALL: Seen = ((1.0, 1.0),)
"""What true posteriors see of a difference between two rates, and scores where errors stand out."""
STEEP: Seen = ((0.7, 0.1), (1.0, 0.6), (1.4, 0.15), (2.0, 0.1), (2.8, 0.05))
"""Factors of log-odds, each with its probability before a batch is seen (benchmarks: LOG.md)."""
AS_SAID: Seen = ((1.0, 1.0),)
"""That log-odds are as steep as they say."""


@dataclass(frozen=True, eq=False)
class Rate:
    """A distribution of a share of wrong labels: a mixture of C normal ones."""

    weight: Numbers
    """[C] sums to 1."""
    mean: Numbers
    """[C]"""
    deviation: Numbers
    """[C]"""

    @property
    def middle(self) -> float:
        """Median: the rate to report."""
        return self.quantile(0.5)

    def above(self, limit: float) -> float:
        """Return the probability that the rate is above a limit."""
        z = (self.mean - limit) / np.maximum(self.deviation, 1e-9)
        return float((self.weight * _normal(z)).sum())

    def quantile(self, share: float) -> float:
        """Return the value that the rate is below with this probability."""
        low, high = (float(f(self.mean + s * 6 * self.deviation)) for f, s in ((np.min, -1), (np.max, 1)))
        for _ in range(40):
            middle = (low + high) / 2
            low, high = (middle, high) if 1.0 - self.above(middle) < share else (low, middle)
        return (low + high) / 2

    def interval(self) -> tuple[float, float]:
        """Return the 5 % and the 95 % quantile."""
        return self.quantile(0.05), self.quantile(0.95)


@dataclass(frozen=True, eq=False)
class Audited:
    """Rows of the reference whose truth somebody looked up."""

    suspicion: NDArray[np.floating]
    """[a] as unseen rows."""
    wrong: NDArray[np.bool_]
    """[a]"""


def binned(suspicion: NDArray[np.floating], part: NDArray[np.integer], parts: int) -> Numbers:
    """Count suspicions [n] by part of the batch and bin of log-odds [parts, BINS]."""
    p = suspicion.astype(np.float64).clip(1e-7, 1.0 - 1e-7)
    at = ((np.log(p / (1.0 - p)) + EDGE) / (2 * EDGE) * BINS).clip(0, BINS - 1).astype(np.intp)
    flat = np.bincount(part.astype(np.intp) * BINS + at, minlength=parts * BINS)
    return flat.reshape(parts, BINS).astype(np.float64)


def log_odds() -> Numbers:
    """Return the log-odds [BINS] in the middle of each bin."""
    return (np.arange(BINS) + 0.5) / BINS * 2 * EDGE - EDGE


@dataclass(frozen=True, eq=False)
class Scale:
    """What the reference says about scores: its own rate and what scores mean, for each possible slope and shift."""

    weight: Numbers
    """[S] probability of each slope and shift; sums to 1."""
    slope: Numbers
    """[S] factor of log-odds."""
    shift: Numbers
    """[S] added to them."""
    rate: Numbers
    """[S] the reference's rate of wrong labels among rows that are not known to be right."""
    chance: Numbers
    """[S] standard deviation of that rate as estimated from so many rows."""
    judged: float
    """Share of the reference's rows that are not known to be right."""
    quality: float
    """What a score says about an error rate of `TYPICAL`, as a share of what the truth would say, 0 … 1."""
    seen: Seen
    """Shares that scores may see of a difference from the reference's rate, each with its probability, where errors
    stand out no more than suspicions say."""

    @classmethod
    def fit(
        cls, counts: Numbers, sure: float, doubt: Doubt, audited: Audited | None = None, seen: Seen = ALL,
        steep: Seen = STEEP,
    ) -> Self:  # fmt: skip
        """Fit on the reference's rows, binned [BINS], and the number of further rows that are known to be right.

        `doubt` is about the level of the reference's own rate; true posteriors see all of a difference. `steep` are
        slopes, each with its probability before a batch is seen; 1 is among them.
        """
        n = max(counts.sum(), 1.0)
        plain = float((counts * sigmoid(log_odds())).sum() / n)
        z = np.linspace(-2.2, 2.2, NODES)
        wanted = doubt.at(plain, z).clip(1e-4, 0.98)
        weights, shifts = [], []
        for factor, before in steep:
            grid, told = factor * log_odds(), 0.0
            shift = _shift_to(grid, counts / n, wanted)
            if audited is not None and len(audited.wrong):
                shift, told = _told(audited, factor, shift, z)
            weights.append(np.log(before) - z**2 / 2 + told)
            shifts.append(shift)
        weight, shift = _normalised(np.concatenate(weights)), np.concatenate(shifts)
        factors = [factor for factor, _ in steep]
        slope = np.repeat(factors, NODES)
        moved = slope[:, None] * log_odds() + shift[:, None]  # [S, BINS]
        rate = (counts * sigmoid(moved)).sum(axis=1) / n
        ratio = _ratio(moved, rate)
        leverage = (ratio - 1.0) / (1.0 + rate[:, None] * (ratio - 1.0))
        chance = 1.0 / np.sqrt(np.maximum((counts * leverage**2).sum(axis=1), 1e-9))
        centre = factors.index(1.0) * NODES + NODES // 2
        quality = _quality(counts / n, ratio[centre], rate[centre])
        share = float(n / (n + sure))
        return cls(weight, slope, shift, rate, chance, share, quality, seen)

    def hearing(self, batch: Numbers) -> Self:
        """Return what is to be believed of slopes and shifts once the rows of a batch [BINS] have been seen.

        Nothing else where only one slope is thought possible: who knows it by other annotators knows the level, too.
        """
        if (self.slope == self.slope[0]).all():
            return self
        used, told = batch > 0, np.log(np.maximum(self.weight, 1e-300))
        for s in range(len(self.shift)):
            ratio = self._ratio_at(s, used)
            _, _, evidence = _rates(batch[used], ratio, None)
            evidence -= float(np.log1p(self.rate[s] * (ratio - 1.0)) @ batch[used])
            told[s] += evidence * min(1.0, TELLING / max(batch.sum(), 1.0))
        return replace(self, weight=_normalised(told))

    def _ratio_at(self, s: int, used: NDArray[np.bool_]) -> Numbers:
        """Return how much likelier each of some bins is for a wrong label, by a slope and shift."""
        moved = self.slope[s] * log_odds()[used] + self.shift[s]
        return np.asarray(_ratio(moved[None], self.rate[s : s + 1])[0])

    @property
    def middle(self) -> float:
        """The reference's own rate, all rows counted: the median of what is believed."""
        order = np.argsort(self.rate)
        at = int(np.searchsorted(np.cumsum(self.weight[order]), 0.5))
        return float(self.rate[order[min(at, len(order) - 1)]] * self.judged)

    def judge(self, counts: Numbers, sure: float, like: Rate | None = None) -> tuple[Rate, Rate]:
        """Return the rate of rows binned [BINS], and how far it is above the reference's.

        `sure` further rows are known to be right. `like` is the rate of the whole that these rows are a part of.
        """
        n, used = counts.sum(), counts > 0
        some = counts[used]
        everything = max(n + sure, 1.0)
        weights, means, deviations, above = [], [], [], []
        for s in np.flatnonzero(self.weight > UNBELIEVED).tolist():
            ratio = self._ratio_at(s, used)
            points, density, _ = _rates(some, ratio, like)
            wrong = (
                points[:, None] * ratio / (1.0 + points[:, None] * (ratio - 1.0))
            )  # posterior, by rate and bin
            usual = self.rate[s] * n / everything
            seen_mean = wrong @ some / everything
            seen_spread = np.sqrt((wrong * (1.0 - wrong)) @ some) / everything
            kept = density > 1e-6
            for share, probability in self.seen if self.slope[s] <= 1.0 else ALL:
                mean = (usual + (seen_mean[kept] - usual) / share).clip(0.0, 1.0)
                spread = seen_spread[kept] / share
                weights.append(self.weight[s] * probability * density[kept])
                means.append(mean)
                deviations.append(spread)
                apart = np.hypot(spread, self.chance[s] * self.judged)
                above.append((mean - self.rate[s] * self.judged, apart))
        weight = np.concatenate(weights)
        weight /= weight.sum()
        own = Rate(weight, np.concatenate(means), np.concatenate(deviations))
        return own, Rate(weight, *(np.concatenate(parts) for parts in zip(*above, strict=True)))


def holm(above: list[float], confidence: float) -> list[bool]:
    """Say which of several limits are exceeded, given the probability of each, at a joint confidence (Holm 1979)."""
    order = sorted(range(len(above)), key=lambda i: -above[i])
    exceeded = [False] * len(above)
    for rank, i in enumerate(order):
        if not 1.0 - above[i] < (1.0 - confidence) / (len(above) - rank):
            break
        exceeded[i] = True
    return exceeded


def _rates(counts: Numbers, ratio: Numbers, like: Rate | None) -> tuple[Numbers, Numbers, float]:
    """Return rates [G], the probability of each, and the logarithm of the likelihood of all together.

    `counts` and `ratio` are of some bins; `like` is what is thought of a part of a whole.
    """
    points = sigmoid(np.linspace(-9.0, 9.0, POINTS))
    # Twice: where many rows say much, all of the probability lies between two of the first points.
    points = _around(points, _told_by(counts, ratio, points, like))
    told = _told_by(counts, ratio, points, like)
    density = np.exp(told - told.max()) * np.gradient(points)
    return points, density / density.sum(), float(told.max() + np.log(density.sum()))


def _told_by(counts: Numbers, ratio: Numbers, points: Numbers, like: Rate | None) -> Numbers:
    """Return the log-likelihood [G] of each rate, with what is thought of a part of a whole."""
    told = np.log1p(points[:, None] * (ratio - 1.0)) @ counts
    if like is not None:
        centre = min(max(like.middle, 1e-3), 1.0 - 1e-3)
        told = told + PRIOR_ROWS * (centre * np.log(points) + (1.0 - centre) * np.log1p(-points))
    return np.asarray(told)


def _around(points: Numbers, told: Numbers) -> Numbers:
    """Return points [G] that cover all but the least of the probability, evenly in log-odds."""
    likely = np.flatnonzero(told > told.max() - 20.0)
    low, high = max(likely[0] - 1, 0), min(likely[-1] + 1, len(points) - 1)
    ends = np.log(points[[low, high]]) - np.log1p(-points[[low, high]])
    return sigmoid(np.linspace(ends[0], ends[1], len(points)))


def _ratio(moved: Numbers, rate: Numbers) -> Numbers:
    """Return how much likelier log-odds [S, B] are for a wrong label than for a right one, at rates [S]."""
    prior = np.log(rate.clip(1e-6, 1 - 1e-6)) - np.log1p(-rate.clip(1e-6, 1 - 1e-6))
    return np.asarray(np.exp((moved - prior[:, None]).clip(-30, 30)))


def _normalised(told: Numbers) -> Numbers:
    """Return probabilities of their logarithms, up to a number."""
    weight = np.exp(told - told.max())
    return np.asarray(weight / weight.sum())


def _shift_to(grid: Numbers, share: Numbers, wanted: Numbers) -> Numbers:
    """Return the shifts [S] of log-odds [BINS] at which the mean probability is as wanted [S]."""
    low, high = np.full(len(wanted), -4 * EDGE), np.full(len(wanted), 4 * EDGE)
    for _ in range(50):
        middle = (low + high) / 2
        below = (share * sigmoid(grid[None] + middle[:, None])).sum(axis=1) < wanted
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return np.asarray((low + high) / 2)


def _quality(share: Numbers, ratio: Numbers, rate: float) -> float:
    """Return Fisher's information about the rate at `TYPICAL`, over that of the truth, 1 / TYPICAL (1 − TYPICAL).

    `share` [BINS] is that of the reference's rows by bin, at its own rate; `ratio` [BINS] as `_ratio` gives it.
    """
    here, there = 1.0 + rate * (ratio - 1.0), 1.0 + TYPICAL * (ratio - 1.0)
    return float((share * (ratio - 1.0) ** 2 / (here * there)).sum() * TYPICAL * (1.0 - TYPICAL))


def _told(audited: Audited, slope: float, shift: Numbers, z: Numbers) -> tuple[Numbers, float]:
    """Return shifts [S] at the quantiles z [S] of what is left to believe once rows have been looked up, at a slope.

    And the logarithm of the outcomes' likelihood. Whoever chose the rows by their suspicion told nothing by that.
    """
    one = binned(audited.suspicion, audited.wrong.astype(np.intp), 2)
    fine = np.linspace(shift[0] - 3.0, shift[-1] + 3.0, 401)
    at = np.interp(fine, shift, z)  # in standard deviations of the prior; beyond its ends on straight lines
    at += np.where(fine < shift[0], (fine - shift[0]) * (z[1] - z[0]) / max(shift[1] - shift[0], 1e-6), 0.0)
    at += np.where(
        fine > shift[-1], (fine - shift[-1]) * (z[-1] - z[-2]) / max(shift[-1] - shift[-2], 1e-6), 0.0
    )
    moved = slope * log_odds()[None] + fine[:, None]
    told = -(at**2) / 2 + _log_sigmoid(moved) @ one[1] + _log_sigmoid(-moved) @ one[0]
    density = np.exp(told - told.max()) * np.gradient(at)
    reached = np.cumsum(density) - density / 2
    cuts = np.array([0.5 * (1.0 + erf(v / sqrt(2.0))) for v in z])
    found = np.asarray(np.interp(cuts, reached / density.sum(), fine))
    return found, float(told.max() + np.log(density.sum()))


def _log_sigmoid(x: Numbers) -> Numbers:
    return np.asarray(-np.logaddexp(0.0, -x))


def _normal(z: Numbers) -> Numbers:
    """Distribution function of the normal, within 1e-7 (Abramowitz & Stegun 1964, 7.1.26 through erf)."""
    x = np.abs(z) / sqrt(2.0)
    t = 1.0 / (1.0 + 0.3275911 * x)
    poly = t * (0.254829592 + t * (-0.284496736 + t * (1.421413741 + t * (-1.453152027 + t * 1.061405429))))
    half = 1.0 - poly * np.exp(-x * x)
    return np.asarray(0.5 * (1.0 + np.sign(z) * half))
