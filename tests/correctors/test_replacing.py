"""Labels are replaced unseen where the suggestion leads by enough, and by more where the model is weak."""

from __future__ import annotations

import numpy as np
import pytest

from labelfix.correctors.replacing import LEADS, leads

SUSPICION = np.linspace(0.01, 0.99, 99).astype(np.float32)


def share(rate: float, low: float, weak: bool = False) -> float:
    """Return which share of rows would be replaced if each suspicion were for one class."""
    found = {"rate": rate, "low": low, "high": 1.0}
    return float(leads(SUSPICION, SUSPICION, 1 - SUSPICION, found, weak).mean())


def test_the_fewer_labels_are_wrong_the_more_a_suggestion_must_lead():
    assert share(0.3, 0.2) == pytest.approx((1 - LEADS[-1]) / 2, abs=0.02)
    assert share(0.01, 0.0) == pytest.approx((1 - LEADS[0]) / 2, abs=0.02)
    assert share(0.01, 0.0) < share(0.1, 0.0) < share(0.3, 0.0)


def test_a_weak_model_must_be_right_even_at_the_lowest_rate():
    assert 0 < share(0.4, 0.1, weak=True) < share(0.4, 0.1) / 2
    assert share(0.4, 0.0, weak=True) == 0.0
    # Where the level is known for sure, only the wanted lead is left of the difference.
    known = float(SUSPICION.mean())
    assert share(known, known, weak=True) == pytest.approx(0.4, abs=0.02)


def test_no_rows_are_no_trouble():
    nothing = np.zeros(0, np.float32)
    assert len(leads(nothing, nothing, nothing, {"rate": 0.0, "low": 0.0}, True)) == 0
