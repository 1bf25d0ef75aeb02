"""Findings: what is written is what is read, and soft labels are distributions over all classes."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelfix.errors import InputError
from labelfix.findings import SCHEMA, SOFT_LABEL, Correction, Findings, State, conflicting

CLASSES = ["bird", "cat", "dog", "eel"]


def findings() -> Findings:
    soft = [
        [{"label": "cat", "p": 0.7}, {"label": "dog", "p": 0.2}],
        None,
        [{"label": "eel", "p": 1.0}],
        None,
    ]
    table = pa.table(
        {
            "id": ["a", "b", "c", "d"],
            "label": ["dog", "cat", "eel", None],
            "suspicion": pa.array([0.8, None, 0.0, None], pa.float32()),
            "rank": pa.array([1, None, 2, None], pa.int32()),
            "soft_label": pa.array(soft, SOFT_LABEL),
            "soft_label_other": pa.array([0.1, None, 0.0, None], pa.float32()),
            "status": ["scored", "unreadable", "scored", "unlabelled"],
        }
    )
    return Findings(table, {"schema": SCHEMA, "classes": CLASSES, "correctors": ["tmlc"]})


def test_what_is_not_listed_is_shared_by_the_classes_not_listed():
    np.testing.assert_allclose(findings().soft_labels()[0], [0.05, 0.7, 0.2, 0.05], atol=1e-6)


def test_a_row_without_an_opinion_keeps_its_label_and_one_without_a_label_has_none():
    soft = findings().soft_labels()
    assert soft[1].tolist() == [0, 1, 0, 0]
    assert soft[2].tolist() == [0, 0, 0, 1]
    assert soft[3].tolist() == [0, 0, 0, 0]


def test_soft_labels_of_many_chunks_are_those_of_one():
    whole = findings()
    parts = pa.concat_tables([whole.table.slice(i, 1) for i in range(4)])
    np.testing.assert_array_equal(Findings(parts, whole.meta).soft_labels(), whole.soft_labels())


def test_the_most_suspicious_come_by_rank_and_only_if_ranked():
    assert findings().most_suspicious(10)["id"].tolist() == ["a", "c"]
    assert findings().most_suspicious(1)["id"].tolist() == ["a"]
    assert findings().order().tolist() == [0, 2]


def test_findings_survive_writing_and_reading(tmp_path):
    findings().write(tmp_path / "findings.parquet")
    for path in (tmp_path, tmp_path / "findings.parquet", str(tmp_path)):
        found = Findings.read(path)
        assert found.table.equals(findings().table)
        assert found.meta == findings().meta
        assert found.classes == tuple(CLASSES)


def test_findings_of_a_newer_version_are_refused(tmp_path):
    newer = Findings(findings().table, {**findings().meta, "schema": SCHEMA + 1})
    newer.write(tmp_path / "findings.parquet")
    with pytest.raises(
        InputError, match=rf"newer labelfix \(schema {SCHEMA + 1}, this one reads up to {SCHEMA}\)"
    ):
        Findings.read(tmp_path)


def test_a_file_that_holds_no_findings_is_named(tmp_path):
    with pytest.raises(InputError, match="no findings there; run `labelfix scan` first"):
        Findings.read(tmp_path)
    pq.write_table(pa.table({"a": [1]}), tmp_path / "findings.parquet")
    with pytest.raises(InputError, match="not a findings file"):
        Findings.read(tmp_path)
    (tmp_path / "findings.parquet").write_bytes(b"PAR1")
    with pytest.raises(InputError, match="not a findings file, or a damaged one"):
        Findings.read(tmp_path)


def test_the_suggestion_is_never_the_given_class():
    correction = Correction(
        "x",
        np.zeros(2, np.float32),
        np.array([[3, 1, 0], [2, 0, 1]], np.int32),
        np.array([[0.6, 0.3, 0.1], [0.5, 0.4, 0.1]], np.float32),
    )
    given = np.array([3, 1], np.int32)
    suggested, confidence = correction.suggested(given)
    assert suggested.tolist() == [1, 2]
    np.testing.assert_allclose(confidence, [0.3, 0.5])
    np.testing.assert_allclose(correction.p_of(given), [0.6, 0.1])
    np.testing.assert_allclose(correction.p_of(np.array([2, 2], np.int32)), [0, 0.5])


def test_corrections_of_chunks_join_to_one():
    one = Correction("x", *(np.full(shape, v) for shape, v in ((2, 1.0), ((2, 3), 2), ((2, 3), 0.3))))
    joined = Correction.concatenate([one, one])
    assert joined.score.shape == (4,)
    assert joined.classes.shape == joined.p.shape == (4, 3)
    assert joined.suspicion is None


def test_a_state_survives_saving_and_a_damaged_one_is_named(tmp_path):
    state = State("x", "rows:9", {"a": np.arange(6).reshape(2, 3).T}, {"cut": 0.5, "names": ["u", "v"]})
    state.save(tmp_path / "x.safetensors")
    loaded = State.load(tmp_path / "x.safetensors")
    assert (loaded.corrector, loaded.fitted_on, loaded.settings) == ("x", "rows:9", state.settings)
    np.testing.assert_array_equal(loaded.arrays["a"], state.arrays["a"])
    (tmp_path / "x.safetensors").write_bytes(json.dumps({}).encode())
    with pytest.raises(InputError, match=r"x\.safetensors: the saved state cannot be read"):
        State.load(tmp_path / "x.safetensors")


@given(st.lists(st.tuples(st.integers(-1, 3), st.integers(-1, 2)), max_size=12))
def test_rows_conflict_that_have_a_copy_with_another_label(rows):
    copies, labels = (np.array([row[side] for row in rows], np.int64) for side in (0, 1))
    expected = [
        copy >= 0 and label >= 0 and any(c == copy and 0 <= other != label for c, other in rows)
        for copy, label in rows
    ]
    assert conflicting(copies, labels).tolist() == expected
