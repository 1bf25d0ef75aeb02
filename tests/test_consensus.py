"""One label for each item from the findings of its answers."""

from __future__ import annotations

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelfix.consensus import items_of, write_items
from labelfix.findings import SOFT_LABEL, Findings

ROWS = [
    # id, label, suspicion, soft label
    ("x", "cat", 0.9, [("dog", 0.6), ("cat", 0.1)]),
    ("y", "dog", 0.2, [("dog", 0.8), ("cat", 0.2)]),
    ("x", "dog", 0.1, [("dog", 0.9), ("cat", 0.1)]),
    ("z", None, None, None),
    ("x", "dog", 0.2, [("dog", 0.8), ("eel", 0.2)]),
    ("y", "eel", 0.0, [("eel", 1.0)]),  # known to be right
    ("z", None, None, None),
]


def findings(rows: list[tuple]) -> Findings:
    ids, labels, suspicion, soft = zip(*rows, strict=True)
    lists = [None if one is None else [{"label": name, "p": p} for name, p in one] for one in soft]
    table = pa.table({
        "id": pa.array(ids), "image": pa.array([f"{one}.png" for one in ids]),
        "label": pa.array(labels, pa.string()), "suspicion": pa.array(suspicion, pa.float32()),
        "soft_label": pa.array(lists, SOFT_LABEL),
    })  # fmt: skip
    return Findings(table, {"classes": ["cat", "dog", "eel"], "correctors": ["tmlc"]})


def test_an_item_has_the_mean_of_its_answers_distributions() -> None:
    found = items_of(findings(ROWS)).to_pylist()
    assert [one["id"] for one in found] == ["x", "y", "z"]
    x = found[0]
    assert (x["label"], x["image"], x["answers"], x["agree"]) == ("dog", "x.png", 3, 2)
    assert x["confidence"] == pytest.approx((0.6 + 0.9 + 0.8) / 3)
    assert [pair["label"] for pair in x["soft_label"]] == ["dog", "cat", "eel"] or [
        pair["label"] for pair in x["soft_label"]
    ] == ["dog", "eel", "cat"]
    assert sum(pair["p"] for pair in x["soft_label"]) + x["soft_label_other"] == pytest.approx(1.0)


def test_an_answer_that_is_known_to_be_right_decides() -> None:
    y = items_of(findings(ROWS)).to_pylist()[1]
    assert (y["label"], y["answers"], y["agree"]) == ("eel", 2, 1)
    assert y["confidence"] > 0.999


def test_an_item_that_nobody_could_judge_has_no_label() -> None:
    z = items_of(findings(ROWS)).to_pylist()[2]
    assert (z["label"], z["confidence"], z["soft_label"], z["answers"], z["agree"]) == (
        None,
        None,
        None,
        0,
        0,
    )
    none = items_of(findings(ROWS[3:4])).to_pylist()
    assert none[0]["label"] is None


def test_the_file_names_its_version(tmp_path) -> None:
    write_items(findings(ROWS), tmp_path / "items.parquet")
    read = pq.read_table(tmp_path / "items.parquet")
    assert read.schema.metadata[b"labelfix"] == b"1"
    assert read.num_rows == 3
