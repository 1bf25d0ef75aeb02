"""What holds for every corrector: it finds a planted error, keeps its state, and normalises by no batch."""

from __future__ import annotations

import numpy as np
import pytest

from labelfix import plugins
from labelfix.correctors.level import fit_level, with_suspicion
from labelfix.findings import SOFT, State
from labelfix.learn import kernel, neighbours, probe
from labelfix.learn.features import Features
from labelfix.learn.recipe import Recipe
from labelfix.learn.replay import Replay
from labelfix.progress import Silent

CORRECTORS = sorted(plugins.names("correctors"))
ODD = 17
"""The row whose label was planted."""


def evidence(classes: int = 4, rows: int = 200, seed: int = 0) -> Replay:
    rng = np.random.default_rng(seed)
    truth = (np.arange(rows) % classes).astype(np.int32)
    x = 3 * rng.normal(size=(classes, 24))[truth] + rng.normal(size=(rows, 24))
    labels = truth.copy()
    labels[ODD] = (labels[ODD] + 1) % classes
    features, at, recipe = Features.from_array(x.astype(np.float32)), np.arange(rows), Recipe()
    keys = rng.integers(0, 256, (rows, 16), dtype=np.uint8)
    found = neighbours.find(features, at, keys, None, recipe.neighbours, recipe.seed)
    folds = probe.assign_folds(found.component, keys, recipe.folds)
    heads = probe.train(features, at, labels, folds, classes, recipe, "test", Silent())
    second = kernel.fit(features, at, labels, folds, heads, Silent())
    return Replay(at, labels, classes, "test", folds, features, heads, found, kernel=second)


@pytest.fixture(scope="module", params=[4, 20], ids=["4 classes", "20 classes"])
def data(request) -> Replay:
    return evidence(request.param)


@pytest.fixture(params=CORRECTORS)
def corrector(request):
    return plugins.load("correctors", request.param)()


def scored(corrector, state: State, data: Replay) -> tuple[np.ndarray, np.ndarray]:
    parts = [(chunk.rows, corrector.score(state, chunk).score) for chunk in data.chunks()]
    return np.concatenate([rows for rows, _ in parts]), np.concatenate([score for _, score in parts])


def test_a_planted_error_is_ranked_first(corrector, data):
    rows, score = scored(corrector, corrector.fit(data), data)
    assert rows[score.argmax()] == ODD


def test_the_class_it_was_taken_from_is_suggested(corrector, data):
    state = corrector.fit(data)
    for chunk in data.chunks():
        if ODD in chunk.rows:
            suggested, _ = corrector.score(state, chunk).suggested(chunk.labels)
            assert suggested[list(chunk.rows).index(ODD)] == ODD % data.classes


def test_soft_labels_descend_and_leave_the_rest_to_classes_not_listed(corrector, data):
    state = corrector.fit(data)
    for chunk in data.chunks():
        found = corrector.score(state, chunk)
        assert found.p.shape[1] <= SOFT
        assert (np.diff(found.p, axis=1) <= 0).all()
        assert (found.p >= 0).all()
        total = found.p.sum(axis=1)
        assert (total <= 1 + 1e-5).all()
        if data.classes == found.p.shape[1]:
            np.testing.assert_allclose(total, 1, atol=1e-5)
        assert all(len(set(row)) == len(row) for row in found.classes.tolist())


def test_a_saved_state_gives_the_same_scores(corrector, data, tmp_path):
    state = corrector.fit(data)
    state.save(tmp_path / "state.safetensors")
    loaded = State.load(tmp_path / "state.safetensors")
    np.testing.assert_array_equal(scored(corrector, loaded, data)[1], scored(corrector, state, data)[1])
    assert loaded.fitted_on == data.fitted_on


def test_a_row_scored_alone_gets_the_score_it_gets_among_others(corrector, data):
    state = corrector.fit(data)
    chunk = next(iter(data.chunks()))
    together = corrector.score(state, chunk).score
    for at in (0, len(chunk) - 1):
        alone = corrector.score(state, chunk.take(np.array([at]))).score
        np.testing.assert_allclose(alone, together[at], rtol=1e-4, atol=1e-5)


def test_a_level_turns_any_score_into_a_probability_in_the_same_order(corrector, data):
    state = fit_level(corrector, corrector.fit(data), data)
    for chunk in data.chunks():
        raw = corrector.score(state, chunk)
        found = with_suspicion(raw, state, chunk)
        assert ((found.suspicion >= 0) & (found.suspicion <= 1)).all()
        assert (np.diff(found.suspicion[np.argsort(raw.score, kind="stable")]) >= -1e-6).all()
        np.testing.assert_allclose(found.p_of(chunk.labels), 1 - found.suspicion, atol=1e-6)
        assert (found.p.sum(axis=1) <= 1 + 1e-5).all()
