"""The probe: a head never sees its own fold, folds are named by content, and checkpoints survive saving."""

from __future__ import annotations

import numpy as np
import pytest

from labelfix.errors import InputError
from labelfix.learn import probe
from labelfix.learn.features import Features
from labelfix.learn.probe import Heads
from labelfix.learn.recipe import Recipe
from labelfix.progress import Silent

ROWS, CLASSES, WIDTH = 400, 4, 16


def problem(seed: int = 0) -> tuple[Features, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, ROWS).astype(np.int32)
    x = 2 * rng.normal(size=(CLASSES, WIDTH))[labels] + rng.normal(size=(ROWS, WIDTH))
    return Features.from_array(x.astype(np.float32)), labels, (np.arange(ROWS) % 5).astype(np.int32)


def train(features: Features, labels: np.ndarray, folds: np.ndarray, recipe: Recipe | None = None) -> Heads:
    return probe.train(
        features, np.arange(ROWS), labels, folds, CLASSES, recipe or Recipe(), "test", Silent()
    )


def accuracy(heads: Heads, features: Features, labels: np.ndarray, folds: np.ndarray) -> float:
    right = 0
    for fold in range(heads.folds):
        rows = np.flatnonzero(folds == fold)
        weight, bias = heads.out_of_fold(fold)
        logits = (features.take(rows).astype(np.float32) @ weight + bias).reshape(
            len(rows), heads.epochs, CLASSES
        )
        right += int((logits[:, -1].argmax(axis=1) == labels[rows]).sum())
    return right / ROWS


def test_heads_predict_rows_they_have_not_seen():
    features, labels, folds = problem()
    assert accuracy(train(features, labels, folds), features, labels, folds) > 0.9


def test_a_head_does_not_depend_on_the_labels_of_its_own_fold():
    features, labels, folds = problem()
    spoilt = np.where(folds == 2, (labels + 1) % CLASSES, labels).astype(np.int32)
    one, two = train(features, labels, folds), train(features, spoilt, folds)
    np.testing.assert_array_equal(one.weight[:, 2], two.weight[:, 2])
    np.testing.assert_array_equal(one.bias[:, 2], two.bias[:, 2])
    for other in (0, 1, 3, 4):
        assert (one.weight[:, other] != two.weight[:, other]).any()


def test_the_same_seed_gives_the_same_bytes_and_another_seed_does_not():
    features, labels, folds = problem()
    one, two = train(features, labels, folds), train(features, labels, folds)
    np.testing.assert_array_equal(one.weight, two.weight)
    assert (train(features, labels, folds, Recipe(seed=1)).weight != one.weight).any()


def test_as_many_checkpoints_are_kept_as_asked_for_and_the_last_is_the_end():
    features, labels, folds = problem()
    heads = train(features, labels, folds, Recipe(checkpoints=4, folds=5))
    assert (heads.epochs, heads.folds, heads.classes) == (4, 5, CLASSES)
    assert heads.progress[-1] == 1
    assert (np.diff(heads.progress) > 0).all()


def test_rows_that_belong_together_share_a_fold_named_by_content_not_by_position():
    rng = np.random.default_rng(0)
    keys = rng.integers(0, 256, (500, 16), dtype=np.uint8)
    component = np.repeat(np.arange(250), 2).astype(np.int32)
    folds = probe.assign_folds(component, keys, 5)
    assert (folds[::2] == folds[1::2]).all()
    order = rng.permutation(500)
    np.testing.assert_array_equal(probe.assign_folds(component[order], keys[order], 5), folds[order])


@pytest.mark.parametrize("size", [1, 8])
def test_folds_are_about_equally_large(size):
    keys = np.random.default_rng(0).integers(0, 256, (8000, 16), dtype=np.uint8)
    component = np.repeat(np.arange(8000 // size), size).astype(np.int32)
    counts = np.bincount(probe.assign_folds(component, keys, 5), minlength=5)
    assert counts.min() > 1600 * 0.85


def test_what_was_saved_is_what_is_loaded(tmp_path):
    heads = train(*problem())
    heads.save(tmp_path / "heads.safetensors")
    loaded = Heads.load(tmp_path / "heads.safetensors")
    for name in ("weight", "bias", "mean", "scale", "progress"):
        np.testing.assert_array_equal(getattr(loaded, name), getattr(heads, name))
    assert loaded.fitted_on == "test"


def test_damaged_heads_are_named(tmp_path):
    (tmp_path / "heads.safetensors").write_bytes(b"no heads")
    with pytest.raises(InputError, match=r"heads\.safetensors: the saved heads cannot be read"):
        Heads.load(tmp_path / "heads.safetensors")


def test_heads_begin_half_believing_how_common_a_class_is():
    """With features that say nothing and next to no training, odds are about the square root of the counts'."""
    rng = np.random.default_rng(0)
    labels = (rng.random(ROWS) < 0.1).astype(np.int32)
    labels[:40] = np.arange(40) % CLASSES
    features = Features.from_array(rng.normal(size=(ROWS, WIDTH)).astype(np.float32))
    heads = train(features, labels, (np.arange(ROWS) % 5).astype(np.int32), Recipe(learning_rate=1e-6))
    counts = np.stack([np.bincount(labels[np.arange(ROWS) % 5 != fold]) for fold in range(5)])
    odds = heads.bias[-1] - heads.bias[-1, :, :1]
    np.testing.assert_allclose(odds, 0.5 * np.log(counts / counts[:, :1]), atol=0.15)


def test_chance_in_what_a_fold_leaves_is_no_reason_to_believe_that_a_class_is_rare():
    features, _, _ = problem()
    labels = (np.arange(ROWS) % CLASSES).astype(np.int32)
    folds = np.random.default_rng(0).integers(0, 5, ROWS).astype(np.int32)
    heads = train(features, labels, folds, Recipe(learning_rate=1e-6))
    np.testing.assert_allclose(heads.bias, 0.0, atol=1e-3)


def test_an_error_that_takes_a_common_thing_for_a_rare_one_is_suspected_above_the_rest():
    rng = np.random.default_rng(0)
    truth = (rng.random(ROWS) < 0.08).astype(np.int32)
    x = 1.2 * truth[:, None] * np.ones(WIDTH) / 2 + rng.normal(size=(ROWS, WIDTH))
    labels = truth.copy()
    wrong = rng.choice(np.flatnonzero(truth == 0), 15, replace=False)
    labels[wrong] = 1
    folds = (np.arange(ROWS) % 5).astype(np.int32)
    heads = train(Features.from_array(x.astype(np.float32)), labels, folds)
    margin = np.empty(ROWS)
    for fold in range(5):
        rows = np.flatnonzero(folds == fold)
        weight, bias = heads.out_of_fold(fold)
        logits = (x[rows].astype(np.float32) @ weight + bias).reshape(len(rows), heads.epochs, CLASSES)[:, -1]
        at = np.arange(len(rows))
        margin[rows] = logits[at, 1 - labels[rows]] - logits[at, labels[rows]]
    assert np.median(margin[wrong]) > np.quantile(margin[labels == truth], 0.9)
