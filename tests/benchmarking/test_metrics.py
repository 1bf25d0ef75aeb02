"""Metrics: the values others compute, and ties broken by nothing."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as reference

from labelfix.benchmarking import metrics


@st.composite
def scored(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Draw scores with many ties, and which rows are wrong: some, not all."""
    n = draw(st.integers(2, 30))
    score = np.array(draw(st.lists(st.integers(0, 5), min_size=n, max_size=n)), np.float32)
    wrong = np.array(draw(st.lists(st.booleans(), min_size=n, max_size=n)))
    wrong[0], wrong[-1] = True, False
    return score, wrong


@given(scored())
@settings(max_examples=60, deadline=None)
def test_auroc_and_average_precision_are_those_of_scikit_learn(drawn):
    score, wrong = drawn
    assert metrics.auroc(score, wrong) == pytest.approx(reference.roc_auc_score(wrong, score))
    assert metrics.average_precision(score, wrong) == pytest.approx(
        reference.average_precision_score(wrong, score)
    )


@given(scored(), st.permutations(range(30)))
@settings(max_examples=60, deadline=None)
def test_the_order_of_rows_does_not_matter(drawn, shuffled):
    score, wrong = drawn
    order = [row for row in shuffled if row < len(score)]
    for metric in (metrics.auroc, metrics.average_precision, metrics.fnr_at_true_budget):
        assert metric(score[order], wrong[order]) == pytest.approx(metric(score, wrong))
    assert metrics.precision_at(score[order], wrong[order], 4) == pytest.approx(
        metrics.precision_at(score, wrong, 4)
    )


def test_a_constant_score_finds_what_chance_finds():
    wrong = np.arange(50) < 10
    score = np.zeros(50)
    assert metrics.auroc(score, wrong) == 0.5
    assert metrics.average_precision(score, wrong) == pytest.approx(0.2)
    assert metrics.fnr_at_true_budget(score, wrong) == pytest.approx(0.8)
    assert metrics.precision_at(score, wrong, 7) == pytest.approx(0.2)


def test_a_budget_without_ties_counts_rows():
    score, wrong = np.array([5, 4, 3, 2, 1.0]), np.array([True, False, True, True, False])
    assert metrics.fnr_at_true_budget(score, wrong) == pytest.approx(1 / 3)
    assert metrics.precision_at(score, wrong, 2) == 0.5
    assert metrics.precision_at(score, wrong, 100) == pytest.approx(3 / 5)


def test_a_budget_that_ends_in_a_tie_counts_what_a_random_order_finds():
    score, wrong = np.array([2, 1, 1, 1, 0.0]), np.array([True, True, False, False, False])
    found = []
    rng = np.random.default_rng(0)
    for _ in range(3000):
        order = np.lexsort((rng.random(5), -score))
        found.append(wrong[order[:2]].sum())
    assert metrics.found_in_first(score, wrong, 2) == pytest.approx(4 / 3)
    assert metrics.found_in_first(score, wrong, 2) == pytest.approx(np.mean(found), abs=0.03)


def test_where_nothing_is_wrong_there_is_nothing_to_rank():
    score, right = np.arange(5.0), np.zeros(5, bool)
    for metric in (
        metrics.auroc, metrics.average_precision, metrics.fnr_at_true_budget, metrics.f1, metrics.brier_skill
    ):  # fmt: skip
        assert math.isnan(metric(score, right))
    assert metrics.precision_at(score, right, 3) == 0.0


def test_f1_brier_and_skill_by_hand():
    flagged, wrong = np.array([True, True, False, False]), np.array([True, False, True, False])
    assert metrics.f1(flagged, wrong) == pytest.approx(0.5)
    p = np.array([0.8, 0.4, 0.6, 0.0])
    assert metrics.brier(p, wrong) == pytest.approx((0.04 + 0.16 + 0.16 + 0) / 4)
    assert metrics.brier_skill(p, wrong) == pytest.approx(1 - 0.09 / 0.25)
    assert metrics.brier_skill(np.full(4, 0.5), wrong) == pytest.approx(0)


def test_an_interval_pays_for_its_width_and_twenty_times_for_missing():
    assert metrics.interval_score(0.1, 0.3, 0.2) == pytest.approx(0.2)
    assert metrics.interval_score(0.1, 0.3, 0.35) == pytest.approx(0.2 + 20 * 0.05)
    assert metrics.interval_score(0.1, 0.3, 0.04) == pytest.approx(0.2 + 20 * 0.06)


def test_net_change_counts_harm_against_gain():
    truth, given = np.array([0, 1, 2, 0], np.int32), np.array([0, 0, 2, 1], np.int32)
    assert metrics.net_change(given, given, truth) == 0
    assert metrics.net_change(given, np.array([1, 1, 2, 1], np.int32), truth) == 0  # one right, one spoilt
    assert metrics.net_change(given, truth, truth) == 0.5


@given(scored(), st.integers(0, 1000))
@settings(max_examples=40, deadline=None)
def test_the_best_net_change_is_that_of_the_best_threshold(drawn, seed):
    score, _ = drawn
    rng = np.random.default_rng(seed)
    truth, labels, suggested = rng.integers(0, 3, (3, len(score))).astype(np.int32)
    every = [
        metrics.net_change(labels, np.where(score >= cut, suggested, labels).astype(np.int32), truth)
        for cut in [*np.unique(score), np.inf]
    ]
    assert metrics.best_net_change(score, labels, suggested, truth) == pytest.approx(max(every))


def test_the_bootstrap_finds_the_interval_of_a_known_mean():
    values = np.random.default_rng(1).normal(0.3, 1.0, 400)
    mean, low, high = metrics.bootstrap(values)
    error = values.std() / np.sqrt(400)
    assert mean == pytest.approx(values.mean())
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.01)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.01)
    assert metrics.bootstrap(values) == (mean, low, high)
    assert metrics.bootstrap(np.full(5, 0.2)) == pytest.approx((0.2, 0.2, 0.2))
