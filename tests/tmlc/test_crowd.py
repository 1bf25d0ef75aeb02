"""What other annotators said: it moves suspicion and level as far as it should, on simulated crowds with a truth."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from labelfix.coanswers import Items
from labelfix.evidence import EvidenceChunk
from labelfix.manifest import Manifest
from labelfix.tmlc.calibrate import sigmoid
from labelfix.tmlc.crowd import Crowd

K = 4


def crowd(
    items: int = 900, each: int = 3, workers: int = 9, skill: float = 0.8, spread: float = 0.0,
    images: float = 1.0, level: float = 0.0, seed: int = 0,
) -> tuple[EvidenceChunk, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:  # fmt: skip
    """Return rows, log-odds [n], log-posteriors [n, K + 1], which are wrong [n], and each row's worker.

    Images give calibrated log-odds, as far as `images` says, off by `level`.
    """
    rng = np.random.default_rng(seed)
    true = rng.integers(0, K, items)
    item = np.repeat(np.arange(items), each)
    worker = np.concatenate([rng.permutation(workers)[:each] for _ in range(items)])
    right = sigmoid(np.log(skill / (1 - skill)) + spread * np.linspace(-1, 1, workers))
    correct = rng.random(len(item)) < right[worker]
    given = np.where(correct, true[item], (true[item] + rng.integers(1, K, len(item))) % K).astype(np.int32)
    wrong = given != true[item]
    prior = np.log(wrong.mean() / (1 - wrong.mean()))
    seen = images * (2 * wrong - 1) + rng.normal(0, np.sqrt(2 * max(images, 1e-9) / 2), len(item))
    odds = (2 * seen * (images > 0) + prior + level).astype(np.float32)
    candidates = np.stack([(given + k) % K for k in range(K)], axis=1).astype(np.int32)
    likely = np.log(np.where(candidates == true[item][:, None], 0.6, 0.4 / (K - 1)))
    log_q = np.concatenate([likely, np.full((len(item), 1), -30.0)], axis=1).astype(np.float32)
    told = Manifest(
        np.array([f"i{one}" for one in item], object), given, tuple("abcd"), None,
        annotators=np.array([f"w{one}" for one in worker], object),
    )  # fmt: skip
    found = Items.of(told)
    assert found is not None
    rows = np.arange(len(item))
    chunk = EvidenceChunk(rows, given, K, candidates, None, None, None, None, None, others=found.beside(rows))
    return chunk, odds, log_q, wrong, worker


def ranked(score: np.ndarray, wrong: np.ndarray) -> float:
    from sklearn.metrics import average_precision_score

    return float(average_precision_score(wrong, score))


def fitted(rows: EvidenceChunk, odds: np.ndarray, log_q: np.ndarray, keeps: bool = False) -> Crowd:
    found = Crowd.fit(rows, odds, log_q, keeps)
    assert found is not None
    return found


def test_answers_of_others_tell_what_images_do_not() -> None:
    rows, odds, log_q, wrong, _ = crowd(images=0.5)
    score, _ = fitted(rows, odds, log_q)(rows, odds, log_q)
    assert ranked(score, wrong) > ranked(odds, wrong) + 0.15


@pytest.mark.parametrize("skill", [0.95, 0.8, 0.65])
@pytest.mark.parametrize("level", [-1.5, 0.0, 1.5])
def test_disagreement_tells_the_level_whatever_the_images_say(skill: float, level: float) -> None:
    rows, odds, log_q, wrong, _ = crowd(skill=skill, level=level, each=4)
    score, _ = fitted(rows, odds, log_q)(rows, odds, log_q)
    assert sigmoid(score).mean() == pytest.approx(wrong.mean(), rel=0.2, abs=0.02)


@pytest.mark.parametrize("skill", [0.97, 0.7])
def test_images_that_say_nothing_and_doubt_everything_do_not_turn_agreement_into_repeated_errors(
    skill: float,
) -> None:
    rows, odds, log_q, wrong, _ = crowd(skill=skill, images=0.02, level=2.5, items=400)
    score, _ = fitted(rows, odds, log_q)(rows, odds, log_q)
    assert ranked(score, wrong) > 0.8
    assert sigmoid(score).mean() < 2.5 * wrong.mean()


def test_a_level_known_from_elsewhere_is_kept() -> None:
    rows, odds, log_q, _, _ = crowd(level=1.0)
    score, _ = fitted(rows, odds, log_q, keeps=True)(rows, odds, log_q)
    assert sigmoid(score).mean() == pytest.approx(float(sigmoid(odds).mean()), abs=0.01)


def test_what_most_others_say_is_suggested() -> None:
    rows, odds, log_q, wrong, _ = crowd(each=5)
    _, after = fitted(rows, odds, log_q)(rows, odds, log_q)
    assert rows.others is not None
    agree, count = rows.others.of_class(rows.labels)
    alone = wrong & (agree == 0) & (count == 4)  # nobody says what this one says
    likeliest = rows.candidates[np.arange(len(rows)), 1 + after[:, 1:-1].argmax(axis=1)]
    most = np.array([np.bincount(rows.others.labels[rows.others.at == row], minlength=K).argmax() for row in
                     np.flatnonzero(alone)])  # fmt: skip
    assert (likeliest[alone] == most).mean() > 0.95


def test_careless_annotators_are_found_and_doubted_where_nobody_else_answered() -> None:
    rows, odds, log_q, wrong, worker = crowd(each=1, items=4000, spread=1.5, images=1.0)
    found = fitted(rows, odds, log_q)
    assert rows.others is not None
    of_worker = [float(found.records[found.keys == rows.others.own[worker == who][0]][0]) for who in range(9)]
    assert np.corrcoef(of_worker, np.arange(9))[0, 1] > 0.95
    score, _ = found(rows, odds, log_q)
    assert ranked(score, wrong) > ranked(odds, wrong)
    assert sigmoid(score).mean() == pytest.approx(float(sigmoid(odds).mean()), abs=0.01)


def test_annotators_who_are_alike_get_no_record() -> None:
    rows, odds, log_q, _, _ = crowd(spread=0.0)
    assert np.abs(fitted(rows, odds, log_q).records).max() < 0.3


@pytest.mark.parametrize("each", [1, 2, 3, 6])
def test_a_batch_with_fewer_answers_than_the_reference_has_the_right_level(each: int) -> None:
    rows, odds, log_q, _, _ = crowd(items=300, each=40, workers=50, skill=0.95)
    found = fitted(rows, odds, log_q)
    batch, new, q, wrong, _ = crowd(items=2400 // each, each=each, workers=50, skill=0.95, seed=5)
    score, _ = found(batch, new, q)
    assert sigmoid(score).mean() == pytest.approx(wrong.mean(), abs=0.02)


def test_rows_of_unknown_annotators_are_scored_at_the_same_level() -> None:
    rows, odds, log_q, wrong, _ = crowd(level=1.5)
    found = fitted(rows, odds, log_q)
    score, _ = found(dataclasses.replace(rows, others=None), odds, log_q)
    assert sigmoid(score).mean() == pytest.approx(wrong.mean(), rel=0.2)


def test_hard_items_that_were_asked_about_again_say_little_of_the_others() -> None:
    rows, odds, log_q, wrong, _ = crowd(items=4000, each=1, skill=0.9)
    hard, more, q, _, _ = crowd(items=200, each=3, skill=0.6, seed=1)
    assert rows.others is not None
    assert hard.others is not None
    both = dataclasses.replace(
        rows, rows=np.arange(4600), labels=np.concatenate([rows.labels, hard.labels]),
        candidates=np.concatenate([rows.candidates, hard.candidates]),
        others=type(rows.others).joined([rows.others, hard.others]),
    )  # fmt: skip
    found = fitted(both, np.concatenate([odds, more]), np.concatenate([log_q, q]))
    score, _ = found(rows, odds, log_q)
    assert sigmoid(score).mean() == pytest.approx(wrong.mean(), rel=0.4)


def test_unseen_rows_are_scored_by_what_was_learnt_and_chunk_by_chunk() -> None:
    rows, odds, log_q, _, _ = crowd(spread=1.0)
    found = fitted(rows, odds, log_q)
    whole, after = found(rows, odds, log_q)
    some = np.arange(100, 160)
    part, part_after = found(rows.take(some), odds[some], log_q[some])
    np.testing.assert_allclose(part, whole[some], rtol=1e-5)
    np.testing.assert_allclose(part_after, after[some], rtol=1e-5)
    again = Crowd.of(found.arrays())
    assert again is not None
    np.testing.assert_array_equal(again(rows, odds, log_q)[0], whole)


def test_a_permutation_of_the_classes_permutes_the_result() -> None:
    rows, odds, log_q, _, _ = crowd()
    order = np.array([2, 0, 3, 1], np.int32)
    assert rows.others is not None
    others = dataclasses.replace(rows.others, labels=order[rows.others.labels])
    moved = dataclasses.replace(
        rows, labels=order[rows.labels], candidates=order[rows.candidates], others=others
    )
    one, two = (fitted(each, odds, log_q)(each, odds, log_q) for each in (rows, moved))
    np.testing.assert_allclose(one[0], two[0], atol=1e-5)
    np.testing.assert_allclose(one[1], two[1], atol=1e-5)


def test_a_trusted_answer_outweighs_others() -> None:
    rows, odds, log_q, _, _ = crowd()
    found = fitted(rows, odds, log_q)
    assert rows.others is not None
    differs = rows.others.labels != rows.labels[rows.others.at]
    first = np.flatnonzero(differs)[:1]
    trusted = np.zeros(len(differs), bool)
    trusted[first] = True
    known = dataclasses.replace(rows, others=dataclasses.replace(rows.others, trusted=trusted))
    row = rows.others.at[first]
    assert (found(known, odds, log_q)[0][row] > found(rows, odds, log_q)[0][row] + 1).all()


def test_two_classes_and_unknown_annotators_are_no_trouble() -> None:
    rows, odds, log_q, wrong, _ = crowd(spread=1.0)
    assert rows.others is not None
    two = np.array([0, 1, 0, 1], np.int32)
    candidates = np.stack([two[rows.labels], 1 - two[rows.labels]], axis=1)
    others = dataclasses.replace(rows.others, labels=two[rows.others.labels])
    half = dataclasses.replace(rows, labels=candidates[:, 0], classes=2, candidates=candidates, others=others)
    found = fitted(half, odds, log_q[:, [0, 1, 4]])
    strange = dataclasses.replace(
        half, others=dataclasses.replace(others, own=others.own + 1, who=others.who + 1)
    )
    for some in (half, strange):
        score, after = found(some, odds, log_q[:, [0, 1, 4]])
        assert np.isfinite(score).all()
        assert np.isfinite(after).all()
    assert ranked(found(half, odds, log_q[:, [0, 1, 4]])[0], wrong) > 0.3
