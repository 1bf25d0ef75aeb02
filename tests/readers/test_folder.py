"""Image folders: classes from directories, splits, metadata tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import labelfix
from labelfix.errors import InputError
from labelfix.manifest import Manifest

Folder = Callable[..., Path]


def named(manifest: Manifest) -> dict[str, str | None]:
    labels = [None if k < 0 else manifest.classes[k] for k in manifest.labels]
    return dict(zip(manifest.image_names or [], labels, strict=True))


def test_the_first_directory_level_is_the_class(folder: Folder) -> None:
    root = folder("dog/b.png", "cat/nested/deep/a.png", "cat/c.JPG")
    manifest = labelfix.read(root)
    assert named(manifest) == {"cat/c.JPG": "cat", "cat/nested/deep/a.png": "cat", "dog/b.png": "dog"}
    assert manifest.ids.tolist() == list(named(manifest))
    assert manifest.images is not None
    assert manifest.images.read(2) == (root / "dog/b.png").read_bytes()
    assert manifest.split is None
    assert manifest.notes == ()


def test_hidden_files_others_and_empty_directories_are_counted(folder: Folder) -> None:
    root = folder("cat/1.png", "dog/1.png", ".git/x.png", "__MACOSX/cat/1.png")
    (root / "cat/.DS_Store").touch()
    (root / "cat/notes.txt").touch()
    (root / "bird").mkdir()
    manifest = labelfix.read(root)
    assert manifest.classes == ("cat", "dog")
    assert "2 files that are hidden or no images are ignored" in manifest.notes
    assert "directories without images: bird" in manifest.notes


def test_numbered_classes_are_ordered_by_number(folder: Folder) -> None:
    assert labelfix.read(folder("10/a.png", "9/a.png")).classes == ("9", "10")


def test_splits_above_the_classes_become_the_split(folder: Folder) -> None:
    manifest = labelfix.read(folder("train/cat/1.png", "train/dog/2.png", "Val/cat/3.png", "test/4.png"))
    assert manifest.classes == ("cat", "dog")
    assert manifest.split is not None
    assert dict(zip(manifest.ids, manifest.split, strict=True)) == {
        "Val/cat/3.png": "Val", "test/4.png": "test", "train/cat/1.png": "train", "train/dog/2.png": "train",
    }  # fmt: skip
    assert named(manifest)["test/4.png"] is None


def test_a_class_called_like_a_split_is_a_class(folder: Folder) -> None:
    assert labelfix.read(folder("train/1.png", "bus/1.png")).classes == ("bus", "train")


def test_images_above_the_classes_are_unlabelled(folder: Folder) -> None:
    manifest = labelfix.read(folder("0.png", "cat/1.png", "dog/1.png"))
    assert named(manifest)["0.png"] is None
    assert any("1 of 3 rows have no label" in note for note in manifest.notes)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metadata.csv", "file_name,label,patient\nb.png,dog,p\na.png,cat,q\n"),
        (
            "metadata.jsonl",
            """{"file_name": "b.png", "label": "dog", "patient": "p"}
            {"file_name": "a.png", "label": "cat", "patient": "q"}""",
        ),
    ],
    ids=["csv", "jsonl"],
)
def test_a_metadata_table_gives_labels_and_groups_in_its_order(folder: Folder, name: str, text: str) -> None:
    root = folder("a.png", "b.png", "c.png")
    (root / name).write_text(text)
    manifest = labelfix.read(root)
    assert named(manifest) == {"b.png": "dog", "a.png": "cat"}
    assert manifest.groups is not None
    assert manifest.groups.tolist() == ["p", "q"]
    assert any(note.startswith("1 images are not listed") for note in manifest.notes)


def test_a_metadata_table_without_labels_leaves_them_to_the_directories(folder: Folder) -> None:
    root = folder("cat/1.png", "dog/2.png")
    (root / "metadata.csv").write_text("file_name,verified\ncat/1.png,yes\ndog/2.png,no\n")
    manifest = labelfix.read(root)
    assert named(manifest) == {"cat/1.png": "cat", "dog/2.png": "dog"}
    assert manifest.trusted is not None
    assert manifest.trusted.tolist() == [True, False]


def test_metadata_tables_in_the_splits_are_joined(folder: Folder) -> None:
    root = folder("train/1.png", "train/2.png", "test/1.png")
    (root / "train/metadata.csv").write_text("file_name,label\n1.png,a\n2.png,b\n")
    (root / "test/metadata.csv").write_text("file_name,label\n1.png,a\n")
    manifest = labelfix.read(root)
    assert named(manifest) == {"test/1.png": "a", "train/1.png": "a", "train/2.png": "b"}
    assert manifest.split is not None
    assert manifest.split.tolist() == ["test", "train", "train"]


def test_holdout_is_a_split(folder: Folder) -> None:
    manifest = labelfix.read(folder("train/cat/1.png", "train/dog/1.png", "holdout/cat/1.png"))
    assert manifest.classes == ("cat", "dog")


def test_classes_that_may_be_splits_are_told(folder: Folder) -> None:
    manifest = labelfix.read(
        folder("train/cat/1.png", "train/dog/1.png", "extra/cat/1.png", "extra/dog/1.png")
    )
    assert manifest.classes == ("extra", "train")
    assert any("'train' is called like a split" in note and "(cat, dog)" in note for note in manifest.notes)


def test_a_class_that_is_called_train_is_no_split(folder: Folder) -> None:
    manifest = labelfix.read(folder("train/steam/1.png", "bus/red/1.png"))
    assert manifest.classes == ("bus", "train")
    assert not any("split" in note for note in manifest.notes)


def test_a_directory_of_tables_without_images_is_a_table(folder: Folder, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    pq.write_table(pa.table({"image": [b"1", b"2"], "label": ["a", "b"]}), tmp_path / "data/train-0.parquet")
    assert labelfix.read(tmp_path).classes == ("a", "b")


def test_links_that_lead_back_up_end(folder: Folder) -> None:
    root = folder("cat/1.png", "dog/1.png")
    (root / "cat/up").symlink_to(root)
    assert len(labelfix.read(root)) == 2


@pytest.mark.parametrize(
    ("images", "tables", "message"),
    [
        ([], [], r"holds no images; give a directory"),
        (["1.png", "2.png"], [], r"its 2 images lie in no class directory; put those of each class into"),
        (["1.png"], ["labels.csv"], r"or give the table: .*labels\.csv --images "),
        (
            ["train/1.png", "test/2.png"],
            [],
            r"directories test, train are called like splits .* or give a table",
        ),
        (["cat/1.png"], [], r"there is only one class, 'cat'"),
    ],
    ids=["empty", "flat", "flat-with-table", "splits-without-classes", "one-class"],
)
def test_a_directory_without_classes_says_what_to_do(
    folder: Folder, images: list[str], tables: list[str], message: str
) -> None:
    root = folder(*images)
    for name in tables:
        (root / name).write_text("image,label\n")
    with pytest.raises(InputError, match=message) as caught:
        labelfix.read(root)
    assert str(caught.value).startswith(str(root))
    assert caught.value.exit_code == 3


def test_tables_beside_hidden_images_are_tables(folder: Folder) -> None:
    root = folder(".cache/1.png", "__MACOSX/2.png")
    (root / "m.csv").write_text("id,label\n1,a\n2,b\n")
    assert labelfix.read(root, with_images=False).classes == ("a", "b")
