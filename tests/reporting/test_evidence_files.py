"""Trajectories and neighbours of a few rows are read from the files of a real scan."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import labelfix
from labelfix.errors import InputError
from labelfix.reporting import histories
from labelfix.reporting.histories import NOTHING, read_histories
from labelfix.reporting.surroundings import read_surroundings


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Three classes as clouds of points, the first five rows labelled wrongly, rows in no order."""
    path = tmp_path_factory.mktemp("planted")
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 120)
    points = 4 * rng.normal(size=(3, 12))[truth] + rng.normal(size=(120, 12))
    given = np.where(np.arange(120) < 5, (truth + 1) % 3, truth)
    np.save(path / "x.npy", points.astype(np.float32))
    (path / "m.csv").write_text("id,label\n" + "".join(f"r{i},c{k}\n" for i, k in enumerate(given)))
    manifest = labelfix.read(path / "m.csv", with_images=False)
    findings = labelfix.scan(manifest, out=path / "run", features=str(path / "x.npy"))
    return path / "run", findings, points, given


def test_the_history_of_a_wrong_label_shows_the_suggestion_winning(run):
    path = run[0]
    found = read_histories(path / "trajectories.parquet", np.array([7, 2, 0]))
    assert sorted(found.rows) == [0, 2, 7]
    assert set(found.rows[0]) == {"in_sample", "out_of_fold"}
    wrong, right = found.out_of_fold(0), found.out_of_fold(7)
    assert len(wrong.given) == len(wrong.suggested) == len(found.progress["out_of_fold"])
    assert wrong.suggested[-1] > wrong.given[-1]
    assert wrong.preferred > len(wrong.given) / 2
    assert right.preferred == 0


def test_the_history_is_that_of_the_loss_in_the_file(run):
    path, _, _, _ = run
    table = pq.read_table(path / "trajectories.parquet")
    for row in (3, 99):
        history = read_histories(path / "trajectories.parquet", np.array([row])).out_of_fold(row)
        expected = np.exp(-np.array(table.column("out_of_fold.loss")[row].as_py()))
        assert history.given == pytest.approx(expected, abs=1e-4)


def test_reading_in_small_batches_changes_nothing(run, monkeypatch):
    path = run[0] / "trajectories.parquet"
    rows = np.array([118, 0, 64, 63])
    whole = read_histories(path, rows)
    monkeypatch.setattr(histories, "BATCH", 16)
    assert read_histories(path, rows) == whole


def test_a_run_that_did_not_record_the_suggestion_still_shows_the_given_label(run, tmp_path):
    table = pq.read_table(run[0] / "trajectories.parquet")
    kept = [name for name in table.column_names if "suggested" not in name]
    pq.write_table(table.select(kept), tmp_path / "t.parquet")
    history = read_histories(tmp_path / "t.parquet", np.array([0])).out_of_fold(0)
    assert history.given
    assert history.suggested == ()
    assert history.preferred == 0


def test_a_missing_file_is_nothing_and_a_damaged_or_newer_one_an_error(run, tmp_path):
    assert read_histories(tmp_path / "none.parquet", np.array([0])) == NOTHING
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and no more")
    with pytest.raises(InputError, match=r"bad\.parquet: the trajectories cannot be read"):
        read_histories(tmp_path / "bad.parquet", np.array([0]))
    text = json.dumps({"schema": 99, "progress": {}}).encode()
    pq.write_table(
        pa.table({"id": ["a"]}).replace_schema_metadata({b"labelfix": text}), tmp_path / "new.parquet"
    )
    with pytest.raises(InputError, match=r"newer labelfix \(schema 99"):
        read_histories(tmp_path / "new.parquet", np.array([0]))


def test_neighbours_are_rows_of_the_manifest_and_near(run):
    path, _, points, given = run
    found = read_surroundings(path / "neighbours.safetensors", np.arange(120))
    assert len(found) == 120
    centred = points - points.mean(axis=0)
    centred /= np.linalg.norm(centred, axis=1, keepdims=True)
    for row in (0, 50, 119):
        near = found[row]
        assert row not in near.rows
        assert list(near.similarity) == sorted(near.similarity, reverse=True)
        assert near.similarity == pytest.approx(centred[list(near.rows)] @ centred[row], abs=0.02)
    labels = [f"c{k}" for k in given]
    assert found[0].carrying(labels, labels[0]) < len(found[0].rows) / 2


def test_a_run_without_neighbours_has_none(tmp_path):
    assert read_surroundings(tmp_path / "neighbours.safetensors", np.array([0])) == {}
