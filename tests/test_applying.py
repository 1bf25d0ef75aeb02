"""Labels are replaced without review only on demand, only where it should help, and can be taken back."""

from __future__ import annotations

import json

import numpy as np
import pytest

import labelfix
from labelfix.cli import run
from labelfix.errors import InputError
from labelfix.findings import Findings


@pytest.fixture
def scanned(plant):
    data = plant(rows=240, wrong=24)
    assert run([*data.command, "-o", str(data.path / "run")]) == 0
    return data


def test_nothing_is_written_unless_asked_for(scanned, capsys):
    before = sorted(scanned.path.iterdir())
    assert run(["apply", str(scanned.path / "run")]) == 0
    assert "would be replaced" in capsys.readouterr().out
    assert sorted(scanned.path.iterdir()) == before


def test_planted_errors_are_mended_with_provenance_and_the_undo_file_restores_every_byte(scanned, capsys):
    out = scanned.path / "fixed.csv"
    done = labelfix.apply(scanned.path / "run", out, write=True)
    fixed = labelfix.read(out, with_images=False)
    fixes = Findings.read(scanned.path / "run").column("auto_fix")
    assert done.rows == fixes.sum() > 0
    labels = np.array([int(fixed.classes[k][1:]) for k in fixed.labels])
    assert (labels != scanned.truth).sum() < scanned.wrong.sum()
    assert fixed.trusted is None or not fixed.trusted.any()
    assert "replaced,labelfix" in out.read_text(encoding="utf-8")
    back = scanned.path / "back.csv"
    assert run(["apply", str(scanned.path / "run"), "--undo", str(done.undo), "-o", str(back)]) == 0
    assert back.read_bytes() == (scanned.path / "m.csv").read_bytes()


def test_a_higher_confidence_replaces_fewer(scanned):
    counts = [labelfix.apply(scanned.path / "run", min_confidence=p).rows for p in (0.0, 0.9, 1.0)]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] == 0


def test_a_changed_manifest_is_not_touched(scanned):
    manifest = scanned.path / "m.csv"
    manifest.write_text(manifest.read_text().replace("r0,c1", "r0,c2"))
    with pytest.raises(InputError, match="is not what was scanned any more"):
        labelfix.apply(scanned.path / "run", scanned.path / "fixed.csv", write=True)


def test_a_changed_result_is_not_taken_back(scanned):
    done = labelfix.apply(scanned.path / "run", scanned.path / "fixed.csv", write=True)
    kept = json.loads((scanned.path / "fixed.csv.undo.json").read_text())
    kept["ids"][0] = "another"
    (scanned.path / "fixed.csv.undo.json").write_text(json.dumps(kept))
    with pytest.raises(InputError, match="take back before it is changed"):
        from labelfix.applying import take_back

        take_back(scanned.path / "run", done.undo, scanned.path / "back.csv")
