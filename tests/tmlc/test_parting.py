"""A gap between scores says how many labels are wrong, and nothing is said where there is none."""

from __future__ import annotations

import numpy as np
import pytest

from labelfix.tmlc.parting import Parting, part


def heaps(rows: int, wrong: float, apart: float, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    upper = round(wrong * rows)
    return np.r_[rng.normal(-6.0, 1.0, rows - upper), rng.normal(-6.0 + apart, 1.0, upper)]


@pytest.mark.parametrize("wrong", [0.01, 0.05, 0.2, 0.4])
def test_two_heaps_tell_the_share_of_the_upper_one(wrong):
    gap = part(heaps(4000, wrong, 8.0))
    assert gap.share == pytest.approx(wrong, abs=0.001)
    assert gap.depth > 0.6
    assert abs(gap.moved(wrong / 3) - wrong) < abs(wrong / 3 - wrong) / 2


def test_the_level_and_the_scale_of_the_heaps_make_no_difference():
    scores = heaps(4000, 0.1, 9.0)
    moved = part(scores - 3.0)
    assert moved.share == pytest.approx(part(scores).share, abs=0.002)


@pytest.mark.parametrize("scores", [
    np.random.default_rng(0).normal(-5.0, 2.0, 4000),
    np.random.default_rng(1).exponential(3.0, 4000) - 8.0,
    np.random.default_rng(2).uniform(-9.0, 3.0, 4000),
    np.random.default_rng(3).standard_t(3, 4000) * 2 - 5.0,
    heaps(4000, 0.1, 3.0),
    np.zeros(500),
    np.array([]),
    np.array([0.5]),
])  # fmt: skip
def test_one_heap_however_long_its_tail_has_no_gap(scores):
    gap = part(scores)
    assert gap.depth < 0.25
    assert gap.moved(0.1) == pytest.approx(0.1, abs=0.03)


def test_a_few_rows_far_away_are_no_heap():
    few = np.r_[np.random.default_rng(0).normal(-6.0, 1.0, 4000), np.full(5, 6.0)]
    assert part(few).depth < 0.25


def test_without_a_gap_a_rate_stays_what_it_is():
    assert Parting().moved(0.07) == pytest.approx(0.07)
    assert Parting(0.2, 1.0).moved(0.07) == pytest.approx(0.2)
