"""Late blending: readings of the net, average margins and a second learner, weighted by what the target is like.

The net reads a training row twice, with and without its in-sample block. Without it ranks better on large data, where
both blocks say the same and the in-sample one is a little bent by its label. With it ranks better where heads blind to
a row are much worse than heads that saw it (few rows a feature, or folds by group that part domains), and where errors
come in groups of neighbours, which mislead blind heads. Both can be seen without truth. The average margin (Pleiss et
al. 2020, §3.1) ranks well wherever a target differs from all that the net has practised on. Where few labels are wrong
and errors do not come in groups, heads hardly learn any of them, and what they say in the end, blind to the row, tells
more than how they came to it: the loss by which cleanlab judges has its say there. Kernel regression on the same
features errs elsewhere than linear heads do: its margin has its say, and that of the heads counts half as much.

Where a fine-tuned model gives the in-sample block and heads on frozen features the out-of-fold one, two learners are
asked: a model from scratch on few images knows less than the heads; of images that the backbone does not know, more. In
reading and margin each counts the more, the fewer of the given labels it contradicts.

Measured: examples/benchmarks/LOG.md. The spread of the net's log-odds is kept, unless scores fall into two heaps: then
it says too little. Their level, which transfers badly, is set so that the probabilities have a given mean.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelfix.evidence import EvidenceChunk
from labelfix.tmlc.calibrate import level_offset, sigmoid
from labelfix.trajectories import Floats

SHARE = 0.5
"""Weight of the margin against the net's readings, all by their standard deviations; between .3 and .8 hardly anything
changes. It doubles with the weight of the whole reading; two learners part it between them."""
FAR = 0.2
"""Blocks are far apart when heads blind to the rows prefer another class for so many rows more than the others do."""
FARTHER = 2.0
"""Weight that the in-sample margin gains where blocks are far apart and yet heads do not learn wrong labels."""
NEAR = 0.06
"""Nearer than this, the second reading is not worth its time."""
GROUPED = 0.1
"""Errors come in groups where belief in a label goes so much further with its neighbours' than with their number."""
LAST = 0.5
"""Weight of the last out-of-fold loss where no label is wrong; it falls to 0 at an error rate of `FEW`."""
FEW = 0.08
SECOND = 0.5
"""Weight of the margin of the kernel regression, which halves that of the heads; itself halved where blocks are so far
apart that the in-sample margin gains all of `FARTHER`: the regression is as blind to the rows as the heads are."""
HEARD = 0.25
"""Least weight of the whole reading where two learners are asked: without it nobody would hear the model. Nobody is
left out at a weight of 1: the reading rests on both."""
MOST = 15.0
"""Log-odds beyond which a row is as good as certain."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class View:
    """How the terms of one kind of row are added up, fitted on training rows."""

    terms: tuple[tuple[float, float, float], ...]
    """(mean, standard deviation, weight) of: the net's log-odds without the in-sample block, with it, the in-sample
    margin, the out-of-fold margin, the last out-of-fold loss, the margin of the kernel regression."""
    gain: float
    """From standard deviations to log-odds."""
    offset: float
    """Log-odds."""

    @classmethod
    def fit(cls, terms: list[Numbers | None], weights: tuple[float, ...], spread: float, rate: float) -> View:
        """Fit on terms [n]; those that are None count for nothing. `spread` and mean probability `rate` are kept."""
        scales = tuple(
            (0.0, 1.0, 0.0)
            if values is None
            else (float(values.mean()), max(float(values.std()), 1e-6), weight)
            for values, weight in zip(terms, weights, strict=True)
        )
        total = cls(scales, 1.0, 0.0)(terms)
        gain = spread / max(float(total.std()), 1e-6)
        return cls(scales, gain, level_offset(gain * total, rate))

    def __call__(self, terms: list[Numbers | None]) -> Numbers:
        """Return blended log-odds [n]."""
        total: Any = 0.0
        for values, (mean, scale, weight) in zip(terms, self.terms, strict=True):
            if values is not None and weight:
                total = total + weight * (values - mean) / scale
        return np.asarray(self.gain * total + self.offset)


@dataclass(frozen=True)
class Blend:
    """One view of rows with an in-sample block, one of rows without."""

    whole: float
    """Weight of the net's reading of both blocks, for rows that have both; 0 … 1."""
    views: dict[str, View]
    """By the block that only rows of the one kind have: in_sample, or else out_of_fold."""

    @classmethod
    def fit(
        cls, withheld: Floats, whole: Floats | None, rows: EvidenceChunk, weight: float = 0.0,
        rate: float | None = None, sharper: float = 1.0, unswayed: bool = False,
    ) -> Blend:  # fmt: skip
        """Fit on training rows: the net's log-odds [n] without and with the in-sample block, and their evidence.

        `weight` is that of the whole reading, as `weight_of_whole` gives it. `rate` is the mean probability wanted, and
        says how many labels are wrong; None: the net's own, and not few. Log-odds spread `sharper` times as far as the
        net's. Heads that are `unswayed` learn few wrong labels by heart.
        """
        terms = _terms(withheld, whole, rows)
        spread = sharper * max(float(terms[0].std()), 1e-6)
        last = 0.0 if rate is None else LAST * (1.0 - weight) * max(0.0, 1.0 - rate / FEW)
        rate = float(sigmoid(terms[0]).mean()) if rate is None else rate
        views = {}
        if rows.in_sample is not None:
            farther = float(np.clip(2.0 * apart(rows) - 1.0, 0.0, 1.0)) if unswayed else 0.0
            views["in_sample"] = View.fit(terms, _weights(weight, rows, farther, last), spread, rate)
        if rows.out_of_fold is not None:
            views["out_of_fold"] = View.fit(terms, (1.0, 0.0, 0.0, _share(rows), last, SECOND), spread, rate)
        return cls(weight, views)

    def __call__(self, withheld: Floats, whole: Floats | None, rows: EvidenceChunk) -> Floats:
        """Return blended log-odds [n]; rows without an in-sample block need no reading of the `whole`."""
        name = "in_sample" if "in_sample" in self.views and rows.in_sample is not None else "out_of_fold"
        return np.asarray(self.views[name](_terms(withheld, whole, rows)), np.float32)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a State."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Blend:
        """Undo `to_dict`."""
        views = {
            name: View(tuple((m, s, w) for m, s, w in one["terms"]), one["gain"], one["offset"])
            for name, one in values["views"].items()
        }
        return cls(values["whole"], views)


def weight_of_whole(rows: EvidenceChunk, voting: tuple[float, float, float]) -> float:
    """Return how far the reading of both blocks counts, 0 … 1.

    By the share of epochs in which another class is preferred, blind and not, and, where one learner is blind and not,
    by what `Norms` says of `voting`. Two learners that contradict labels equally often have an equal say: 0.5.
    """
    if rows.in_sample is None or rows.out_of_fold is None:
        return 0.0
    far = apart(rows)
    if rows.two_learners:
        return float(np.clip((1.0 + far) / 2, HEARD, 1.0))
    _, with_votes, with_belief = voting
    near = far * FAR < NEAR
    return float(np.clip(max(0.0 if near else far, (with_belief - with_votes) / GROUPED), 0.0, 1.0))


def apart(rows: EvidenceChunk) -> float:
    """Return how much more often heads blind to the rows prefer another class than the others do; 1 is far."""
    if rows.in_sample is None or rows.out_of_fold is None:
        return 0.0
    seen, blind = (float((block.margin[:, :, 0] < 0).mean()) for block in (rows.in_sample, rows.out_of_fold))
    return (blind - seen) / FAR


def _share(rows: EvidenceChunk) -> float:
    """Return the weight of the heads' margin where nothing is far apart."""
    return SHARE if rows.kernel is None else SHARE / 2


def _weights(whole: float, rows: EvidenceChunk, farther: float, last: float) -> tuple[float, ...]:
    """Return the weights of the terms for rows that have both blocks, given that of the whole reading.

    `farther`, from 0 to 1, says that what saw the rows knows more, and is not swayed.
    """
    if not rows.two_learners:
        share = _share(rows) * (1.0 + whole) + SHARE * FARTHER * farther
        return 1.0 - whole, whole, share, 0.0, last, SECOND * (1.0 - farther / 2)
    share = max(1.0, 2.0 * whole)
    return (
        1.0 - whole,
        whole,
        SHARE * share * whole,
        _share(rows) * share * (1.0 - whole),
        last,
        SECOND * (1.0 - whole),
    )


def _terms(withheld: Floats, whole: Floats | None, rows: EvidenceChunk) -> list[Any]:
    """Return the terms [n] in the order of `View`: None for what is not there."""
    read: list[Any] = [
        None if values is None else values.clip(-MOST, MOST).astype(np.float64)
        for values in (withheld, whole)
    ]
    margins = [
        None if block is None else -block.margin[:, :, 0].mean(axis=1, dtype=np.float64)
        for block in rows.blocks
    ]
    last = None if rows.out_of_fold is None else rows.out_of_fold.loss[:, -1].astype(np.float64)
    second = None
    if rows.kernel is not None:
        second = (rows.kernel[:, 1:].max(axis=1) - rows.kernel[:, 0]).astype(np.float64)
    return [*read, *margins, last, second]
