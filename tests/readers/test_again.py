"""Images of a finished run are found again, from any directory, or it is said why not."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import labelfix
from labelfix.errors import ImageUnreadable, InputError
from labelfix.readers.again import NO_IMAGES, images_again

FOUR = ["a.png", "b.png", "sub/c.png", "d.png"]


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "photos" / "sub").mkdir(parents=True)
    for name in FOUR:
        (tmp_path / "photos" / name).write_bytes(name.encode())
    lines = "".join(f"{name},{'xy'[i % 2]}\n" for i, name in enumerate(FOUR))
    (tmp_path / "m.csv").write_text("file_name,label\n" + lines)
    return tmp_path


def record(manifest):
    """Say of a manifest what run.json does."""
    return {
        "source": manifest.source, "images": manifest.root, "directory": str(Path.cwd()), "columns": manifest.columns
    }  # fmt: skip


def contents(images):
    return [images.read(i) for i in range(len(images))]


def test_files_are_found_from_another_directory(folder, monkeypatch, tmp_path_factory):
    monkeypatch.chdir(folder)
    manifest = labelfix.read("m.csv", images="photos")
    held = record(manifest)
    monkeypatch.chdir(tmp_path_factory.mktemp("elsewhere"))
    (folder / "m.csv").unlink()  # files need no manifest to be found
    assert contents(images_again(held, pa.array(manifest.image_names))) == [name.encode() for name in FOUR]


def test_files_that_have_moved_are_found_where_the_user_says(folder):
    held = record(labelfix.read(folder / "m.csv", images=folder / "photos"))
    (folder / "photos").rename(folder / "moved")
    with pytest.raises(InputError, match=r"photos: there is no such directory; pass --images"):
        images_again(held, pa.array(FOUR))
    assert contents(images_again(held, pa.array(FOUR), str(folder / "moved"))) == [n.encode() for n in FOUR]


def test_one_missing_file_is_unreadable_and_the_others_are_not(folder):
    held = record(labelfix.read(folder / "m.csv", images=folder / "photos"))
    (folder / "photos" / "b.png").unlink()
    images = images_again(held, pa.array(FOUR))
    assert images.read(3) == b"d.png"
    with pytest.raises(ImageUnreadable, match="file not found"):
        images.read(1)


@pytest.fixture
def embedded(tmp_path):
    table = pa.table({"image": [b"one", b"two", b"three"], "kind": ["x", "y", "x"], "other": ["p", "p", "q"]})
    pq.write_table(table, tmp_path / "t.parquet")
    return labelfix.read(tmp_path / "t.parquet", label_col="kind")


def test_images_inside_a_table_are_read_from_the_table(embedded, tmp_path):
    names = pa.array(embedded.image_names)
    assert contents(images_again(record(embedded), names)) == [b"one", b"two", b"three"]
    held = record(embedded)
    (tmp_path / "t.parquet").rename(tmp_path / "u.parquet")
    with pytest.raises(InputError, match=r"t\.parquet"):
        images_again(held, names)
    assert images_again(held, names, str(tmp_path / "u.parquet")).read(1) == b"two"


def test_a_table_that_has_changed_is_refused(embedded):
    with pytest.raises(InputError, match="no longer holds the 2 images"):
        images_again(record(embedded), pa.array(["t.parquet#0", "t.parquet#1"]))


def test_a_scan_without_images_and_a_findings_file_alone_say_so():
    with pytest.raises(InputError, match=NO_IMAGES):
        images_again({}, pa.nulls(3, pa.string()))
    with pytest.raises(InputError, match="pass --images"):
        images_again({}, pa.array(["a.png"]))
