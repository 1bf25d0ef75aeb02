"""The cleanlab corrector says what cleanlab says, on rows seen or unseen."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from cleanlab.experimental.label_issues_batched import find_label_issues_batched
from cleanlab.filter import find_label_issues
from cleanlab.rank import get_label_quality_scores

from labelfix.correctors import confident
from labelfix.correctors.confident import ConfidentLearning
from labelfix.findings import State
from labelfix.learn.replay import Replay


def evidence(seed: int, rows: int = 400, classes: int = 5, sharpness: float = 2.0) -> Replay:
    """Probabilities as a decent model gives them, and labels of which a tenth is wrong."""
    rng = np.random.default_rng(seed)
    truth = np.minimum(rng.geometric(0.4, rows) - 1, classes - 1)  # rare classes, too
    logits = rng.normal(size=(rows, classes)) + sharpness * np.eye(classes)[truth]
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    labels = np.where(rng.random(rows) < 0.1, rng.integers(0, classes, rows), truth).astype(np.int32)
    labels[:classes] = np.arange(classes)  # every class has a row
    return Replay(np.arange(rows), labels, classes, "test", given=p.astype(np.float32))


def judged(data: Replay, state: State | None = None):
    corrector = ConfidentLearning()
    state = corrector.fit(data) if state is None else state
    (chunk,) = data.chunks()
    return chunk, corrector.score(state, chunk)


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize(("classes", "sharpness"), [(2, 1.0), (5, 2.0), (5, 0.3), (30, 3.0)])
def test_issues_are_those_of_cleanlabs_filter(seed, classes, sharpness):
    data = evidence(seed, classes=classes, sharpness=sharpness)
    chunk, found = judged(data)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = find_label_issues(chunk.labels, chunk.probabilities, n_jobs=1)
    assert expected.any()
    np.testing.assert_array_equal(found.is_issue, expected)


def test_scores_are_one_minus_self_confidence():
    chunk, found = judged(evidence(0))
    expected = 1 - get_label_quality_scores(chunk.labels, chunk.probabilities, method="self_confidence")
    np.testing.assert_allclose(found.score, expected, atol=1e-6)


@pytest.mark.parametrize("seed", range(5))
def test_above_the_dense_limit_issues_are_those_of_cleanlabs_batched_filter(seed, monkeypatch):
    monkeypatch.setattr(confident, "DENSE_BYTES", 0)
    data = evidence(seed)
    chunk, found = judged(data)
    expected = find_label_issues_batched(
        labels=chunk.labels, pred_probs=chunk.probabilities, batch_size=len(data), verbose=False, n_jobs=1
    )
    assert len(expected)
    np.testing.assert_array_equal(np.flatnonzero(found.is_issue), np.sort(expected))


@pytest.mark.parametrize("limit", [0, confident.DENSE_BYTES])
def test_a_state_that_was_saved_scores_the_same_and_unseen_rows_alone(limit, tmp_path, monkeypatch):
    monkeypatch.setattr(confident, "DENSE_BYTES", limit)
    data = evidence(1)
    state = ConfidentLearning().fit(data)
    state.save(tmp_path / "cleanlab.safetensors")
    loaded = State.load(tmp_path / "cleanlab.safetensors")
    assert loaded.fitted_on == "test"
    _, before = judged(data, state)
    _, after = judged(data, loaded)
    for name in ("score", "classes", "p", "is_issue"):
        np.testing.assert_array_equal(getattr(before, name), getattr(after, name))
    few = np.flatnonzero(before.is_issue)[:3]
    one = Replay(np.arange(3), data.labels[few], data.classes, "unseen", given=data.given[few])
    assert judged(one, loaded)[1].is_issue.all()  # judged by the reference, not by each other
