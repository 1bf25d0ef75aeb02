"""The ceiling: learns from the truth of one half, and never of the row it scores."""

from __future__ import annotations

import numpy as np
import pytest

from labelfix.benchmarking.ceiling import ceiling, halves
from labelfix.benchmarking.metrics import auroc
from labelfix.learn.recipe import Recipe
from labelfix.manifest import Manifest
from labelfix.tmlc.bank import canonical_order, evidence_of
from labelfix.tmlc.sources import Task

STEPS = 40


@pytest.fixture(scope="module")
def planted():
    """240 rows of 3 classes in canonical order; a fifth of the labels is wrong, and one row has three copies."""
    rng = np.random.default_rng(0)
    truth = (np.arange(240) % 3).astype(np.int32)
    x = (3 * rng.normal(size=(3, 20))[truth] + 1.5 * rng.normal(size=(240, 20))).astype(np.float32)
    x[[3, 6, 9]] = x[0]
    given = np.where(rng.random(240) < 0.2, (truth + 1) % 3, truth).astype(np.int32)
    task = Task(x, truth, given, 3, "pair", "test")
    evidence = evidence_of(task, Recipe(epochs=5, checkpoints=4, device="cpu"))
    order = canonical_order(x)
    ids = np.array([f"r{i}" for i in range(240)], object)
    return evidence, Manifest(ids, given[order], ("a", "b", "c"), None), truth[order]


def test_copies_are_in_one_half_and_the_halves_are_equal(planted):
    evidence, _, _ = planted
    side = halves(evidence, seed=0)
    copies = np.flatnonzero(evidence.neighbours.copies >= 0)
    assert len(copies) >= 4
    assert len(np.unique(side[copies])) == 1
    assert abs(int(side.sum()) - 120) <= 4
    assert (halves(evidence, seed=1) != side).any()


def test_it_ranks_wrong_labels_once_it_has_seen_some(planted):
    evidence, manifest, truth = planted
    said = ceiling(evidence, manifest, truth, seed=0, steps=STEPS)
    assert said.method == "ceiling"
    assert auroc(said.score, manifest.labels != truth) > 0.8
    assert said.seconds > 0


def test_no_row_is_scored_by_a_net_that_saw_its_truth(planted):
    """Other truth in one half moves the scores of the other half only."""
    evidence, manifest, truth = planted
    side = halves(evidence, seed=0)
    lied_to = np.where(side, (truth + 1) % 3, truth).astype(np.int32)
    honest, misled = (ceiling(evidence, manifest, t, seed=0, steps=STEPS).score for t in (truth, lied_to))
    assert (honest[side] == misled[side]).all()
    assert np.abs(honest[~side] - misled[~side]).mean() > 0.1


def test_rows_of_unknown_truth_are_scored_but_teach_nothing(planted):
    evidence, manifest, truth = planted
    some = np.where(np.arange(240) % 2 == 0, -1, truth).astype(np.int32)
    said = ceiling(evidence, manifest, some, seed=0, steps=STEPS)
    assert np.isfinite(said.score).all()
    assert auroc(said.score, manifest.labels != truth) > 0.7
