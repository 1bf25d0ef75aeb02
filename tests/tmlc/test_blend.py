"""The blend keeps spread and level of the net's probabilities, and lets the margin decide between equals."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from labelfix.evidence import EvidenceChunk
from labelfix.tmlc.blend import Blend, weight_of_whole
from labelfix.trajectories import Trajectories


def rows(n: int = 400, seed: int = 0) -> EvidenceChunk:
    random = np.random.default_rng(seed)

    def block() -> Trajectories:
        margin = random.normal(2.0, 3.0, (n, 5, 3)).astype(np.float32)
        return Trajectories(margin - 4, margin, np.full((n, 5), 0.5, np.float32))

    candidates = np.tile(np.arange(3, dtype=np.int32), (n, 1))
    return EvidenceChunk(np.arange(n), candidates[:, 0], 3, candidates, block(), block(), None, None, None)


def sigmoid(values: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-values))


@pytest.mark.parametrize("missing", [None, "in_sample", "out_of_fold"])
def test_level_and_spread_stay_as_the_net_had_them(missing: str | None) -> None:
    log_odds = np.random.default_rng(1).normal(-2, 2, 400).astype(np.float32)
    seen = rows() if missing is None else dataclasses.replace(rows(), **{missing: None})
    blended = Blend.fit(log_odds, None, seen)(log_odds, None, seen)
    assert sigmoid(blended).mean() == pytest.approx(sigmoid(log_odds).mean(), abs=1e-3)
    assert blended.std() == pytest.approx(log_odds.std(), rel=1e-3)


def test_rows_that_the_net_cannot_tell_apart_are_ordered_by_the_margin() -> None:
    seen = rows()
    log_odds = np.random.default_rng(1).normal(-2, 2, 400).astype(np.float32)
    blend = Blend.fit(log_odds, None, seen)
    order = np.argsort(blend(np.zeros(400, np.float32), None, seen))
    mean_margin = seen.in_sample.margin[:, :, 0].mean(axis=1)
    np.testing.assert_array_equal(order, np.argsort(-mean_margin))


@pytest.mark.parametrize("missing", [None, "in_sample"])
def test_a_second_learner_takes_half_of_the_share_of_the_heads_margin(missing: str | None) -> None:
    random = np.random.default_rng(2)
    seen = dataclasses.replace(rows(), kernel=random.uniform(0, 1, (400, 3)).astype(np.float32))
    seen = seen if missing is None else dataclasses.replace(seen, **{missing: None})
    log_odds, nothing = random.normal(-2, 2, 400).astype(np.float32), np.zeros(400, np.float32)
    blend = Blend.from_dict(Blend.fit(log_odds, None, seen).to_dict())
    block = seen.out_of_fold if missing else seen.in_sample
    heads, second = -block.margin[:, :, 0].mean(axis=1), seen.kernel[:, 1:].max(axis=1) - seen.kernel[:, 0]
    heads, second = ((values - values.mean()) / values.std() for values in (heads, second))
    expected = np.argsort(heads + 2 * second)
    np.testing.assert_array_equal(np.argsort(blend(nothing, None, seen)), expected)
    assert sigmoid(blend(log_odds, None, seen)).mean() == pytest.approx(sigmoid(log_odds).mean(), abs=1e-3)


@pytest.mark.parametrize(("weight", "of_model", "of_heads", "of_second"), [(0.5, 2, 1, 2), (1.0, 1, 0, 0)])
def test_a_fine_tuned_model_leaves_the_second_learner_what_it_leaves_the_heads(
    weight: float, of_model: float, of_heads: float, of_second: float
) -> None:
    kernel = np.random.default_rng(2).uniform(0, 1, (400, 3)).astype(np.float32)
    seen = dataclasses.replace(rows(), two_learners=True, kernel=kernel)
    log_odds, nothing = (
        np.random.default_rng(1).normal(-2, 2, 400).astype(np.float32),
        np.zeros(400, np.float32),
    )
    blend = Blend.fit(log_odds, log_odds, seen, weight)
    terms = [-block.margin[:, :, 0].mean(axis=1) for block in seen.blocks]
    terms.append(kernel[:, 1:].max(axis=1) - kernel[:, 0])
    model, heads, second = ((values - values.mean()) / values.std() for values in terms)
    expected = np.argsort(of_model * model + of_heads * heads + of_second * second)
    np.testing.assert_array_equal(np.argsort(blend(nothing, nothing, seen)), expected)


def test_where_blind_learners_are_far_behind_the_second_one_counts_half() -> None:
    random = np.random.default_rng(2)
    seen = dataclasses.replace(rows(), kernel=random.uniform(0, 1, (400, 3)).astype(np.float32))
    blind = seen.out_of_fold
    seen = dataclasses.replace(seen, out_of_fold=Trajectories(blind.log_p, blind.margin - 9, blind.entropy))
    log_odds = random.normal(-2, 2, 400).astype(np.float32)
    usual, far = (
        Blend.fit(log_odds, log_odds, seen, 1.0, 0.2, 1.0, unswayed).views["in_sample"]
        for unswayed in (False, True)
    )
    assert [weight for _, _, weight in usual.terms] == [0.0, 1.0, 0.5, 0.0, 0.0, 0.5]
    assert [weight for _, _, weight in far.terms] == [0.0, 1.0, 1.5, 0.0, 0.0, 0.25]


@pytest.mark.parametrize(("weight", "of_model", "of_heads"), [(0.25, 1, 3), (0.5, 1, 1), (1.0, 1, 0)])
def test_two_learners_part_the_margin_by_their_weight(weight: float, of_model: int, of_heads: int) -> None:
    seen = dataclasses.replace(rows(), two_learners=True)
    log_odds, nothing = (
        np.random.default_rng(1).normal(-2, 2, 400).astype(np.float32),
        np.zeros(400, np.float32),
    )
    blend = Blend.from_dict(Blend.fit(log_odds, log_odds, seen, weight).to_dict())
    of_each = [block.margin[:, :, 0].mean(axis=1) for block in seen.blocks]
    model, heads = ((margin - margin.mean()) / margin.std() for margin in of_each)
    expected = np.argsort(-(of_model * model + of_heads * heads))
    np.testing.assert_array_equal(np.argsort(blend(nothing, nothing, seen)), expected)


def test_unseen_rows_are_blended_by_the_out_of_fold_margin_and_not_normalised_by_themselves() -> None:
    seen = rows()
    log_odds = np.random.default_rng(1).normal(-2, 2, 400).astype(np.float32)
    blend = Blend.from_dict(Blend.fit(log_odds, None, seen).to_dict())
    batch = dataclasses.replace(seen, in_sample=None)
    whole = blend(log_odds, None, batch)
    half = blend(log_odds[:200], None, batch.take(np.arange(200)))
    np.testing.assert_array_equal(whole[:200], half)
    np.testing.assert_allclose(sigmoid(whole).mean(), sigmoid(log_odds).mean(), atol=1e-3)


def test_equal_margins_change_nothing() -> None:
    seen = rows()
    flat = np.zeros_like(seen.in_sample.margin)
    seen = dataclasses.replace(seen, in_sample=dataclasses.replace(seen.in_sample, margin=flat))
    log_odds = np.random.default_rng(1).normal(-2, 2, 400).astype(np.float32)
    np.testing.assert_allclose(Blend.fit(log_odds, None, seen)(log_odds, None, seen), log_odds, atol=1e-3)


def test_the_level_is_the_rate_asked_for() -> None:
    seen = rows()
    log_odds = np.random.default_rng(1).normal(-2, 2, 400).astype(np.float32)
    for rate in (0.0, 0.05, 0.4):
        assert sigmoid(
            Blend.fit(log_odds, None, seen, rate=rate)(log_odds, None, seen)
        ).mean() == pytest.approx(rate, abs=1e-3)


def test_the_more_it_weighs_the_more_the_reading_of_both_counts() -> None:
    seen = rows()
    withheld, whole = np.random.default_rng(1).normal(-2, 2, (2, 400)).astype(np.float32)

    def agreement(weight: float) -> float:
        blend = Blend.from_dict(Blend.fit(withheld, whole, seen, weight).to_dict())
        return float(np.corrcoef(blend(withheld, whole, seen), whole)[0, 1])

    assert agreement(0.0) < agreement(0.4) < agreement(1.0)
    blend = Blend.fit(withheld, whole, seen)
    np.testing.assert_array_equal(blend(withheld, whole, seen), blend(withheld, None, seen))


def test_the_reading_of_both_weighs_more_the_farther_the_blocks_are_apart() -> None:
    seen, alone = rows(), (0.6, 0.8, 0.7)

    def blind(worse: float) -> EvidenceChunk:
        block = seen.out_of_fold
        return dataclasses.replace(seen, out_of_fold=dataclasses.replace(block, margin=block.margin - worse))

    assert weight_of_whole(blind(0.0), alone) == 0.0
    assert 0.0 < weight_of_whole(blind(1.0), alone) < weight_of_whole(blind(4.0), alone) == 1.0


def test_heads_that_saw_the_rows_and_are_not_swayed_count_more_where_the_others_are_far_worse() -> None:
    seen = rows()
    withheld, whole = np.random.default_rng(1).normal(-2, 2, (2, 400)).astype(np.float32)

    def agreement(worse: float, unswayed: bool) -> float:
        block = dataclasses.replace(seen.out_of_fold, margin=seen.out_of_fold.margin - worse)
        far = dataclasses.replace(seen, out_of_fold=block)
        blend = Blend.fit(withheld, whole, far, 1.0, 0.2, unswayed=unswayed)
        margin = -seen.in_sample.margin[:, :, 0].mean(axis=1)
        return float(np.corrcoef(blend(withheld, whole, far), margin)[0, 1])

    assert agreement(4.0, unswayed=True) > agreement(4.0, unswayed=False) + 0.1
    assert agreement(0.0, unswayed=True) == agreement(0.0, unswayed=False)


def test_of_two_learners_the_one_that_contradicts_fewer_labels_counts_more() -> None:
    seen, alone = dataclasses.replace(rows(), two_learners=True), (0.6, 0.8, 0.99)

    def heads(worse: float) -> EvidenceChunk:
        block = seen.out_of_fold
        return dataclasses.replace(seen, out_of_fold=dataclasses.replace(block, margin=block.margin - worse))

    assert weight_of_whole(heads(0.0), alone) == pytest.approx(0.5, abs=0.1)
    assert 0.5 < weight_of_whole(heads(1.0), alone) < weight_of_whole(heads(4.0), alone) == 1.0
    assert weight_of_whole(heads(-4.0), alone) == 0.25


def test_the_reading_of_both_weighs_more_where_errors_come_in_groups_of_neighbours() -> None:
    assert weight_of_whole(rows(), (0.6, 0.8, 0.85)) == pytest.approx(0.5)
    assert weight_of_whole(rows(), (0.6, 0.8, 0.99)) == 1.0
    assert weight_of_whole(dataclasses.replace(rows(), in_sample=None), (0.6, 0.8, 0.99)) == 0.0


def test_the_last_loss_counts_where_few_labels_are_wrong_and_they_do_not_come_in_groups() -> None:
    seen = rows()
    last = seen.out_of_fold.loss[:, -1]
    log_odds = np.random.default_rng(1).normal(-2, 2, 400).astype(np.float32)

    def agreement(rate: float, weight: float, batch: EvidenceChunk) -> float:
        blend = Blend.from_dict(Blend.fit(log_odds, log_odds, seen, weight, rate).to_dict())
        return float(np.corrcoef(blend(log_odds, log_odds, batch), last)[0, 1])

    for batch in (seen, dataclasses.replace(seen, in_sample=None)):
        assert agreement(0.0, 0.0, batch) > agreement(0.04, 0.0, batch) > agreement(0.08, 0.0, batch)
        assert agreement(0.08, 0.0, batch) == pytest.approx(agreement(0.4, 0.0, batch), abs=1e-6)
        assert agreement(0.0, 1.0, batch) == pytest.approx(agreement(0.4, 1.0, batch), abs=1e-6)
