"""Downstream: better labels make better classifiers, and variants do not disturb each other."""

from __future__ import annotations

import numpy as np
import pytest

from labelfix.benchmarking import downstream
from labelfix.benchmarking.downstream import accuracies
from labelfix.learn.features import Features
from labelfix.learn.recipe import Recipe
from labelfix.learn.targets import Targets

RECIPE = Recipe(epochs=8, device="cpu")


@pytest.fixture(scope="module")
def data():
    """Features of 600 rows of 4 overlapping classes; the last 200 are held out; 45 % of labels are swapped."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 600).astype(np.int32)
    x = (1.2 * rng.normal(size=(4, 30))[truth] + rng.normal(size=(600, 30)) * 2).astype(np.float32)
    given = np.where(rng.random(600) < 0.45, truth ^ 1, truth).astype(np.int32)
    return Features.from_array(x), np.arange(400), np.arange(400, 600), truth, given


def worth(data, variants):
    features, rows, held, truth, _ = data
    return accuracies(features, rows, variants, held, truth[held], 4, RECIPE)


def test_true_labels_are_worth_most_and_pruned_ones_more_than_given_ones(data):
    _, rows, _, truth, given = data
    found = worth(
        data,
        {
            "given": Targets.hard(given[rows]),
            "truth": Targets.hard(truth[rows]),
            "pruned": Targets.hard(given[rows], given[rows] == truth[rows]),
        },
    )
    assert found["truth"] > found["given"] + 0.05
    assert found["pruned"] > found["given"]


def test_a_variant_is_worth_the_same_alone_and_beside_others(data, monkeypatch):
    _, rows, _, truth, given = data
    variants = {"given": Targets.hard(given[rows]), "truth": Targets.hard(truth[rows])}
    together = worth(data, variants)
    monkeypatch.setattr(downstream, "COLUMNS", 4)
    assert worth(data, variants) == pytest.approx(together, abs=0.011)  # sums in another order


def test_a_soft_label_of_certainty_is_a_hard_one(data):
    _, rows, _, _, given = data
    classes = np.stack([given[rows], (given[rows] + 1) % 4], axis=1).astype(np.int32)
    p = np.tile(np.array([[0.7, 0.0]], np.float32), (len(rows), 1))
    found = worth(data, {"soft": Targets.soft(classes, p), "hard": Targets.hard(given[rows])})
    assert found["soft"] == found["hard"]


def test_rows_without_a_label_teach_nothing(data):
    _, rows, _, truth, _ = data
    nothing = worth(data, {"none": Targets.hard(np.full(len(rows), -1, np.int32))})["none"]
    half = np.where(rows % 2 == 0, truth[rows], -1).astype(np.int32)
    assert nothing < 0.4
    assert worth(data, {"half": Targets.hard(half)})["half"] > 0.5


def test_classes_that_only_the_truth_knows_have_a_place(data):
    features, rows, held, _, given = data
    found = accuracies(
        features, rows, {"given": Targets.hard(given[rows])}, held, np.full(len(held), 6, np.int32), 7, RECIPE
    )
    assert found == {"given": 0.0}
