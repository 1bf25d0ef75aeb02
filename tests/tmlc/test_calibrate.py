"""The error rate is estimated without truth, and comes with an interval."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from labelfix.answers import Audit
from labelfix.tmlc.calibrate import (
    Doubt,
    confident_share,
    confidently_other,
    error_rate,
    rate_interval,
    sigmoid,
    worth,
)
from labelfix.tmlc.level import WEAK, Level

SUSPICION = np.linspace(0, 0.4, 500).astype(np.float32)


def test_rows_are_confidently_other_at_the_threshold_of_the_other_class() -> None:
    p = np.array([[0.9, 0.1], [0.4, 0.6], [0.2, 0.8], [0.45, 0.55]])
    labels = np.array([0, 0, 1, 0], np.int32)
    assert confidently_other(p, labels, np.array([0.6, 0.58])).tolist() == [False, True, False, False]


@pytest.mark.parametrize("rate", [0.02, 0.1, 0.3])
def test_the_share_meets_the_rate_where_the_model_is_right(rate: float) -> None:
    random = np.random.default_rng(0)
    truth = random.integers(0, 5, 4000).astype(np.int32)
    given = np.where(random.random(4000) < rate, (truth + 1) % 5, truth).astype(np.int32)
    p = np.full((4000, 5), 0.02)
    p[np.arange(4000), truth] = 0.92
    assert confident_share(p, given) == pytest.approx((given != truth).mean(), abs=1e-9)


def test_classes_without_rows_attract_nothing() -> None:
    p = np.array([[0.1, 0.1, 0.8]] * 4)
    assert confident_share(p, np.array([0, 0, 1, 1], np.int32)) == 0.5  # rows of 1 prefer 0, none 2


@pytest.mark.parametrize("views", [(), (0.2, 0.2), (0.05, 0.3)])
def test_the_interval_holds_the_rate_and_every_other_estimate(views: tuple[float, ...]) -> None:
    found = error_rate(SUSPICION, Level(views).doubt)
    for estimate in (found["rate"], *views):
        assert found["low"] < estimate < found["high"]


def test_the_interval_is_wider_where_estimates_contradict_each_other() -> None:
    at_one, apart = (error_rate(SUSPICION, Level(views).doubt) for views in ((0.2, 0.2), (0.05, 0.3)))
    assert apart["rate"] == at_one["rate"]
    assert apart["low"] < at_one["low"]
    assert at_one["high"] < apart["high"]


def test_few_rows_leave_more_doubt_than_many() -> None:
    few, many = error_rate(SUSPICION[::50]), error_rate(SUSPICION)
    assert few["high"] - few["low"] > many["high"] - many["low"]


@pytest.mark.parametrize("doubt", [Doubt(0.7, 0.95), Doubt(0.1, 2.0)])
def test_the_doubt_is_recovered_from_the_interval_it_gave(doubt: Doubt) -> None:
    p = SUSPICION.astype(np.float64)
    variance = float((p * (1 - p)).sum())
    low, high = rate_interval(np.array([p.mean()]), np.array([variance]), np.array([len(p)]), doubt)
    found = Doubt.of(low[0], p.mean(), high[0], variance, len(p))
    assert (found.below, found.above) == pytest.approx((doubt.below, doubt.above), abs=1e-6)


def test_parts_share_the_doubt_and_each_has_its_own_chance() -> None:
    rates, variance = np.array([0.1, 0.1]), np.array([0.9, 90.0])
    low, high = rate_interval(rates, variance, np.array([10, 1000]), Doubt(0.7, 0.95))
    assert low[0] < low[1] < 0.1 < high[1] < high[0]


def test_a_weak_models_rate_may_be_far_lower_but_not_higher() -> None:
    strong, weak = (
        error_rate(SUSPICION, Level((0.2, 0.2), readers_differ=differ).doubt) for differ in (WEAK, 0.5)
    )
    assert weak["rate"] == strong["rate"]
    assert weak["high"] == strong["high"]
    assert weak["low"] < strong["low"] / 2


def test_a_level_survives_as_settings() -> None:
    for level in (Level(), Level((0.1, 0.2), Audit(30.0, 3.0), 0.4, 0.05, crowd=True)):
        assert Level.of(json.loads(json.dumps(level.settings()))) == level


def test_a_level_far_above_what_heads_contradict_that_learnt_the_labels_lies_between() -> None:
    rates = [Level((0.2, 0.2), contradicted=share).interval()[1] for share in (None, 0.3, 0.2, 0.1, 0.0)]
    assert rates[:3] == pytest.approx([0.2] * 3)
    assert 0.0 < rates[4] < 0.1 < rates[3] < 0.2


def test_heads_that_learnt_a_row_may_know_what_blind_ones_do_not() -> None:
    blind = Level((0.2, 0.2), readers_differ=0.5)
    assert blind.is_weak(0.2)
    assert dataclasses.replace(blind, contradicted=0.1).is_weak(0.2)
    assert not dataclasses.replace(blind, contradicted=0.25).is_weak(0.2)
    assert not dataclasses.replace(blind, readers_differ=0.3, contradicted=0.1).is_weak(0.2)


def test_a_model_by_which_most_labels_would_be_wrong_is_hopeless() -> None:
    helpless = Level((0.86, 0.63), readers_differ=0.1, contradicted=0.8)
    assert helpless.is_hopeless(0.2)
    assert helpless.is_weak(0.2)
    assert Level((), contradicted=0.7).is_hopeless(0.2)  # heads that learnt the labels know no better
    assert Level((), contradicted=0.45).is_hopeless(0.55)
    assert not Level((0.42, 0.4), contradicted=0.45).is_hopeless(0.41)
    assert not dataclasses.replace(helpless, crowd=True).is_hopeless(0.7)


def test_where_annotators_disagreed_the_rate_is_known_better() -> None:
    views, told = (error_rate(SUSPICION, Level((0.1, 0.3), crowd=crowd).doubt) for crowd in (False, True))
    assert views["rate"] == told["rate"]
    assert views["low"] < told["low"] < told["rate"] < told["high"] < views["high"]
    audited = Level((0.1, 0.3), Audit(400.0, 80.0))
    assert dataclasses.replace(audited, crowd=True).doubt(0.2) == audited.doubt(0.2)


def test_scores_are_flattened_where_undecided_and_steepened_where_they_part() -> None:
    rng, slopes = np.random.default_rng(0), []
    for apart in (1.0, 3.0, 8.0):
        odds = np.concatenate([rng.normal(-apart, 1.0, 900), rng.normal(apart, 1.0, 100)]).astype(np.float32)
        offset, slope = worth(odds)
        assert sigmoid(offset + slope * odds).mean() == pytest.approx(float(sigmoid(odds).mean()), rel=1e-4)
        slopes.append(slope)
    assert slopes == sorted(slopes)
    assert 0.6 < slopes[0] < 0.9
    assert 1.3 < slopes[-1] < 1.8
