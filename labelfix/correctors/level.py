"""Level: raw scores of other methods become probabilities on the target, without any truth.

The confident joint (Northcutt et al. 2021, §3.1) says of each row whether a class other than the given one is
confidently preferred out of fold; isotonic regression of that on the score gives the shape and keeps order. Labels
known to be wrong say how much of it to believe.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from labelfix.correctors.interface import Corrector
from labelfix.evidence import Evidence, EvidenceChunk
from labelfix.findings import Correction, State
from labelfix.tmlc import known_wrong
from labelfix.tmlc.calibrate import confidently_other
from labelfix.tmlc.level import Level, contradicted
from labelfix.trajectories import Floats

KNOTS = 256
COMPARED = 4_096
"""Rows that are also scored with labels known to be wrong."""


def fit_level(corrector: Corrector, state: State, evidence: Evidence) -> State:
    """Add the calibration of a corrector's score to its state."""
    from sklearn.isotonic import IsotonicRegression

    K = evidence.classes
    total, count = np.zeros(K), np.maximum(np.bincount(evidence.labels, minlength=K), 1)
    for rows in evidence.chunks():
        np.add.at(total, rows.labels, _own(rows))
    thresholds = np.where(total > 0, total / count, 1.0)
    scores, wrong, known_right = [], [], []
    for rows in evidence.chunks():
        scores.append(corrector.score(state, rows).score)
        assert rows.probabilities is not None
        wrong.append(confidently_other(rows.probabilities, rows.labels, thresholds))
        known_right.append(np.zeros(len(rows), bool) if rows.trusted is None else rows.trusted)
    score, other, trusted = (np.concatenate(parts) for parts in (scores, wrong, known_right))
    if not trusted.all():
        score, other = score[~trusted], other[~trusted]
    fitted = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(score, other)
    x = np.unique(np.quantile(score, np.linspace(0, 1, KNOTS)))
    p = fitted.predict(x)
    sample = evidence.sample(COMPARED).untrusted()
    known = known_wrong.compare(lambda rows: corrector.score(state, rows).score, sample, evidence.told.mended)
    views = (float(other.mean()),) if known is None else (float(other.mean()), known.share)
    audit = None if known is None else evidence.told.audit
    level = Level(views, audit, contradicted=contradicted(sample))
    if known is not None and other.any():
        p = (p * level.interval()[1] / views[0]).clip(0.0, 1.0)
    return dataclasses.replace(
        state,
        arrays=state.arrays | {"level.score": x.astype(np.float32), "level.p": p.astype(np.float32)},
        settings=state.settings
        | {"known_wrong": None if known is None else dataclasses.asdict(known)}
        | level.settings(),
    )


def with_suspicion(correction: Correction, state: State, given: NDArray[np.int32]) -> Correction:
    """Turn the score into suspicion and make the soft label agree with it: q[given] = 1 − suspicion."""
    suspicion = np.interp(correction.score, state.arrays["level.score"], state.arrays["level.p"]).astype(
        np.float32
    )
    is_given = correction.classes == given[:, None]
    others = np.where(is_given, 0.0, correction.p)
    unlisted = np.maximum(1.0 - correction.p.sum(axis=1), 0.0)
    rest = np.maximum(others.sum(axis=1) + unlisted, 1e-9)
    p = np.where(is_given, 1.0 - suspicion[:, None], others * (suspicion / rest)[:, None]).astype(np.float32)
    order = np.argsort(-p, axis=1, kind="stable")
    return dataclasses.replace(
        correction,
        suspicion=suspicion,
        classes=np.take_along_axis(correction.classes, order, axis=1),
        p=np.take_along_axis(p, order, axis=1),
    )


def _own(rows: EvidenceChunk) -> Floats:
    assert rows.probabilities is not None
    return rows.probabilities[np.arange(len(rows)), rows.labels]
