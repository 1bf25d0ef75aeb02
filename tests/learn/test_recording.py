"""What was recorded is what the model said, as far as sixteen classes and half precision go."""

from __future__ import annotations

import json
import resource

import numpy as np
import pytest
import torch

from labelfix.errors import InputError
from labelfix.learn.recording import LISTED, Recording, condense
from labelfix.rundir import OutputError
from labelfix.trajectories import summarise

ROWS, PROGRESS = 40, [0.25, 0.5, 1.0]


def said(classes: int, spread: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Log-probabilities [n, E, K] and given labels [n]."""
    generator = torch.Generator().manual_seed(0)
    logits = spread * torch.randn(ROWS, len(PROGRESS), classes, generator=generator)
    labels = torch.randint(classes, (ROWS,), generator=generator)
    return torch.log_softmax(logits, dim=2).numpy(), labels.numpy().astype(np.int32)


def recorded(path, log_p: np.ndarray, labels: np.ndarray, whole_last: bool = False) -> Recording:
    recording = Recording.create(path, ROWS, log_p.shape[2], PROGRESS, whole_last, fitted_on="these")
    given = torch.from_numpy(labels.astype(np.int64))
    for epoch in range(len(PROGRESS)):
        for at in np.array_split(np.random.default_rng(epoch).permutation(ROWS), 7):
            whole = recording.wants_whole(epoch)
            recording.write(epoch, at, condense(torch.from_numpy(log_p[at, epoch]), given[at], whole))
    recording.flush()
    return Recording.open(path)


@pytest.mark.parametrize("classes", [2, 10, LISTED + 1])
def test_up_to_seventeen_classes_all_are_recorded(classes, tmp_path):
    log_p, labels = said(classes)
    recording = recorded(tmp_path / "r", log_p, labels)
    assert set(recording.files) == {"log_p", "entropy"}
    some = np.array([5, 3, 30])
    np.testing.assert_allclose(
        recording.log_p(some, labels[some]), np.maximum(log_p[some], -20), rtol=1e-3, atol=1e-6
    )


@pytest.mark.parametrize("classes", [LISTED + 2, 100])
def test_of_many_classes_the_given_and_the_sixteen_likeliest_are_exact_and_the_rest_share(classes, tmp_path):
    log_p, labels = said(classes)
    recording = recorded(tmp_path / "r", log_p, labels)
    found = recording.log_p(np.arange(ROWS), labels)
    np.testing.assert_allclose(np.exp(found).sum(axis=2), 1.0, atol=2e-3)
    for row, label in enumerate(labels):
        for epoch in range(len(PROGRESS)):
            order = [k for k in np.argsort(-log_p[row, epoch]) if k != label]
            listed, rest = [label, *order[:LISTED]], order[LISTED:]
            exact = log_p[row, epoch, listed]
            np.testing.assert_allclose(found[row, epoch, listed], exact, rtol=1e-3, atol=1e-6)
            share = np.log(np.exp(log_p[row, epoch, rest]).mean())
            np.testing.assert_allclose(found[row, epoch, rest], share, rtol=2e-3)


@pytest.mark.parametrize("classes", [10, 100])
def test_loss_margin_and_entropy_of_likely_candidates_are_those_of_the_whole_distribution(classes, tmp_path):
    log_p, labels = said(classes)
    recording = recorded(tmp_path / "r", log_p, labels)
    at = np.arange(ROWS)
    likely = np.argsort(-log_p.mean(axis=1), axis=1)[:, :5]
    candidates = np.concatenate([labels[:, None], likely], axis=1).astype(np.int32)
    expected = summarise(log_p, candidates)
    found = summarise(recording.log_p(at, labels), candidates, recording.entropy(at))
    np.testing.assert_allclose(found.loss, expected.loss, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(found.entropy, expected.entropy, atol=1e-3)
    np.testing.assert_allclose(found.margin[:, :, 0], expected.margin[:, :, 0], atol=0.02)


def test_of_the_last_epoch_all_log_probabilities_are_kept_where_asked_for(tmp_path):
    log_p, labels = said(100)
    recording = recorded(tmp_path / "r", log_p, labels, whole_last=True)
    found = recording.log_p(np.arange(ROWS), labels)
    np.testing.assert_allclose(found[:, -1], np.maximum(log_p[:, -1], -20), rtol=1e-3, atol=1e-6)
    assert np.abs(found[:, 0] - log_p[:, 0]).max() > 0.5


def test_certainty_is_recorded_without_infinities(tmp_path):
    log_p, labels = said(100, spread=1000.0)
    recording = recorded(tmp_path / "r", log_p, labels)
    found = recording.log_p(np.arange(ROWS), labels)
    assert np.isfinite(found).all()
    assert (recording.entropy(np.arange(ROWS)) >= 0).all()


def test_the_files_are_as_large_as_their_description_says(tmp_path):
    recorded(tmp_path / "r", *said(100))
    sizes = {path.stem: path.stat().st_size - 128 for path in (tmp_path / "r").glob("*.npy")}
    cells = ROWS * len(PROGRESS)
    assert sizes == {"log_p": cells * 18 * 2, "others": cells * 16 * 4, "entropy": cells * 2}


def test_a_newer_or_damaged_recording_is_refused(tmp_path):
    path = tmp_path / "r"
    recorded(path, *said(10))
    about = json.loads((path / "about.json").read_text(encoding="utf-8"))
    (path / "about.json").write_text(json.dumps(about | {"version": 99}), encoding="utf-8")
    with pytest.raises(InputError, match="recorded by a newer labelfix"):
        Recording.open(path)
    (path / "about.json").write_text(json.dumps(about), encoding="utf-8")
    (path / "log_p.npy").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"r: what training recorded cannot be read .* scan again"):
        Recording.open(path)


def test_a_disk_without_room_is_said_before_anything_is_recorded(tmp_path):
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))
    try:
        with pytest.raises(OutputError, match="the disk is full"):
            Recording.create(tmp_path / "r", 10_000, 10, PROGRESS, whole_last=False)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert not (tmp_path / "r").exists()
