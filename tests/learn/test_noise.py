"""Every noise family meets its rate, keeps labels in range, and makes the errors it is named for."""

from __future__ import annotations

import numpy as np
import pytest

from labelfix.learn.noise import FAMILIES, annotators, instance, pair


def data(K: int = 6, n: int = 1500) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.integers(0, K, n).astype(np.int32)
    return (1.5 * rng.normal(size=(K, 10))[y] + rng.normal(size=(n, 10))).astype(np.float32), y


@pytest.mark.parametrize("family", sorted(FAMILIES))
@pytest.mark.parametrize("rate", [0.05, 0.3])
def test_the_rate_is_met_closely(family: str, rate: float) -> None:
    x, y = data()
    given = FAMILIES[family](x, y, 6, rate, np.random.default_rng(1))
    assert given.dtype == np.int32
    assert given.min() >= 0
    assert given.max() < 6
    tolerance = 0.6 * rate if family == "cluster" else 0.25 * rate + 0.01
    assert abs((given != y).mean() - rate) < tolerance


def test_pair_noise_sends_each_class_to_one_other() -> None:
    x, y = data()
    given = pair(x, y, 6, 0.3, np.random.default_rng(2))
    for k in range(6):
        assert len(set(given[(y == k) & (given != y)].tolist())) <= 1


def test_the_worst_of_three_annotators_errs_where_a_careful_one_would_not() -> None:
    x, y = data()
    for answers in ("one", "majority", "worst"):
        given = annotators(x, y, 6, 0.2, np.random.default_rng(3), answers)
        assert abs((given != y).mean() - 0.2) < 0.03


def test_instance_noise_follows_the_row_and_its_class() -> None:
    """Rows that look alike and share a class go the same way; the same row under another class goes elsewhere."""
    rng = np.random.default_rng(0)
    x = np.tile(rng.normal(size=(4, 3000)), (500, 1)).astype(np.float32)  # four images, 500 times each
    y = np.repeat(np.arange(2, dtype=np.int32), 1000)  # under each of two classes 250 times
    given = instance(x, y, 8, 0.4, np.random.default_rng(1))
    went = np.zeros((4, 2, 8), int)
    np.add.at(went, (np.arange(2000) % 4, y, given), 1)
    went[:, [0, 1], [0, 1]] = 0  # labels that stayed
    assert (went.max(axis=2) / went.sum(axis=2)).mean() > 0.9
    assert (went.argmax(axis=2)[:, 0] != went.argmax(axis=2)[:, 1]).any()
