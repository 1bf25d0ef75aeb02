"""Estimated rates are right where the truth is known, and say how sure they are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from labelfix.gating.judged import SEEN
from labelfix.gating.rates import Audited, Rate, Scale, binned, holm
from labelfix.tmlc.calibrate import Doubt

DOUBT = Doubt(0.5, 0.5)


def scores(rate: float, rows: int, seed: int, apart: float = 2.5, prior: float = 0.1) -> np.ndarray:
    """Suspicions that are exact posteriors under `prior`, of rows of which a share `rate` is wrong."""
    rng = np.random.default_rng(seed)
    wrong = np.arange(rows) < round(rate * rows)
    x = rng.normal(size=rows) + np.where(wrong, apart, 0.0)
    log_odds = apart * x - apart**2 / 2 + np.log(prior / (1 - prior))
    return 1 / (1 + np.exp(-log_odds))


def counted(p: np.ndarray) -> np.ndarray:
    return binned(p, np.zeros(len(p), int), 1)[0]


@pytest.fixture(scope="module")
def scale() -> Scale:
    return Scale.fit(counted(scores(0.1, 20_000, 0)), 0, DOUBT)


def one_slope(scale: Scale) -> Scale:
    weight = scale.weight * (scale.slope == 1.0)
    return replace(scale, weight=weight / weight.sum())


def judge(scale: Scale, batch: np.ndarray) -> tuple[Rate, Rate]:
    return scale.hearing(batch).judge(batch, 0)


@pytest.mark.parametrize("rate", [0.0, 0.05, 0.1, 0.2, 0.5, 1.0])
def test_the_rate_of_a_batch_is_found_however_far_it_is_from_the_references(scale, rate):
    own, above = judge(scale, counted(scores(rate, 2000, 7)))
    assert own.middle == pytest.approx(rate, abs=0.03)
    assert above.middle == pytest.approx(rate - 0.1, abs=0.03)
    low, high = own.interval()
    assert low - 0.01 <= rate <= high + 0.01


def test_what_scores_see_of_a_difference_is_made_whole(scale):
    half = Scale.fit(counted(scores(0.1, 20_000, 0)), 0, DOUBT, seen=((0.5, 1.0),))
    for rate in (0.08, 0.1, 0.2):
        batch = counted(scores(rate, 2000, 7))
        (own, above), (own_half, above_half) = (one_slope(each).judge(batch, 0) for each in (scale, half))
        assert above_half.middle == pytest.approx(2 * above.middle, abs=0.005)
        assert own_half.middle - own.middle == pytest.approx(above.middle, abs=0.005)
        assert above_half.above(0.0) == pytest.approx(above.above(0.0), abs=0.05)


def test_where_errors_stand_out_all_of_a_difference_is_seen(scale):
    half = Scale.fit(counted(scores(0.1, 20_000, 0)), 0, DOUBT, seen=((0.5, 1.0),))
    batch = counted(scores(0.2, 2000, 7))
    one, two = (replace(each, weight=(each.slope > 1.0) * each.weight) for each in (scale, half))
    assert one.judge(batch, 0)[1].middle == two.judge(batch, 0)[1].middle


@pytest.mark.parametrize("rate", [0.05, 0.1, 0.3])
def test_blatant_errors_are_not_counted_twice_by_a_clean_reference(rate):
    """Its most suspicious rows are hard ones, which score lower than labels drawn at random do."""

    def batch(rows: int, wrong: float, seed: int) -> np.ndarray:
        draw = np.random.default_rng(seed)
        bad = np.arange(rows) < round(wrong * rows)
        log_odds = np.where(bad, draw.normal(1.3, 2.2, rows), draw.normal(-6.0, 2.0, rows))
        return 1 / (1 + np.exp(-log_odds))

    scale = Scale.fit(counted(batch(1500, 0.0, 1)), 0, Doubt(1.25, 1.6), seen=SEEN)
    own, _ = judge(scale, counted(batch(1000, rate, 2)))
    low, high = own.interval()
    assert own.middle < 1.5 * rate
    assert low <= rate <= high
    assert one_slope(scale).judge(counted(batch(1000, rate, 2)), 0)[0].middle > own.middle


def test_rows_known_to_be_right_count_as_right_in_a_difference_made_whole():
    half = Scale.fit(counted(scores(0.1, 20_000, 0)), 0, DOUBT, seen=((0.5, 1.0),))
    own, _ = half.judge(counted(scores(0.1, 1000, 3)), 1000)
    assert own.middle == pytest.approx(0.05, abs=0.02)


def test_scores_far_apart_prove_a_bad_batch_however_low_the_level_may_be():
    # A few rows surer than all others could, alone, make up the lowest level: the rest would then all be right.
    def rows(suspicious: int) -> np.ndarray:
        log_odds = np.r_[
            np.full(2, 8.0), np.linspace(-2.0, 2.0, suspicious), np.full(1998 - suspicious, -9.0)
        ]
        return 1 / (1 + np.exp(-log_odds))

    scale = Scale.fit(counted(rows(90)), 0, Doubt(1.1, 1.3))
    _, above = judge(scale, counted(rows(190)))
    assert above.above(0.0) > 0.95
    _, same = judge(scale, counted(rows(92)))
    assert same.above(0.0) < 0.9


def test_the_mean_suspicion_alone_would_shrink_towards_the_reference(scale):
    p = scores(0.5, 2000, 3)
    assert p.mean() < 0.45
    assert scale.judge(counted(p), 0)[0].middle > 0.47


@pytest.mark.parametrize("shift", [-1.0, 1.0])
def test_a_wrong_level_cancels_when_a_batch_as_good_as_the_reference_is_compared(shift):
    def moved(p: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-(np.log(p / (1 - p)) + shift)))

    scale = Scale.fit(counted(moved(scores(0.1, 20_000, 0))), 0, DOUBT)
    own, above = scale.judge(counted(moved(scores(0.1, 2000, 5))), 0)
    assert abs(own.middle - 0.1) > 0.02
    assert abs(above.middle) < 0.015


def test_rows_known_to_be_right_lower_the_rate(scale):
    p = counted(scores(0.2, 1000, 1))
    assert scale.judge(p, 1000.0)[0].middle == pytest.approx(scale.judge(p, 0)[0].middle / 2, abs=0.01)


def test_audited_rows_set_the_level_and_narrow_the_interval():
    truth = np.arange(20_000) < 2000
    p = scores(0.1, 20_000, 0)
    off = 1 / (1 + np.exp(-(np.log(p / (1 - p)) - 1.2)))
    looked_up = np.argsort(-off)[:400]  # chosen by suspicion, which tells nothing by itself
    audited = Audited(off[looked_up], truth[looked_up])
    plain, told = (
        Scale.fit(counted(off), 0, Doubt(0.9, 0.9)),
        Scale.fit(counted(off), 0, Doubt(0.9, 0.9), audited),
    )
    assert plain.middle < 0.08
    assert told.middle == pytest.approx(0.1, abs=0.01)
    wide, narrow = (np.ptp(judge(one, counted(off[::10]))[0].interval()) for one in (plain, told))
    assert narrow < 0.75 * wide


def test_quality_is_near_one_for_the_truth_and_near_none_for_noise():
    assert Scale.fit(counted(scores(0.1, 5000, 0, apart=6.0)), 0, DOUBT).quality > 0.9
    assert Scale.fit(counted(scores(0.1, 5000, 0, apart=0.2)), 0, DOUBT).quality < 0.05


def test_small_parts_are_thought_of_as_like_the_whole(scale):
    whole, _ = scale.judge(counted(scores(0.1, 1000, 2)), 0)
    few = counted(scores(0.4, 10, 4))
    alone, part = scale.judge(few, 0)[0], scale.judge(few, 0, like=whole)[0]
    assert abs(part.middle - 0.1) < abs(alone.middle - 0.1)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12), st.floats(0.05, 0.95))
@settings(max_examples=60, deadline=None)
def test_holm_never_exceeds_more_than_single_limits_would_and_keeps_order(above, confidence):
    exceeded = holm(above, confidence)
    assert all(p > confidence for p, hit in zip(above, exceeded, strict=True) if hit)
    hit, missed = ([p for p, e in zip(above, exceeded, strict=True) if e is yes] for yes in (True, False))
    assert not hit or not missed or min(hit) >= max(missed)


def test_holm_asks_more_of_many_limits_than_of_one():
    assert holm([0.6], 0.5) == [True]
    assert holm([0.6, 0.1, 0.1], 0.5) == [False, False, False]
    assert holm([0.9, 0.8, 0.1], 0.5) == [True, True, False]


def test_a_rates_quantiles_and_probabilities_agree():
    rate = Rate(np.array([0.5, 0.5]), np.array([0.1, 0.2]), np.array([0.01, 0.02]))
    for share in (0.05, 0.5, 0.95):
        assert 1 - rate.above(rate.quantile(share)) == pytest.approx(share, abs=1e-3)
