"""Every noise family meets its rate, keeps labels in range, and makes the errors it is named for."""

from __future__ import annotations

import numpy as np
import pytest

from labelfix.learn.noise import FAMILIES, annotators, pair


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
