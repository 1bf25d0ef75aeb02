"""Replacing: which labels may be replaced unseen, so that more are mended than destroyed.

Blind replacement destroys labels on hard data. Where probabilities may be off, the suggestion must lead by more; and
where the model itself is weak, replacing must pay even if as few labels are wrong as the interval of the rate allows.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from labelfix.tmlc.calibrate import level_offset, sigmoid

RATES, LEADS = (0.02, 0.04, 0.2), (0.8, 0.5, 0.1)
"""The suggestion leads by so much at such an estimated error rate, and by a share in between at rates between: where
few labels are wrong, probabilities that are off do most harm, and where next to none are, all the harm."""
WEAK_LEAD = 0.2
"""The suggestion of a weak model leads by so much at the lowest rate that is believed."""
SURE = 1e-6

Floats = NDArray[np.float32]


def leads(
    suspicion: Floats, confidence: Floats, own: Floats, rate: Mapping[str, float], weak: bool
) -> NDArray[np.bool_]:
    """Say of rows [n] whether the suggestion leads by enough.

    `confidence` is the probability of the suggested class and `own` that of the given one; `rate` the estimated error
    rate with its interval; `weak` says that the model is.
    """
    if not weak or not len(suspicion):
        least = np.interp(rate["rate"], RATES, LEADS)
        return np.asarray(confidence - own > least)
    p = suspicion.astype(np.float64).clip(SURE, 1.0 - SURE)
    odds = np.log(p / (1.0 - p))
    lowered = sigmoid(odds + level_offset(odds, max(rate["low"], SURE)))
    return np.asarray(confidence / p * lowered - (1.0 - lowered) > WEAK_LEAD)
