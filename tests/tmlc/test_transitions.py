"""Pairs of classes that err one way, or more than others, are suspected more; chance moves next to nothing."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from labelfix.benchmarking.metrics import average_precision
from labelfix.evidence import EvidenceChunk
from labelfix.learn.noise import FAMILIES
from labelfix.learn.recipe import Recipe
from labelfix.tmlc.bank import canonical_order, evidence_of
from labelfix.tmlc.judgement import Judgement
from labelfix.tmlc.net import load_net
from labelfix.tmlc.scored import Scored
from labelfix.tmlc.sources import Task
from labelfix.tmlc.transitions import Transitions
from labelfix.trajectories import Trajectories


def rows(n: int, K: int, wrong: dict[tuple[int, int], float] | None = None, usual: float = 0.1) -> Scored:
    """Return made-up rows of which some share is called wrong: `usual`, or that of the pair of their classes."""
    rng = np.random.default_rng(0)
    candidates = np.stack([rng.permutation(K) for _ in range(n)]).astype(np.int32)
    margin = rng.normal(size=(n, 3, K)).astype(np.float32)
    block = Trajectories(np.zeros((n, 3, K), np.float32), margin, np.zeros((n, 3), np.float32))
    chunk = EvidenceChunk(
        np.arange(n), candidates[:, 0].copy(), K, candidates, None, block, None, rng.random((n, K)), None
    )
    share = np.full((K, K), usual)
    for pair, rate in (wrong or {}).items():
        share[pair] = rate
    called = rng.random(n) < share[candidates[:, 0], candidates[:, 1]]
    score = np.where(called, rng.uniform(0, 3, n), rng.uniform(-6, 0, n)).astype(np.float32)
    return Scored(chunk, score, np.ones(n, np.intp))


def test_a_pair_that_errs_one_way_is_suspected_that_way() -> None:
    found = Transitions.fit(rows(8000, 5, {(2, 3): 0.6}))
    assert found.of_pair[2, 3] > 0.8
    assert found.of_pair[3, 2] < -0.2
    others = found.of_pair[~np.eye(5, dtype=bool)]
    assert np.abs(others).max() == found.of_pair[2, 3]


def test_a_pair_that_errs_both_ways_is_suspected_both_ways() -> None:
    found = Transitions.fit(rows(8000, 5, {(2, 3): 0.5, (3, 2): 0.5}))
    assert found.of_pair[2, 3] > 0.5
    assert found.of_pair[2, 3] == pytest.approx(found.of_pair[3, 2], abs=0.15)


@pytest.mark.parametrize("K", [2, 3, 10])
def test_where_all_pairs_err_alike_chance_moves_next_to_nothing(K: int) -> None:
    assert np.abs(Transitions.fit(rows(4000, K)).of_pair).max() < 0.15


def test_few_rows_move_little() -> None:
    assert np.abs(Transitions.fit(rows(40, 5, {(2, 3): 0.6})).of_pair).max() < 0.5


def test_the_mean_suspicion_stays() -> None:
    scored = rows(4000, 4, {(0, 1): 0.9})
    after = scored.moved(Transitions.fit(scored)(scored))
    before, after_ = (1 / (1 + np.exp(-one.score)) for one in (scored, after))
    assert before.mean() == pytest.approx(after_.mean(), abs=1e-4)


def test_classes_by_another_number_are_moved_alike() -> None:
    scored = rows(3000, 6, {(2, 3): 0.5, (5, 1): 0.4})
    number = np.random.default_rng(1).permutation(6).astype(np.int32)
    chunk = replace(scored.rows, labels=number[scored.rows.labels], candidates=number[scored.rows.candidates])
    one, other = Transitions.fit(scored), Transitions.fit(replace(scored, rows=chunk))
    np.testing.assert_allclose(one.of_pair, other.of_pair[np.ix_(number, number)], atol=1e-6)


def test_without_votes_the_heads_say_which_rows_are_doubted() -> None:
    scored = rows(3000, 5, {(2, 3): 0.6})
    found = Transitions.fit(replace(scored, rows=replace(scored.rows, votes=None)))
    assert found.of_pair[2, 3] > 0.8


def test_errors_that_were_mended_are_still_counted() -> None:
    scored = rows(8000, 5, {(2, 3): 0.6})
    of_pair = (scored.rows.labels == 2) & (scored.suggested == 3)
    was_wrong = scored.score > 0
    mended = np.flatnonzero(of_pair & was_wrong)
    left = np.setdiff1d(np.arange(8000), mended)
    one, other = (Scored(scored.rows.take(at), scored.score[at], scored.column[at]) for at in (left, mended))
    forgotten, remembered = Transitions.fit(one), Transitions.fit(one, (other, was_wrong[mended]))
    assert forgotten.of_pair[2, 3] < 0.0
    np.testing.assert_allclose(remembered.of_pair, Transitions.fit(scored).of_pair, atol=1e-6)


def test_nothing_called_wrong_moves_nothing() -> None:
    assert not Transitions.fit(rows(500, 3, usual=0.0)).of_pair.any()


def test_it_survives_a_state_and_older_states_have_none() -> None:
    scored = rows(2000, 5, {(2, 3): 0.6})
    found = Transitions.fit(scored)
    again = Transitions.of(found.arrays())
    assert again is not None
    np.testing.assert_array_equal(again(scored), found(scored))
    assert Transitions.of({}) is None


@pytest.mark.parametrize(("family", "least"), [("pair", 0.02), ("symmetric", -0.01)])
def test_errors_of_digits_that_go_one_way_are_found_better(family: str, least: float) -> None:
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    rng = np.random.default_rng(0)
    x = (x + rng.normal(0, 6, x.shape)).astype(np.float32)  # blurred, so that heads err as well
    given = FAMILIES[family](x, y.astype(np.int32), 10, 0.15, rng)
    task = Task(x, y.astype(np.int32), given, 10, family, "digits")
    evidence = evidence_of(task, Recipe())
    net, _ = load_net()
    judgement = Judgement.fit(net, evidence)
    everything = evidence.sample(len(evidence))
    wrong = (task.given != task.truth)[canonical_order(x)][everything.rows]
    with_, without = (
        average_precision(one(net, everything)[0].astype(np.float64), wrong)
        for one in (judgement, replace(judgement, transitions=None))
    )
    assert with_ > without + least
