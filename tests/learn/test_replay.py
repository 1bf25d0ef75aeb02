"""Evidence computed from checkpoints is what the heads say, however it is asked for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from labelfix.evidence import MAX_CANDIDATES, EvidenceChunk
from labelfix.learn import neighbours, probe, replay
from labelfix.learn.features import Features
from labelfix.learn.recipe import Recipe
from labelfix.learn.recording import Recording, condense
from labelfix.learn.replay import Replay
from labelfix.progress import Silent

ROWS, CLASSES = 300, 15


@pytest.fixture
def data() -> Replay:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, ROWS).astype(np.int32)
    x = 2 * rng.normal(size=(CLASSES, 20))[labels] + rng.normal(size=(ROWS, 20))
    features, at, recipe = Features.from_array(x.astype(np.float32)), np.arange(ROWS), Recipe()
    keys = rng.integers(0, 256, (ROWS, 16), dtype=np.uint8)
    found = neighbours.find(features, at, keys, None, 10, 0)
    folds = probe.assign_folds(found.component, keys, recipe.folds)
    heads = probe.train(features, at, labels, folds, CLASSES, recipe, "test", Silent())
    return Replay(at, labels, CLASSES, "test", folds, features, heads, found)


def log_p(data: Replay, row: int, heads: list[int]) -> np.ndarray:
    """Log-probabilities [E, K] of one row, by the mean of some heads' logits, the slow and plain way."""
    h = data.heads
    x = (data.features.take(np.array([row]))[0].astype(np.float64) - h.mean) / h.scale
    logits = np.mean([x @ h.weight[:, f].astype(np.float64) + h.bias[:, f] for f in heads], axis=0)
    return logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))


def test_trajectories_are_what_the_checkpoints_say(data):
    for chunk in data.chunks():
        row = int(chunk.rows[0])
        own = int(data.folds[row])
        others = [f for f in range(data.heads.folds) if f != own]
        candidates = chunk.candidates[0]
        for block, heads in ((chunk.out_of_fold, [own]), (chunk.in_sample, others)):
            expected = log_p(data, row, heads)
            np.testing.assert_allclose(block.log_p[0], expected[:, candidates], atol=2e-3)
            np.testing.assert_allclose(block.loss[0], -expected[:, data.labels[row]], atol=2e-3)
            rivals = [[np.delete(e, c).max() for c in candidates] for e in expected]
            np.testing.assert_allclose(block.margin[0], expected[:, candidates] - rivals, atol=4e-3)
            entropy = -(np.exp(expected) * expected).sum(axis=1) / np.log(CLASSES)
            np.testing.assert_allclose(block.entropy[0], entropy, atol=2e-3)
        np.testing.assert_allclose(chunk.probabilities[0], np.exp(log_p(data, row, [own])[-1]), atol=1e-3)


def test_every_row_comes_once_and_the_given_class_is_the_first_candidate(data):
    chunks = list(data.chunks())
    assert sorted(np.concatenate([chunk.rows for chunk in chunks])) == list(range(ROWS))
    for chunk in chunks:
        np.testing.assert_array_equal(chunk.candidates[:, 0], data.labels[chunk.rows])
        assert chunk.candidates.shape[1] == MAX_CANDIDATES
        assert all(len(set(row)) == MAX_CANDIDATES for row in chunk.candidates.tolist())
        assert chunk.votes.min() >= 0
        assert chunk.votes.sum(axis=1).max() <= 1 + 1e-5
        assert (chunk.reliable_votes <= chunk.votes + 1e-6).all()


def test_a_label_is_believed_as_far_as_its_mean_margin_says_and_a_trusted_one_wholly(data):
    margin = np.empty(ROWS)
    for chunk in data.chunks():
        margin[chunk.rows] = np.mean([block.margin[:, :, 0].mean(axis=1) for block in chunk.blocks], axis=0)
    np.testing.assert_allclose(data.reliability[np.argsort(data.rows)], 1 / (1 + np.exp(-margin)), atol=1e-5)
    trusted = np.arange(ROWS) % 3 == 0
    known = replace(data, trusted=trusted, _kept=[])
    assert (known.reliability[trusted] == 1).all()
    assert (known.reliability[~trusted] == data.reliability[~trusted]).all()


def equal(one: EvidenceChunk, two: EvidenceChunk) -> bool:
    same = [
        np.array_equal(getattr(one, n), getattr(two, n))
        for n in ("rows", "candidates", "probabilities", "votes", "reliable_votes")
    ]
    blocks = zip(one.blocks, two.blocks, strict=True)
    return all(same) and all(np.array_equal(a.log_p, b.log_p) for a, b in blocks)


def test_who_takes_only_the_first_chunk_spoils_nothing_for_the_next(data):
    next(iter(data.chunks()))
    assert sum(map(len, data.chunks())) == ROWS
    assert sum(map(len, data.chunks())) == ROWS


def test_chunks_that_are_computed_again_are_those_that_were_kept(data, monkeypatch):
    kept = [list(data.chunks()), list(data.chunks())]
    monkeypatch.setattr(replay, "KEEP_BYTES", 0)
    data._kept = []
    computed = [list(data.chunks()), list(data.chunks())]
    for versions in zip(*kept, *computed, strict=True):
        assert all(equal(versions[0], other) for other in versions[1:])


def test_small_chunks_say_what_large_ones_say(data, monkeypatch):
    large = {
        int(row): p for chunk in data.chunks() for row, p in zip(chunk.rows, chunk.probabilities, strict=True)
    }
    monkeypatch.setattr(replay, "CHUNK_ROWS", 7)
    data._kept = []
    chunks = list(data.chunks())
    assert max(map(len, chunks)) == 7
    for chunk in chunks:
        for row, p in zip(chunk.rows, chunk.probabilities, strict=True):
            np.testing.assert_allclose(p, large[int(row)], atol=1e-5)


def test_a_sample_is_part_of_the_whole_and_no_larger_than_asked_for(data):
    sample = data.sample(50)
    assert len(sample) == 50
    assert len(set(sample.rows)) == 50
    whole = {
        int(row): p for chunk in data.chunks() for row, p in zip(chunk.rows, chunk.probabilities, strict=True)
    }
    for row, p in zip(sample.rows, sample.probabilities, strict=True):
        np.testing.assert_allclose(p, whole[int(row)], atol=1e-5)
    assert len(data.sample(10_000)) == ROWS


def test_given_probabilities_alone_are_an_out_of_fold_block_of_one_epoch(data):
    p = np.full((ROWS, CLASSES), 0.02, np.float32)
    p[:, 3] = 1 - 14 * 0.02
    alone = Replay(data.rows, data.labels, CLASSES, "test", given=p)
    (chunk,) = alone.chunks()
    assert chunk.in_sample is None
    assert chunk.votes is None
    assert chunk.out_of_fold.log_p.shape == (ROWS, 1, MAX_CANDIDATES)
    np.testing.assert_allclose(
        chunk.out_of_fold.loss[:, 0], -np.log(p[np.arange(ROWS), data.labels]), rtol=1e-5
    )
    assert alone.present == {"trajectories", "out_of_fold"}
    assert data.present == {
        "trajectories",
        "out_of_fold",
        "in_sample",
        "features",
        "base model",
        "neighbours",
    }


def test_where_one_block_is_recorded_two_learners_speak_and_chunks_and_samples_say_so(data, tmp_path):
    recorded = Recording.create(tmp_path / "one", ROWS, CLASSES, [0.5, 1.0], whole_last=False)
    for epoch in range(2):
        p = np.full((ROWS, CLASSES), 1 / CLASSES, np.float32)
        recorded.write(
            epoch, np.arange(ROWS), condense(*map(torch.from_numpy, (np.log(p), data.labels)), False)
        )
    mixed, alone = (
        replace(data, seen=recorded, _kept=[]),
        replace(data, seen=recorded, unseen=recorded, _kept=[]),
    )
    for evidence, said in ((data, False), (mixed, True), (alone, False)):
        assert {chunk.two_learners for chunk in evidence.chunks()} == {said}
        assert evidence.sample(20).two_learners is said
        assert evidence.sample(20).take(np.arange(5)).two_learners is said


def test_who_asks_for_labels_in_question_gets_these_unless_hardly_any_is_left(data, monkeypatch):
    monkeypatch.setattr("labelfix.evidence.ENOUGH", 20)
    trusted = np.ones(ROWS, bool)
    trusted[::10] = False
    left = replace(data, trusted=trusted, _kept=[])
    sample = left.sample(25, asked=True)
    assert len(sample) == min(25, (~trusted).sum())
    assert not sample.trusted.any()
    trusted[: -ROWS // 10] = True  # fewer than 20
    few = replace(data, trusted=trusted, _kept=[])
    assert len(few.sample(25, asked=True)) == 25
