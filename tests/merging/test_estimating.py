"""Estimates from a queue with a random part: unbiased, and inside their interval as often as they claim."""

from __future__ import annotations

import numpy as np
import pytest

from labelfix.exporters.sampling import draw, probabilities
from labelfix.merging.estimating import estimate_errors


def world(rows: int, off: float, seed: int = 0):
    """Suspicions, and labels that are wrong with a probability that is the suspicion only if `off` is 1."""
    rng = np.random.default_rng(seed)
    suspicion = np.sort(rng.beta(0.3, 3, rows))[::-1]
    wrong = rng.random(rows) < (suspicion * off).clip(0, 1)
    return suspicion, wrong


def ask(suspicion, wrong, chosen: int, audit: int, seed: int, answered: float = 1.0):
    rng = np.random.default_rng(seed)
    chance = probabilities(suspicion[chosen:], audit)
    drawn = chosen + draw(chance, rng)
    rows = np.concatenate([np.arange(chosen), drawn])
    with_ = np.concatenate([np.ones(chosen), chance[drawn - chosen]])
    said = rng.random(len(rows)) < answered
    return estimate_errors(
        float(suspicion.sum()), len(suspicion), suspicion[rows], with_, said, wrong[rows] & said
    )


def test_each_row_is_drawn_as_often_as_its_probability_says():
    suspicion = world(40, 1.0)[0]
    chance = probabilities(suspicion, 8)
    assert chance.sum() == pytest.approx(8)
    count, rng = np.zeros(40), np.random.default_rng(1)
    for _ in range(4000):
        rows = draw(chance, rng)
        assert len(set(rows)) == 8
        count[rows] += 1
    assert np.abs(count / 4000 - chance).max() < 5 * np.sqrt(0.25 / 4000)


def test_a_sample_as_large_as_the_rest_takes_all_of_it():
    assert draw(probabilities(np.array([0.2, 0.9]), 5), np.random.default_rng(0)).tolist() == [0, 1]


@pytest.mark.parametrize("off", [1.0, 0.5, 2.0], ids=["calibrated", "half as many errors", "twice as many"])
def test_the_estimate_is_unbiased_and_its_interval_holds_whatever_the_suspicions_are_worth(off):
    suspicion, wrong = world(3000, off)
    found = [ask(suspicion, wrong, 100, 150, seed) for seed in range(400)]
    value = np.array([one.value for one in found])
    error = value.std() / np.sqrt(len(value))
    assert abs(value.mean() - wrong.sum()) < 4 * error
    held = np.mean([one.low <= wrong.sum() <= one.high for one in found])
    assert held > 0.86


def test_suspicions_that_are_right_make_the_interval_narrower_than_counting_does():
    suspicion, wrong = world(3000, 1.0)
    with_, without = (
        np.mean([one.high - one.low for one in (ask(s, wrong, 0, 150, seed) for seed in range(50))])
        for s in (suspicion, np.full(3000, wrong.mean()))
    )
    assert with_ < 0.8 * without


def test_a_sample_without_an_error_does_not_claim_that_there_is_none():
    estimate = ask(np.full(5000, 1e-4), np.zeros(5000, bool), 0, 50, 0)
    assert estimate.low == 0
    assert estimate.high > 0.01 * 5000


def test_open_tasks_are_taken_to_be_like_the_others():
    suspicion, wrong = world(3000, 1.5)
    found = [ask(suspicion, wrong, 100, 300, seed, answered=0.5) for seed in range(300)]
    value = np.array([one.value for one in found])
    assert not found[0].complete
    assert abs(value.mean() / wrong.sum() - 1) < 0.05
    assert np.mean([one.low <= wrong.sum() <= one.high for one in found]) > 0.86


def test_without_random_rows_there_is_no_estimate():
    suspicion, wrong = world(100, 1.0)
    assert ask(suspicion, wrong, 50, 0, 0) is None
