"""Parquet: embedded images, declared classes, shards."""

from __future__ import annotations

import json
import os
import pickle
from multiprocessing import get_context
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import labelfix
from labelfix.errors import ImageUnreadable, InputError
from labelfix.manifest import Images
from labelfix.readers import images as images_module

HF_IMAGE = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def hugging_face(
    path: Path, labels: list[int], names: list[str], images: list[dict[str, object]] | None = None
) -> Path:
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": names}}
    rows = images or [{"bytes": b"%d" % i, "path": f"{i}.png"} for i in range(len(labels))]
    table = pa.table({"image": pa.array(rows, HF_IMAGE), "label": pa.array(labels, pa.int64())})
    meta = {"huggingface": json.dumps({"info": {"features": features}})}
    pq.write_table(table.replace_schema_metadata(meta), path)
    return path


def test_embedded_bytes_are_read_lazily_in_any_order(embedded: Path) -> None:
    manifest = labelfix.read(embedded)
    assert manifest.columns == {"image": "image", "label": "label"}
    stored = pq.read_table(embedded).column("image").to_pylist()
    assert manifest.images is not None
    assert [manifest.images.read(i) for i in (5, 0, 3, 2, 1, 4)] == [stored[i] for i in (5, 0, 3, 2, 1, 4)]
    assert manifest.image_names == [f"embedded.parquet#{i}" for i in range(6)] == manifest.ids.tolist()


def test_large_row_groups_pass_by_in_batches(embedded: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images_module, "WHOLE", 1)
    monkeypatch.setattr(images_module, "BATCH", 1)
    images = labelfix.read(embedded).images
    stored = pq.read_table(embedded).column("image").to_pylist()
    assert images is not None
    order = [0, 1, 2, 3, 4, 5, 5, 1, 0, 4, 2, 3]
    assert [images.read(i) for i in order] == [stored[i] for i in order]


def test_a_struct_of_bytes_and_path_with_a_schema_gives_declared_class_names(tmp_path: Path) -> None:
    source = hugging_face(tmp_path / "m.parquet", [2, 0, -1, 2], ["zebra", "never", "ant"])
    manifest = labelfix.read(source)
    assert manifest.classes == ("zebra", "ant")
    assert manifest.labels.tolist() == [1, 0, -1, 1]
    assert manifest.images is not None
    assert manifest.images.read(3) == b"3"


def test_a_struct_without_bytes_falls_back_to_its_paths(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"one")
    rows: list[dict[str, object]] = [{"bytes": None, "path": "1.png"}, {"bytes": None, "path": "2.png"}]
    manifest = labelfix.read(hugging_face(tmp_path / "m.parquet", [0, 1], ["a", "b"], rows))
    assert manifest.image_names == ["1.png", "2.png"]
    assert manifest.images is not None
    assert manifest.images.read(0) == b"one"


def test_a_class_number_that_is_not_declared_names_its_row(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"m\.parquet: row 1 .*'label' is 7, but the file declares classes 0 to 1"
    ):
        labelfix.read(hugging_face(tmp_path / "m.parquet", [0, 7], ["a", "b"]))


def test_null_and_empty_images_stay_rows_with_a_reason(tmp_path: Path) -> None:
    pq.write_table(pa.table({"img": [b"1", None, b""], "label": ["a", "b", "a"]}), tmp_path / "m.parquet")
    images = labelfix.read(tmp_path / "m.parquet").images
    assert images is not None
    for row, reason in [(1, "null"), (2, "0 bytes")]:
        with pytest.raises(ImageUnreadable, match=reason):
            images.read(row)


def test_bytes_win_over_a_path_column(tmp_path: Path) -> None:
    table = pa.table({"path": ["../x", "../y"], "photo": [b"1", b"2"], "label": ["a", "b"]})
    pq.write_table(table, tmp_path / "m.parquet")
    assert labelfix.read(tmp_path / "m.parquet").columns["image"] == "photo"


@pytest.mark.parametrize(
    "source", ["", "/*.parquet", "/part-*"], ids=["directory", "pattern", "open-pattern"]
)
def test_shards_are_read_as_one_table_in_the_order_of_their_names(tmp_path: Path, source: str) -> None:
    for shard in (1, 0, 2):
        rows = pa.table({"image": [b"%d" % shard] * 2, "label": pa.array([shard, 0], pa.int32())})
        if shard == 2:
            rows = rows.set_column(1, "label", rows.column("label").cast(pa.int64()))
        pq.write_table(rows, tmp_path / f"part-{shard}.parquet")
    (tmp_path / "README.md").touch()
    manifest = labelfix.read(f"{tmp_path}{source}")
    assert manifest.classes == ("0", "1", "2")
    assert manifest.labels.tolist() == [0, 0, 1, 0, 2, 0]
    assert manifest.images is not None
    assert [manifest.images.read(i) for i in range(6)] == [b"0", b"0", b"1", b"1", b"2", b"2"]
    assert manifest.ids[3] == "part-1.parquet#1"


def test_csv_shards_name_the_file_and_row_of_an_error(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("id,label\n1,x\n2,y\n")
    (tmp_path / "b.csv").write_text("id,label\n3,x\n2,y\n")
    with pytest.raises(InputError, match=r"b\.csv: row 1 .* repeats the id '2' of .*a\.csv: row 1"):
        labelfix.read(tmp_path, with_images=False)


def read_all(images: Images) -> list[bytes]:
    return [images.read(i) for i in range(len(images))]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_worker_processes_read_the_same_bytes(embedded: Path, method: str) -> None:
    images = labelfix.read(embedded).images
    assert images is not None
    here = read_all(images)  # the parent has files open when it forks
    with get_context(method).Pool(2) as pool:
        assert pool.map(read_all, [images, images]) == [here, here]
    assert read_all(images) == here


def test_images_are_small_when_pickled(embedded: Path) -> None:
    images = labelfix.read(embedded).images
    assert images is not None
    read_all(images)
    assert len(pickle.dumps(images)) < 3000


def test_a_damaged_row_group_makes_its_rows_unreadable_and_no_others(embedded: Path) -> None:
    images = labelfix.read(embedded).images
    data = bytearray(embedded.read_bytes())
    data[10:200] = b"\xff" * 190
    embedded.write_bytes(data)
    assert images is not None
    with pytest.raises(ImageUnreadable, match="Parquet"):
        images.read(0)
    assert images.read(4)
