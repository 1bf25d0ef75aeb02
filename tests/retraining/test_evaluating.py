"""Held-out rows are matched by the names of their classes, and every row is accounted for."""

from __future__ import annotations

import numpy as np
import pytest

from labelfix.errors import InputError
from labelfix.manifest import Manifest
from labelfix.retraining.evaluating import HeldOut, evaluate


def held_out(labels: list[int], classes: tuple[str, ...]) -> Manifest:
    return Manifest(
        np.array(list(map(str, labels)), object), np.array(labels, np.int32), classes, None, source="h.csv"
    )


def test_metrics_are_what_the_definitions_say():
    p = np.array([[0.9, 0.1, 0], [0.6, 0.4, 0], [0.8, 0.2, 0], [0.3, 0.7, 0]], np.float32)
    found = evaluate(p, np.array([0, 0, 0, 0]))
    assert found.accuracy == 0.75
    assert found.accuracy_error == pytest.approx(np.sqrt(0.75 * 0.25 / 4))
    assert found.log_loss == pytest.approx(-np.log([0.9, 0.6, 0.8, 0.3]).mean(), rel=1e-5)
    assert found.calibration_error == pytest.approx((0.1 + 0.4 + 0.2 + 0.7) / 4, abs=1e-6)
    # Three of class 0 are right, the one of class 1 is wrong; class 2 does not occur.
    assert evaluate(p[[0, 1, 2, 0]], np.array([0, 0, 0, 1])).balanced_accuracy == 0.5


def test_labels_are_matched_by_name_and_strange_or_missing_ones_are_counted():
    held = HeldOut.of(held_out([0, 1, 2, -1, 2, 1], ("zebra", "dog", "cat")), ("cat", "dog"))
    assert held.rows.tolist() == [1, 2, 4, 5]
    assert held.labels.tolist() == [1, 0, 0, 1]
    counts = held.counts(unreadable=1, taught_too=2)
    assert counts == {
        "rows": 6, "evaluated": 3, "unreadable": 1, "unlabelled": 1, "unknown_class": 1,
        "unknown_classes": {"zebra": 1}, "also_trained_on": 2,
    }  # fmt: skip


def test_rows_that_cannot_be_read_are_not_judged():
    held = HeldOut.of(held_out([0, 1, 1], ("a", "b")), ("a", "b"))
    p = np.array([[0.9, 0.1], [np.nan, np.nan], [0.9, 0.1]], np.float32)
    assert held.judge(p).accuracy == 0.5
    with pytest.raises(InputError, match=r"h\.csv: none of 3 held-out images can be read"):
        held.judge(np.full_like(p, np.nan))


def test_labels_of_other_classes_altogether_name_the_remedy():
    with pytest.raises(InputError, match=r"h\.csv: no row has a label of the run's 2 classes .*--truth"):
        HeldOut.of(held_out([0, 1], ("x", "y")), ("a", "b"))
