"""The whole loop against a real FiftyOne database."""

from __future__ import annotations

import pytest

import labelfix
from labelfix.exporters.selecting import Selection
from labelfix.exporting import Serving, push

pytestmark = [pytest.mark.live, pytest.mark.timeout(900)]

ROWS = 300
TOP = Selection(top=ROWS)


@pytest.fixture
def fo(monkeypatch):
    monkeypatch.setenv("FIFTYONE_DO_NOT_TRACK", "true")
    import fiftyone

    for name in ("live-loop", "live-files"):
        if fiftyone.dataset_exists(name):
            fiftyone.delete_dataset(name)
    yield fiftyone
    for name in ("live-loop", "live-files"):
        if fiftyone.dataset_exists(name):
            fiftyone.delete_dataset(name)


def test_rows_go_out_in_order_are_answered_and_come_back_whole(fo, clothing_run, truth, tmp_path):
    from labelfix_fiftyone import FiftyOneServer

    assert push(clothing_run, "fiftyone", "local", "live-loop", TOP, Serving()) == (ROWS, ROWS)
    dataset = fo.load_dataset("live-loop")
    lost = dataset.values("id")[ROWS // 2 :]
    dataset.delete_samples(lost)  # as if the first push had died half-way
    assert push(clothing_run, "fiftyone", "local", "live-loop", TOP, Serving()) == (ROWS, len(lost))
    assert push(clothing_run, "fiftyone", "local", "live-loop", TOP, Serving()) == (ROWS, 0)
    dataset = fo.load_dataset("live-loop")
    assert dataset.values("position") == list(range(1, ROWS + 1))
    suspicion = dataset.values("suspicion")
    assert suspicion == sorted(suspicion, reverse=True)
    for sample in dataset.iter_samples(autosave=True):
        sample["answer"] = fo.Classification(label=truth[sample.sample_id])
    answers = FiftyOneServer().pull("local", "live-loop", tmp_path / "answers")
    merged = labelfix.merge(clothing_run, answers, tmp_path / "fixed.csv")
    assert sum(merged.decisions.values()) == ROWS
    fixed = labelfix.read(tmp_path / "fixed.csv", with_images=False)
    for id_, label, trusted in zip(fixed.ids, fixed.labels, fixed.trusted, strict=True):
        assert not trusted or fixed.classes[label] == truth[id_]
    assert int(fixed.trusted.sum()) == ROWS


def test_the_exported_directory_loads_and_an_exported_field_merges(fo, clothing_run, truth, tmp_path):
    kind = fo.types.FiftyOneImageClassificationDataset
    labelfix.export(clothing_run, "fiftyone", tmp_path / "queue", top=20)
    dataset = fo.Dataset.from_dir(
        str(tmp_path / "queue"), dataset_type=kind, label_field="given", name="live-files"
    )
    suspicion = [sample.given["suspicion"] for sample in dataset]
    assert suspicion == sorted(suspicion, reverse=True)
    for sample in list(dataset)[::2]:
        sample["answer"] = fo.Classification(label=truth[sample.given["sample_id"]])
        sample.save()
    dataset.export(export_dir=str(tmp_path / "back"), dataset_type=kind, label_field="answer")
    merged = labelfix.merge(clothing_run, tmp_path / "back", tmp_path / "fixed.csv")
    assert (sum(merged.decisions.values()), merged.open) == (10, 10)
