"""Building what correctors return: a state that names its rows, a correction whose classes are sorted."""

from __future__ import annotations

from typing import Any

import numpy as np

from labelfix.evidence import Evidence
from labelfix.findings import SOFT, Correction, State


def state_of(corrector: str, evidence: Evidence, arrays: dict[str, Any], **settings: Any) -> State:
    """Build a state that names the rows it was fitted on."""
    return State(corrector, evidence.fitted_on, arrays, settings)


def sparse(corrector: str, score: Any, classes: Any, p: Any, **rest: Any) -> Correction:
    """Build a correction from scores [n] and the probabilities of listed classes [n, C], sorted here."""
    order = np.argsort(-p, axis=1, kind="stable")[:, :SOFT]
    return Correction(
        corrector,
        np.asarray(score, np.float32),
        np.take_along_axis(classes, order, axis=1).astype(np.int32),
        np.take_along_axis(p, order, axis=1).astype(np.float32),
        **rest,
    )
