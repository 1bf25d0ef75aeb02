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
from labelfix.evidence import Evidence, EvidenceChunk, in_question
from labelfix.findings import Correction, State
from labelfix.tmlc import known_wrong
from labelfix.tmlc.calibrate import confidently_other
from labelfix.tmlc.level import Level, contradicted
from labelfix.trajectories import Floats

KNOTS = 256
COMPARED = 4_096
"""Rows that are also scored with labels known to be wrong."""
SEEN, UNSEEN = "seen", "unseen"
"""Kinds of rows, each with a map of its own: those that have an in-sample block, and those that have none."""


def fit_level(corrector: Corrector, state: State, evidence: Evidence) -> State:
    """Add the calibration of a corrector's score to its state."""
    K = evidence.classes
    total, count = np.zeros(K), np.maximum(np.bincount(evidence.labels, minlength=K), 1)
    for rows in evidence.chunks():
        np.add.at(total, rows.labels, _own(rows))
    thresholds = np.where(total > 0, total / count, 1.0)
    scores: dict[str, list[Floats]] = {}
    wrong, trusted = [], []
    for rows in evidence.chunks():
        scores.setdefault(_view(rows), []).append(corrector.score(state, rows).score)
        if rows.in_sample is not None:  # what saw a row is surer of its label than what judges unseen ones
            scores.setdefault(UNSEEN, []).append(corrector.score(state, rows.as_unseen()).score)
        assert rows.probabilities is not None
        wrong.append(confidently_other(rows.probabilities, rows.labels, thresholds))
        trusted.append(np.zeros(len(rows), bool) if rows.trusted is None else rows.trusted)
    left = in_question(np.concatenate(trusted), len(evidence))
    other = np.concatenate(wrong)[left]
    maps = {view: _isotonic(np.concatenate(parts)[left], other) for view, parts in scores.items()}
    sample = evidence.sample(COMPARED, asked=True)
    known = known_wrong.compare(lambda rows: corrector.score(state, rows).score, sample, evidence.told.mended)
    views = (float(other.mean()),) if known is None else (float(other.mean()), known.share)
    audit = None if known is None else evidence.told.audit
    level = Level(views, audit, contradicted=contradicted(sample))
    factor = level.interval()[1] / views[0] if known is not None and other.any() else 1.0
    arrays = {}
    for view, (x, p) in maps.items():
        arrays[f"level.{view}.score"] = x.astype(np.float32)
        arrays[f"level.{view}.p"] = (p * factor).clip(0.0, 1.0).astype(np.float32)
    return dataclasses.replace(
        state,
        arrays=state.arrays | arrays,
        settings=state.settings
        | {"known_wrong": None if known is None else dataclasses.asdict(known)}
        | level.settings(),
    )


def with_suspicion(correction: Correction, state: State, rows: EvidenceChunk) -> Correction:
    """Turn the score of rows into suspicion and make the soft label agree with it: q[given] = 1 − suspicion."""
    x, p = (state.arrays[f"level.{_view(rows)}.{name}"] for name in ("score", "p"))
    suspicion = np.interp(correction.score, x, p).astype(np.float32)
    is_given = correction.classes == rows.labels[:, None]
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


def _view(rows: EvidenceChunk) -> str:
    return UNSEEN if rows.in_sample is None else SEEN


def _isotonic(score: Floats, other: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Return scores [q] and the share of rows there that are confidently another class."""
    from sklearn.isotonic import IsotonicRegression

    fitted = IsotonicRegression(y_min=0.0, y_max=1.0, out_of_bounds="clip").fit(score, other)
    x = np.unique(np.quantile(score, np.linspace(0, 1, KNOTS)))
    return x, fitted.predict(x)


def _own(rows: EvidenceChunk) -> Floats:
    assert rows.probabilities is not None
    return rows.probabilities[np.arange(len(rows)), rows.labels]
