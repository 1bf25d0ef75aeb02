"""The mode is chosen by what the features know, whatever share of the labels is wrong, and by what training costs."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from labelfix.learn import choosing, neighbours, probe
from labelfix.learn.features import Features
from labelfix.learn.recipe import FineTuning, Recipe
from labelfix.progress import Silent

SMALL = FineTuning(model="test_convnext", scratch=True, batch_size=16)
RECIPE = Recipe(mode="auto", image_size=32, device="cpu", learning_rate=1e-2, finetune=SMALL)


def problem(rows: int, classes: int, spread: float, wrong: float, width: int = 24) -> tuple:
    """Clouds of points `spread` apart, of which a share is labelled wrongly; arguments of `compare`, and the truth."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, classes, rows)
    x = spread * rng.normal(size=(classes, width))[truth] + rng.normal(size=(rows, width))
    labels = np.where(rng.random(rows) < wrong, (truth + rng.integers(1, classes, rows)) % classes, truth)
    labels, folds = labels.astype(np.int32), (np.arange(rows) % 5).astype(np.int32)
    features, at = Features.from_array(x.astype(np.float32)), np.arange(rows)
    keys = rng.integers(0, 256, (rows, 16), dtype=np.uint8)
    found = neighbours.find(features, at, keys, None, 10, 0, "these")
    heads = probe.train(features, at, labels, folds, classes, RECIPE, "these", Silent())
    return (features, at, labels, folds, heads, found), truth


@pytest.mark.parametrize(("classes", "wrong"), [(2, 0.0), (2, 0.15), (6, 0.0), (6, 0.3)])
def test_noise_in_the_labels_does_not_make_good_features_look_poor(classes, wrong):
    (what, truth) = problem(600, classes, 1.5, wrong)
    differ, kappa = choosing.compare(*what)
    assert differ < 0.1
    assert kappa > 0.85
    assert (what[2] != truth).mean() == pytest.approx(wrong, abs=0.06)


@pytest.mark.parametrize("wrong", [0.0, 0.3])
def test_features_that_know_nothing_agree_on_nothing(wrong):
    what, _ = problem(600, 4, 0.0, wrong)
    differ, kappa = choosing.compare(*what)
    assert differ > 0.5
    assert abs(kappa) < 0.2


def test_the_estimated_error_is_near_the_true_one_between_the_two():
    what, truth = problem(900, 4, 0.5, 0.2)
    features, rows, _, folds, heads, _ = what
    predicted = np.empty(len(rows), int)
    for fold in range(5):
        weight, bias = heads.out_of_fold(fold)
        at = folds == fold
        predicted[at] = (features.take(rows[at]).astype(np.float32) @ weight + bias)[:, -4:].argmax(axis=1)
    assert choosing.compare(*what)[0] == pytest.approx((predicted != truth).mean(), abs=0.1)


def choice(rows: int, spread: float, recipe: Recipe = RECIPE, images: bool = True) -> choosing.Choice:
    what, _ = problem(rows, 4, spread, 0.1)
    return choosing.choose(recipe, *what, classes=4, images=images)


def test_good_features_need_no_fine_tuning():
    found = choice(600, 2.0)
    assert (found.mode, found.minutes) == ("probe", None)
    assert found.note.startswith("mode: probe, because linear heads and nearest neighbours")
    assert found.note.endswith("only: these tell the classes apart")


def test_poor_features_call_for_fine_tuning_where_it_is_affordable():
    found = choice(600, 0.2)
    assert found.mode == "finetune"
    assert 0 < found.minutes <= choosing.MOST_MINUTES
    assert "fine-tuning takes about" in found.note
    longer = replace(RECIPE, finetune=replace(SMALL, epochs=100_000))
    refused = choice(600, 0.2, longer)
    assert refused.mode == "probe"
    assert refused.minutes > choosing.MOST_MINUTES
    assert "must be asked for with --mode finetune" in refused.note


def test_few_rows_and_evidence_without_images_stay_with_the_probe():
    assert "200 rows are too few" in choice(200, 0.2).note
    assert "no images to train on" in choice(200, 0.2, images=False).note
