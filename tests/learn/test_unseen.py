"""Unseen rows meet heads that saw nothing of them, and are scored as the reference's own rows are."""

from __future__ import annotations

import numpy as np
import pytest

from labelfix.intake import hashes, text_hashes
from labelfix.learn import kernel, neighbours, probe
from labelfix.learn.features import Features
from labelfix.learn.known import Known, meet
from labelfix.learn.recipe import Recipe
from labelfix.learn.replay import Replay
from labelfix.learn.unseen import as_if_unseen, blind_reliability
from labelfix.progress import Silent
from labelfix.reference import keep

ROWS, WIDTH, CLASSES = 300, 24, 3


def keyed(x: np.ndarray) -> np.ndarray:
    return hashes([x])


@pytest.fixture(scope="module")
def points():
    rng = np.random.default_rng(0)
    centres = 2 * rng.normal(size=(CLASSES, WIDTH))
    labels = (np.arange(ROWS) % CLASSES).astype(np.int32)
    return (centres[labels] + rng.normal(size=(ROWS, WIDTH))).astype(np.float16), labels, centres


def known_of(x: np.ndarray, labels: np.ndarray, groups: np.ndarray | None = None) -> tuple[Known, Replay]:
    features, rows = Features.from_array(x), np.arange(len(x))
    keys = keyed(x)
    numbers = None if groups is None else np.unique(groups, return_inverse=True)[1].astype(np.int32)
    named = np.zeros_like(keys) if groups is None else text_hashes(groups.astype(object))
    found = neighbours.find(features, rows, keys, numbers, 5, 0, "rows")
    folds = probe.assign_folds(found.component, keys if groups is None else named, 5)
    recipe = Recipe(epochs=3, checkpoints=3)
    heads = probe.train(features, rows, labels, folds, CLASSES, recipe, "rows", Silent())
    second = kernel.fit(features, rows, labels, folds, heads, Silent())
    replay = Replay(rows, labels, CLASSES, "rows", folds, features, heads, found, kernel=second)
    reliability = blind_reliability(heads, features, rows, labels, None, recipe)
    held = {"keys": keys, "groups": named, "folds": folds, "reliability": reliability}
    return keep(found, heads, second, held, labels, 1.0, 5), replay


def met(known: Known, x: np.ndarray, groups: np.ndarray | None = None):
    keys = keyed(x)
    named = np.zeros_like(keys) if groups is None else text_hashes(groups.astype(object))
    return meet(known, Features.from_array(x), np.arange(len(x)), keys, named)


def test_the_references_own_rows_meet_the_head_that_did_not_see_them(points):
    known, replay = known_of(points[0], points[1])
    found = met(known, points[0])
    assert (found.folds == replay.folds).all()
    assert (known.labels[found.copy_of] == points[1]).all()
    assert (found.neighbours.index != np.arange(ROWS)[:, None]).all()


def test_a_near_copy_takes_the_fold_of_the_component_that_another_member_named(points):
    x, labels, _ = points
    rng = np.random.default_rng(1)
    near = (x[:40].astype(np.float32) + 0.02 * rng.normal(size=(40, WIDTH))).astype(np.float16)
    nearer = (x[:40].astype(np.float32) + 0.03 * rng.normal(size=(40, WIDTH))).astype(np.float16)
    known, replay = known_of(np.concatenate([x, near]), np.concatenate([labels, labels[:40]]))
    assert (replay.folds[:40] == replay.folds[ROWS:]).all()
    found = met(known, nearer)
    assert (found.folds == replay.folds[:40]).all()
    of_hash = probe.assign_folds(np.arange(40, dtype=np.int32), keyed(nearer), 5)
    assert (of_hash != found.folds).any()
    same = np.isin(found.neighbours.index, np.r_[:40, ROWS : ROWS + 40])
    own = known.component[found.neighbours.index] == known.component[np.arange(40)][:, None]
    assert not (same & own).any()


def test_a_group_mate_meets_the_groups_fold_and_new_rows_meet_that_of_their_hash(points):
    x, labels, centres = points
    groups = np.array([f"g{i // 10}" for i in range(ROWS)])
    known, replay = known_of(x, labels, groups)
    rng = np.random.default_rng(2)
    new = (centres[np.arange(60) % CLASSES] + rng.normal(size=(60, WIDTH))).astype(np.float16)
    theirs = np.array([f"g{i}" for i in range(30)] + [f"new{i // 3}" for i in range(30)])
    found = met(known, new, theirs)
    assert (found.folds[:30] == replay.folds[::10]).all()
    assert (found.folds[30::3] == found.folds[31::3]).all()
    assert (found.folds[30::3] == found.folds[32::3]).all()
    mates = groups[found.neighbours.index[:30]] == theirs[:30, None]
    assert not mates.any()


def test_a_row_tied_to_several_folds_is_judged_by_no_head(points):
    x, labels, _ = points
    groups = np.array([f"g{i // 10}" for i in range(ROWS)])
    known, replay = known_of(x, labels, groups)
    other = next(g for g in range(30) if replay.folds[10 * g] != replay.folds[0])
    found = met(known, x[:1], np.array([f"g{other}"]))
    assert found.folds.tolist() == [-1]


def test_training_rows_look_as_unseen_as_a_batch_of_the_same_rows(points):
    known, replay = known_of(points[0], points[1])
    sample, picked = as_if_unseen(replay, known.reliability, ROWS)
    assert (picked == np.arange(ROWS)).all()
    for chunk in sample.chunks():
        assert chunk.in_sample is None
    by_batch = met(known, points[0])
    pairs = zip(sample.neighbours.index, by_batch.neighbours.index, strict=True)
    shared = [len(set(mine) & set(theirs)) for mine, theirs in pairs]
    assert np.mean(shared) > 0.95 * 5  # vectors in a byte a number may swap equals


def test_no_head_that_believes_a_neighbour_has_seen_the_rows_own_label(points):
    x, labels, _ = points
    known, replay = known_of(x, labels)
    flipped = labels.copy()
    row = 7
    flipped[row] = (labels[row] + 1) % CLASSES
    other, _ = known_of(x, flipped)
    fold = replay.folds[row]
    others = np.arange(ROWS) != row
    assert np.allclose(known.reliability[fold, others], other.reliability[fold, others])
    away = (fold + 1) % 5
    assert not np.allclose(known.reliability[away, others], other.reliability[away, others])


def test_a_row_whose_group_fills_the_search_is_voted_on_by_others_as_training_rows_are():
    """Groups of 80 near each other: the first 32 found are group-mates."""
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(12), 80)
    centres = rng.normal(size=(12, 32))
    x = (centres[groups] + 0.2 * rng.normal(size=(len(groups), 32))).astype(np.float32)
    known, evidence = known_of(x, (groups % 2).astype(np.int32), groups.astype(str))
    new = (centres + 0.2 * rng.normal(size=(12, 32))).astype(np.float32)
    found = met(known, new, np.arange(12).astype(str))
    assert (evidence.neighbours.index >= 0).all()
    assert (found.neighbours.index >= 0).all()
    assert (groups[found.neighbours.index] != np.arange(12)[:, None]).all()
