"""Kernel regression: blind to the fold it judges, sees what no line parts, and is what the formula says."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from labelfix.errors import InputError
from labelfix.learn import kernel, neighbours, probe, replay
from labelfix.learn.features import Features
from labelfix.learn.kernel import Kernel
from labelfix.learn.probe import Heads
from labelfix.learn.recipe import Recipe
from labelfix.learn.replay import Replay
from labelfix.learn.unseen import as_if_unseen, blind_reliability
from labelfix.progress import Silent

ROWS, FOLDS = 600, 5


def rings(rows: int = ROWS, width: int = 4) -> tuple[Features, np.ndarray, np.ndarray]:
    """Three classes by their distance from the middle."""
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 3, rows).astype(np.int32)
    x = rng.normal(size=(rows, width))
    x *= (labels[:, None] + 1 + rng.uniform(-0.3, 0.3, (rows, 1))) / np.linalg.norm(x, axis=1, keepdims=True)
    return Features.from_array(x.astype(np.float32)), labels, (np.arange(rows) % FOLDS).astype(np.int32)


def heads_of(features: Features, labels: np.ndarray, folds: np.ndarray, classes: int = 3) -> Heads:
    return probe.train(features, np.arange(len(labels)), labels, folds, classes, Recipe(), "rows", Silent())


def fitted(features: Features, labels: np.ndarray, folds: np.ndarray, classes: int = 3) -> Kernel:
    heads = heads_of(features, labels, folds, classes)
    return kernel.fit(features, np.arange(len(labels)), labels, folds, heads, Silent())


def scores(of: Kernel, features: Features, folds: np.ndarray, classes: int = 3) -> np.ndarray:
    """What each row's own regression expects of all classes [n, K]."""
    out = np.empty((len(folds), classes), np.float32)
    for fold in np.unique(folds):
        rows = np.flatnonzero(folds == fold)
        every = np.broadcast_to(np.arange(classes, dtype=np.int32), (len(rows), classes))
        out[rows] = of.scores(features.single(rows), int(fold), every)
    return out


def test_it_tells_apart_what_no_line_parts() -> None:
    features, labels, folds = rings()
    found = scores(fitted(features, labels, folds), features, folds)
    heads = heads_of(features, labels, folds)
    assert (found.argmax(axis=1) == labels).mean() > 0.9
    weight, bias = heads.out_of_fold(0)
    last = (features.single(np.arange(ROWS)) @ weight + bias)[:, -3:]
    assert (last.argmax(axis=1) == labels).mean() < 0.6


def test_scores_are_shares_and_add_up_to_one() -> None:
    features, labels, folds = rings()
    found = scores(fitted(features, labels, folds), features, folds)
    np.testing.assert_allclose(found.sum(axis=1), 1.0, atol=1e-3)
    assert found[np.arange(ROWS), labels].mean() > 0.7


def test_a_regression_does_not_depend_on_labels_of_the_fold_it_judges() -> None:
    features, labels, folds = rings()
    spoilt = np.where(folds == 2, (labels + 1) % 3, labels).astype(np.int32)
    heads, at = heads_of(features, labels, folds), np.arange(ROWS)
    one, two = (kernel.fit(features, at, given, folds, heads, Silent()) for given in (labels, spoilt))
    np.testing.assert_allclose(one.bias[2], two.bias[2])
    before, after = (scores(of, features, np.full(ROWS, 2)) for of in (one, two))
    np.testing.assert_allclose(before, after, atol=1e-3)
    assert (
        np.abs(scores(one, features, np.zeros(ROWS, int)) - scores(two, features, np.zeros(ROWS, int))).max()
        > 0.1
    )


def test_it_is_kernel_ridge_regression(monkeypatch: pytest.MonkeyPatch) -> None:
    """With all rows for landmarks: (K + λ n I)⁻¹ y on the rows of other folds, as textbooks have it."""
    monkeypatch.setattr(kernel, "SHRINKAGE", (1e-3,))
    monkeypatch.setattr(kernel, "JITTER", 1e-6)
    features, labels, folds = rings(200)
    heads, at = heads_of(features, labels, folds), np.arange(200)
    found = scores(kernel.fit(features, at, labels, folds, heads, Silent()), features, folds)
    x = ((features.single(at) - heads.mean) / heads.scale).astype(np.float16).astype(np.float64)
    apart = ((x[:, None] - x[None]) ** 2).sum(axis=2)
    near, given = np.exp(-apart / (4 * x.shape[1])), np.eye(3)[labels]
    for fold in range(FOLDS):
        own, rest = folds == fold, folds != fold
        share = given[rest].mean(axis=0)
        penalty = 1e-3 * rest.sum() * np.eye(rest.sum())
        expected = (
            near[own][:, rest] @ np.linalg.solve(near[rest][:, rest] + penalty, given[rest] - share) + share
        )
        np.testing.assert_allclose(found[own], expected, atol=0.02)


def test_more_noise_is_shrunk_more(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels, folds = rings()
    noise = np.random.default_rng(1).integers(0, 3, ROWS).astype(np.int32)
    assert scores(fitted(features, labels, folds), features, folds).std() > 0.25
    assert scores(fitted(features, noise, folds), features, folds).std() < 0.1


def test_landmarks_and_rows_learnt_from_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(kernel, "LANDMARKS", 50)
    monkeypatch.setattr(kernel, "MOST_LANDMARKS", 50)
    monkeypatch.setattr(kernel, "TAUGHT", 300)
    features, labels, folds = rings()
    found = fitted(features, labels, folds)
    assert found.landmarks.shape == (50, 4)
    assert found.weight.shape == (FOLDS, 50, 3)
    assert (scores(found, features, folds).argmax(axis=1) == labels).mean() > 0.8


def test_folds_without_rows_and_classes_with_one_row_are_no_obstacle() -> None:
    features, labels, _ = rings(12)
    labels[:] = 0
    labels[3] = 2
    found = scores(fitted(features, labels, np.zeros(12, np.int32)), features, np.zeros(12, np.int32))
    assert np.isfinite(found).all()


def test_it_survives_saving_and_a_damaged_file_is_named(tmp_path: Path) -> None:
    features, labels, folds = rings()
    found = fitted(features, labels, folds)
    found.save(tmp_path / "kernel.safetensors")
    loaded = Kernel.load(tmp_path / "kernel.safetensors")
    assert loaded.fitted_on == "rows"
    np.testing.assert_array_equal(scores(loaded, features, folds), scores(found, features, folds))
    (tmp_path / "kernel.safetensors").write_bytes(b"nothing")
    with pytest.raises(InputError, match="kernel regression cannot be read"):
        Kernel.load(tmp_path / "kernel.safetensors")


def test_evidence_of_training_rows_and_of_the_same_rows_unseen_agree() -> None:
    features, labels, folds = rings()
    keys = np.random.default_rng(2).integers(0, 256, (ROWS, 16), dtype=np.uint8)
    at, heads = np.arange(ROWS), heads_of(features, labels, folds)
    near = neighbours.find(features, at, keys, None, 10, 0)
    second = kernel.fit(features, at, labels, folds, heads, Silent())
    seen = Replay(at, labels, 3, "rows", folds, features, heads, near, kernel=second)
    reliability = blind_reliability(heads, features, at, labels, None, Recipe())
    unseen, _ = as_if_unseen(seen, reliability, ROWS)
    assert "kernel" in seen.present
    assert "kernel" in unseen.present
    assert "kernel" not in replace(seen, kernel=None).present
    expected = scores(second, features, folds)
    for evidence in (seen, unseen):
        for chunk in evidence.chunks():
            own = np.take_along_axis(expected[chunk.rows], chunk.candidates, axis=1)
            np.testing.assert_allclose(chunk.kernel, own, atol=1e-5)
            column = np.full(len(chunk), 2)
            other = chunk.relabelled(column)
            own = np.take_along_axis(expected[chunk.rows], other.candidates, axis=1)
            np.testing.assert_allclose(other.kernel, own, atol=1e-5)
            np.testing.assert_allclose(other.kernel[:, 0], chunk.kernel[:, 2])


def test_far_outliers_and_copies_of_them_are_no_obstacle() -> None:
    features, labels, folds = rings()
    x = features.single(np.arange(ROWS)).copy()
    x[:2], x[2:4] = x[:1] * 1e4, -x[:1] * 1e4
    spoilt = Features.from_array(x)
    found = fitted(spoilt, labels, folds)
    assert np.abs(found.landmarks[:4]).max() > 10
    assert np.isfinite(scores(found, spoilt, folds)).all()


def test_large_data_hear_it_once(monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels, folds = rings()
    at, heads, asked = np.arange(ROWS), heads_of(features, labels, folds), []
    second = kernel.fit(features, at, labels, folds, heads, Silent())
    kept = Replay(at, labels, 3, "rows", folds, features, heads, kernel=second)
    whole = [chunk.kernel for chunk in kept.chunks()]
    monkeypatch.setattr(replay, "KEEP_BYTES", 0)
    plain = Kernel.scores
    monkeypatch.setattr(Kernel, "scores", lambda *given: asked.append(len(given[1])) or plain(*given))
    large = Replay(at, labels, 3, "rows", folds, features, heads, kernel=second)
    large.sample(100)
    for _ in range(3):
        for chunk, expected in zip(large.chunks(), whole, strict=True):
            np.testing.assert_array_equal(chunk.kernel, expected)
    assert sum(asked) == 100 + ROWS
    other = np.where(labels == 0, 1, labels).astype(np.int32)
    relabelled = replace(large, labels=other)  # its candidates are others
    for chunk in relabelled.chunks():
        own = np.take_along_axis(scores(second, features, folds)[chunk.rows], chunk.candidates, axis=1)
        np.testing.assert_allclose(chunk.kernel, own, atol=1e-5)


def test_what_lies_beyond_the_leading_components_is_not_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """Distances are those along the components, in units of two rows' distance in all directions."""
    monkeypatch.setattr(kernel, "COMPONENTS", 2)
    features, labels, folds = rings(width=6)
    found = fitted(features, labels, folds)
    assert found.directions.shape == (6, 2)
    heads, x = heads_of(features, labels, folds), features.single(np.arange(ROWS))
    standardised = (x - heads.mean) / heads.scale
    leading = np.linalg.eigh(standardised.T @ standardised)[1][:, -2:]
    some = kernel.seen(x[:50], found.mean, found.directions)
    within = (standardised[:50] @ leading) * np.sqrt(2 / (standardised**2).sum(axis=1).mean())
    apart = ((within[:, None] - within[None]) ** 2).sum(axis=2)
    np.testing.assert_allclose(kernel.similarity(some, some), np.exp(-apart / 8), atol=1e-4)
