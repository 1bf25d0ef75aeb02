"""A run becomes one file that judges later batches as the run does."""

from __future__ import annotations

import numpy as np
import pytest

import labelfix
from labelfix.cli import run as command
from labelfix.errors import InputError, UsageError
from labelfix.exporters.reference import ReferenceExporter
from labelfix.gatekeeping import Setting
from labelfix.reference import Reference


@pytest.fixture
def scanned(plant):
    """A scan of 200 points in clouds, with groups."""
    planted = plant(rows=200, wrong=10, width=24)
    manifest = labelfix.read(planted.path / "m.csv", with_images=False)
    out = planted.path / "run"
    labelfix.scan(manifest, out=out, features=str(planted.path / "x.npy"))
    return out


def test_the_file_holds_what_the_run_holds(scanned, tmp_path, capsys):
    out = tmp_path / "r.safetensors"
    assert command(["export", str(scanned), "--to", "reference", "-o", str(out)]) == 0
    assert str(out) in capsys.readouterr().out
    one, other = Reference.load(scanned), Reference.load(out)
    assert one.classes == other.classes
    assert list(one.states) == list(other.states) == ["tmlc", "cleanlab"]
    assert (one.ids == other.ids).all()
    for name in ("keys", "folds", "labels", "component", "vectors"):
        assert (getattr(one.known, name) == getattr(other.known, name)).all()
    assert (one.known.heads.weight == other.known.heads.weight).all()
    for name in ("landmarks", "weight", "bias", "mean", "directions"):
        assert (getattr(one.known.kernel, name) == getattr(other.known.kernel, name)).all()
    assert np.array_equal(one.behaviour.suspicion, other.behaviour.suspicion)
    assert one.about == other.about


def test_a_run_whose_second_learner_is_that_of_other_rows_is_refused(scanned, plant):
    other = plant(rows=150, wrong=5, width=24)
    labelfix.scan(
        labelfix.read(other.path / "m.csv", with_images=False), out=other.path / "other",
        features=str(other.path / "x.npy"),
    )  # fmt: skip
    (other.path / "other" / "kernel.safetensors").replace(scanned / "kernel.safetensors")
    with pytest.raises(InputError, match="its files are of different scans; scan again"):
        Reference.load(scanned)


def test_a_run_that_lost_its_second_learner_is_refused(scanned):
    (scanned / "kernel.safetensors").unlink()
    with pytest.raises(InputError, match=r"kernel\.safetensors: the saved kernel regression cannot be read"):
        Reference.load(scanned)


def test_two_exports_are_the_same_bytes(scanned, tmp_path):
    for name in ("a", "b"):
        ReferenceExporter().export(scanned, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_what_cannot_be_exported_says_why(scanned, tmp_path, capsys):
    with pytest.raises(UsageError, match="run directory"):
        ReferenceExporter().export(scanned / "run.json", tmp_path / "r")
    with pytest.raises(UsageError, match="--to reference exports the run as a whole; leave the options"):
        labelfix.export(scanned, "reference", tmp_path / "r", top=3)
    assert command(["export", str(scanned), "--to", "refrence", "-o", str(tmp_path / "r")]) == 2
    assert "did you mean 'reference'" in capsys.readouterr().err


def test_given_probabilities_count_at_the_gate_beside_features(plant, tmp_path):
    planted = plant(rows=300, wrong=15, width=24, classes=3)
    p = np.full((300, 3), 0.05) + 0.85 * np.eye(3)[planted.truth]
    np.save(tmp_path / "p.npy", (p / p.sum(axis=1, keepdims=True)).astype(np.float32))
    brought = {"features": str(planted.path / "x.npy"), "pred_probs": str(tmp_path / "p.npy")}
    labelfix.scan(planted.path / "m.csv", correctors=["cleanlab"], out=tmp_path / "run", **brought)
    rest = {"setting": Setting(**brought), "findings": tmp_path / "found.parquet"}
    labelfix.gate(planted.path / "m.csv", tmp_path / "run", **rest)
    one, two = (labelfix.Findings.read(tmp_path / name) for name in ("run", "found.parquet"))
    np.testing.assert_allclose(one.column("cleanlab.score"), two.column("cleanlab.score"), atol=1e-6)
    assert (one.column("cleanlab.is_issue") == two.column("cleanlab.is_issue")).all()


def test_probabilities_alone_make_a_reference_too(plant, tmp_path):
    planted = plant(rows=300, wrong=15, classes=3)
    p = np.full((300, 3), 0.05) + 0.85 * np.eye(3)[planted.truth]
    np.save(tmp_path / "p.npy", (p / p.sum(axis=1, keepdims=True)).astype(np.float32))
    manifest = labelfix.read(planted.path / "m.csv", with_images=False)
    labelfix.scan(manifest, out=tmp_path / "run", pred_probs=str(tmp_path / "p.npy"))
    ReferenceExporter().export(tmp_path / "run", tmp_path / "r")
    held = Reference.load(tmp_path / "r")
    assert held.known is None
    setting = Setting(pred_probs=str(tmp_path / "p.npy"))
    verdict = labelfix.gate(planted.path / "m.csv", tmp_path / "r", setting=setting)
    assert {one.row for one in verdict.findings} >= set(np.flatnonzero(planted.wrong))
