"""Trials: rows, classes and noise come from content and given labels, never from the order of the manifest."""

from __future__ import annotations

import numpy as np
import pytest

from labelfix.benchmarking.trials import DataSet, Noise, load
from labelfix.learn.noise import FAMILIES
from labelfix.learn.recipe import Recipe
from labelfix.progress import Silent
from labelfix.readers.interface import Columns

RECIPE = Recipe(epochs=2, checkpoints=2, device="cpu")


@pytest.fixture
def opened(joined):
    def open_(hold_out: bool = True) -> DataSet:
        return load(
            joined.manifest, "label_true", ["label"], Columns(), joined.features, None, hold_out, RECIPE,
            joined.path, Silent(),
        )  # fmt: skip

    return open_


def test_about_a_fifth_is_held_out_and_in_no_trial(opened):
    data = opened()
    assert 0.15 < data.held.mean() < 0.25
    for trial in (data.labelled("label", 0), data.corrupted(Noise("pair", 0.1), 0)):
        assert not data.held[trial.rows].any()
        assert len(trial.rows) == (~data.held).sum()
    assert not opened(hold_out=False).held.any()


def test_the_order_of_the_manifest_decides_nothing(joined, opened):
    before = opened()
    trial = before.corrupted(Noise("annotators", 0.2), 3)
    order = np.random.default_rng(0).permutation(600)
    x = np.load(joined.features)[order]
    (joined.path / "x.npy").unlink()
    np.save(joined.path / "x.npy", x)
    joined.write(joined.given[order], joined.truth[order])
    after = opened()
    again = after.corrupted(Noise("annotators", 0.2), 3)
    assert (after.held == before.held[order]).all()
    assert (order[again.rows] == trial.rows).all()
    assert (again.given == trial.given).all()


@pytest.mark.parametrize("family", FAMILIES)
def test_noise_depends_on_its_seed_and_no_noise_is_the_truth(family, opened):
    data = opened()
    truth, _ = data.truth(data.manifest.classes)
    clean, one, other = (data.corrupted(Noise(family, r), s) for r, s in ((0.0, 0), (0.2, 0), (0.2, 1)))
    assert (clean.given == truth[clean.rows]).all()
    assert (one.given != truth[one.rows]).any()
    assert (one.given != other.given).any()


def test_classes_that_only_the_truth_knows_come_after_those_of_the_given_labels(joined, opened):
    truth = joined.truth.copy()
    truth[:5] = "apron"  # sorts before all others
    joined.write(joined.given, truth)
    data = opened()
    trial = data.labelled("label", 0)
    assert "apron" not in trial.classes
    numbers, count = data.truth(trial.classes)
    assert count == len(trial.classes) + 1
    assert (numbers[:5] == len(trial.classes)).all()
    same = numbers[trial.rows] == trial.given
    assert (same == (joined.given == truth)[trial.rows]).all()


def test_a_row_without_truth_is_judged_but_has_none(joined, opened):
    truth = joined.truth.copy()
    truth[:20] = ""
    joined.write(joined.given, truth)
    data = opened(hold_out=False)
    trial = data.labelled("label", 0)
    assert len(trial.rows) == 600
    numbers, _ = data.truth(trial.classes)
    assert (numbers[:20] == -1).all()
    assert len(data.corrupted(Noise("symmetric", 0.1), 0).rows) == 580


def test_neighbours_and_folds_are_found_once_and_heads_for_every_labelling(opened):
    data = opened()
    one = data.evidence(data.corrupted(Noise("symmetric", 0.3), 0), RECIPE, Silent())
    two = data.evidence(data.corrupted(Noise("pair", 0.3), 1), RECIPE, Silent())
    assert one.neighbours is two.neighbours
    assert one.folds is two.folds
    assert (one.heads.weight != two.heads.weight).any()
    assert (one.rows == two.rows).all()
