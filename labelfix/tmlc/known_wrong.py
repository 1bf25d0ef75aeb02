"""Labels known to be wrong: what a wrong label looks like on this target, and so how many look like one.

Rows get another class for a label, drawn by the probability that heads blind to the row give it, and are scored again:
nothing is trained anew, since no head that judges a row out of fold has seen its label. If wrong labels score like
these, the share of rows above a threshold is at least the error rate × the share of known-wrong labels above it, so
that the smallest ratio of the two bounds the rate from above, as in mixture proportion estimation (Blanchard, Lee &
Scott 2010, §4). On clean data, however hard, it is near 0, where counts of confident disagreement are not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelfix.evidence import EvidenceChunk
from labelfix.trajectories import Floats

LEVELS = np.linspace(0.05, 0.9, 18)
"""Quantiles of known-wrong scores that serve as thresholds; above the last one too few rows are left to count."""
CORRECTED = 0.5
"""Of rows whose label was wrong already, about so many are given the right one by the draw. Where a share r of labels
is wrong, known-wrong labels are thus wrong at 1 − r / 2 only."""
WANTED_PRECISION = 0.5
"""Rows are called wrong only as far down as every second one is wrong, as far as known-wrong labels can tell."""


@dataclass(frozen=True)
class KnownWrong:
    """What the comparison came to."""

    share: float
    """Of rows that look as wrong as labels known to be wrong do."""
    flag_share: float
    """Of rows, from the top, among which the wanted precision holds."""


def compare(
    score: Callable[[EvidenceChunk], Floats], rows: EvidenceChunk, mended: float = 0.0, seed: int = 0
) -> KnownWrong | None:
    """Compare the scores of training rows with those of the same rows relabelled; None without out-of-fold evidence.

    `score` gives [n], higher is more suspicious; it is shown rows as unseen ones, so that both are judged alike. For
    each row so many errors are `mended` already, and were above all thresholds: without them the bound would only say
    that none is left up there.
    """
    if rows.out_of_fold is None:
        return None
    own = np.sort(score(rows.as_unseen()))
    wrong = np.sort(score(rows.relabelled(_other_labels(rows, seed))))
    thresholds = np.quantile(wrong, LEVELS)
    above, wrong_above = _above(own, thresholds), _above(wrong, thresholds)
    counted = wrong_above > 0  # ties may leave none
    if not counted.any():
        return KnownWrong(1.0, 1.0)
    # One row more than was counted: none among few is no proof of none.
    whole = (above + mended) / (1.0 + mended)
    ratio = float(((whole + 1 / len(own)) / np.maximum(wrong_above, 1e-9))[counted].min())
    before = min(1.0, ratio / (1.0 + CORRECTED * ratio)) * (1.0 + mended)  # errors for each row left
    share = max(before - mended, 0.0)
    precise = counted & (before * wrong_above - mended >= WANTED_PRECISION * above)
    return KnownWrong(share, float(above[precise].max(initial=0.0)))


def precise_share(p: NDArray[np.float64]) -> float:
    """Return the share of rows, from the top, among which the wanted precision holds by their own probabilities [n]."""
    found = np.cumsum(-np.sort(-p)) >= WANTED_PRECISION * np.arange(1, len(p) + 1)
    return float(np.flatnonzero(found).max(initial=-1) + 1) / max(len(p), 1)


def _above(scores: Floats, thresholds: Floats) -> NDArray[np.float64]:
    """Return the share of sorted scores above each threshold."""
    return np.asarray(1.0 - np.searchsorted(scores, thresholds, side="right") / len(scores))


def _other_labels(rows: EvidenceChunk, seed: int) -> NDArray[np.intp]:
    """Draw a candidate column [n] other than the given label's, by its final out-of-fold probability."""
    assert rows.out_of_fold is not None
    odds = np.exp(rows.out_of_fold.log_p[:, -1].astype(np.float64))
    odds[:, 0] = 0.0
    reached = np.cumsum(odds, axis=1)
    drawn = np.random.default_rng(seed).random((len(rows), 1)) * reached[:, -1:]
    return np.asarray((reached <= drawn).sum(axis=1).clip(1, odds.shape[1] - 1))
