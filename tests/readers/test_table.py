"""Tables: CSV, TSV, JSON lines and Parquet are read as people write them."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from PIL import Image

import labelfix
from labelfix.errors import ImageUnreadable, InputError
from labelfix.manifest import Manifest
from labelfix.readers.labels import UNLABELLED

Folder = Callable[..., Path]


def write(path: Path, text: str) -> Path:
    path.write_bytes(text.encode())
    return path


def read(path: Path, **options: object) -> Manifest:
    return labelfix.read(path, with_images=False, **options)  # type: ignore[arg-type]


def named(manifest: Manifest) -> list[str | None]:
    return [None if k < 0 else manifest.classes[k] for k in manifest.labels]


def test_a_csv_with_paths_is_read_in_manifest_order(folder: Folder) -> None:
    root = folder("b/2.png", "a/1.png", "c.png")
    write(root / "m.csv", "file_name,label\nb/2.png,dog\na/1.png,cat\nc.png,dog\n")
    manifest = labelfix.read(root / "m.csv")
    assert manifest.columns == {"image": "file_name", "label": "label"}
    assert manifest.classes == ("cat", "dog")
    assert manifest.labels.tolist() == [1, 0, 1]
    assert manifest.ids.tolist() == ["b/2.png", "a/1.png", "c.png"] == manifest.image_names
    assert manifest.images is not None
    assert manifest.images.read(1) == (root / "a/1.png").read_bytes()
    assert manifest.source == str(root / "m.csv")


def test_paths_may_be_relative_to_a_directory_of_their_own(folder: Folder, tmp_path: Path) -> None:
    folder("images/1.png", "images/2.png")
    source = write(tmp_path / "m.csv", "image,label\n1.png,a\n2.png,b\n")
    manifest = labelfix.read(source, images=tmp_path / "images")
    assert manifest.images is not None
    assert manifest.images.read(0) == (tmp_path / "images/1.png").read_bytes()


def test_an_absolute_path_inside_the_root_is_named_relative_to_it(folder: Folder, tmp_path: Path) -> None:
    folder("images/1.png", "2.png")
    source = write(tmp_path / "m.csv", f"image,label\n{tmp_path}/images/1.png,a\nfile://{tmp_path}/2.png,b\n")
    assert labelfix.read(source).image_names == ["images/1.png", "2.png"]
    assert labelfix.read(source, images="/").image_names == [
        str(tmp_path)[1:] + "/images/1.png",
        f"{tmp_path}/2.png"[1:],
    ]


def test_a_path_may_go_up_as_long_as_it_stays_inside(folder: Folder) -> None:
    root = folder("1.png", "b/2.png")
    manifest = labelfix.read(write(root / "m.csv", "image,label\nb/../1.png,a\nb/2.png,b\n"))
    assert manifest.images is not None
    assert manifest.images.read(0) == (root / "1.png").read_bytes()


def test_backslashes_are_read_as_slashes_and_noted(folder: Folder) -> None:
    root = folder("a/1.png", "a/2.png")
    manifest = labelfix.read(write(root / "m.csv", "image,label\na\\1.png,a\na\\2.png,b\n"))
    assert manifest.image_names == ["a/1.png", "a/2.png"]
    assert any("\\" in note for note in manifest.notes)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("m.csv", "file,label\n1.png,cat\n2.png,dog\n"),
        ("m.csv", "file;label\n1.png;cat\n2.png;dog\n"),
        ("m.csv", "\ufefffile,label\r\n1.png,cat\r\n2.png,dog\r\n"),
        ("m.csv", '"file","label"\n"1.png","cat"\n\n"2.png","dog"\n\n'),
        ("m.csv", "file,label\r1.png,cat\r2.png,dog\r"),
        ("m.tsv", "file\tlabel\n1.png\tcat\n2.png\tdog\n"),
        ("m.CSV", "file\tlabel\n1.png\tcat\n2.png\tdog\n"),
        ("m.jsonl", '{"file": "1.png", "label": "cat"}\n\n{"label": "dog", "file": "2.png"}\n'),
        ("m.ndjson", '\ufeff{"file": "1.png", "label": "cat"}\n{"label": "dog", "file": "2.png"}'),
    ],
    ids=[
        "comma",
        "semicolon",
        "byte-order-mark",
        "quoted-and-blank-lines",
        "carriage-returns",
        "tsv",
        "tabs-in-csv",
        "jsonl",
        "ndjson",
    ],
)
def test_text_tables_of_any_dialect_say_the_same(folder: Folder, name: str, text: str) -> None:
    root = folder("1.png", "2.png")
    manifest = labelfix.read(write(root / name, text))
    assert named(manifest) == ["cat", "dog"]
    assert manifest.image_names == ["1.png", "2.png"]


def test_an_unusual_separator_is_noted(tmp_path: Path) -> None:
    notes = read(write(tmp_path / "m.csv", "file;label\n1;a\n2;b\n")).notes
    assert any("semicolons" in note for note in notes)


def test_a_compressed_table_is_read(tmp_path: Path) -> None:
    (tmp_path / "m.csv.gz").write_bytes(gzip.compress(b"file,label\n1,a\n2,b\n"))
    assert named(read(tmp_path / "m.csv.gz")) == ["a", "b"]


def test_values_may_hold_separators_quotes_and_line_breaks(tmp_path: Path) -> None:
    manifest = read(write(tmp_path / "m.csv", 'id,label\n"a,""1""","x\ny"\nb,z\n'))
    assert manifest.ids.tolist() == ['a,"1"', "b"]
    assert manifest.classes == ("x\ny", "z")


def test_leading_zeros_of_ids_survive(tmp_path: Path) -> None:
    assert read(write(tmp_path / "m.csv", "id,label\n007,a\n7,b\n")).ids.tolist() == ["007", "7"]


@pytest.mark.parametrize(
    ("labels", "classes"),
    [
        (["10", "2", "1"], ("1", "2", "10")),
        (["1.0", "", "10.0", "2.0"], ("1", "2", "10")),
        (["-1", "1"], ("-1", "1")),
        (["b", "a", "10"], ("10", "a", "b")),
        (["01", "1", "2"], ("01", "1", "2")),
    ],
    ids=["numeric-order", "integral-floats", "minus-one-is-a-class", "mixed-is-text", "spelling-is-kept"],
)
def test_classes_written_as_text_are_ordered_by_what_they_are(
    tmp_path: Path, labels: list[str], classes: tuple[str, ...]
) -> None:
    rows = "".join(f"{i},{label}\n" for i, label in enumerate(labels))
    assert read(write(tmp_path / "m.csv", f"id,label\n{rows}")).classes == classes


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        (pa.array([10, 2, None], pa.int8()), ["10", "2", None]),
        (pa.array([10.0, 2.0, float("nan")]), ["10", "2", None]),
        (pa.array([10.0, 2.0, None], pa.float16()), ["10", "2", None]),
        (pa.array(["b", " ", None, "nan", "a"]), ["b", None, None, None, "a"]),
        (pa.array(["b", None, "a"]).dictionary_encode(), ["b", None, "a"]),
        (pa.array([True, False]), ["true", "false"]),
        (pa.array(["None", "NA"], pa.large_string()), ["None", "NA"]),
        (pa.array(["1.0", "2.0"]), ["1.0", "2.0"]),
    ],
    ids=["ints", "floats", "halves", "blanks", "categories", "truth", "none-is-a-class", "text-stays-text"],
)
def test_labels_of_any_type_are_read(tmp_path: Path, labels: pa.Array, expected: list[str | None]) -> None:
    pq.write_table(pa.table({"label": labels}), tmp_path / "m.parquet")
    assert named(read(tmp_path / "m.parquet")) == expected


def test_rows_without_a_label_are_kept_and_noted(tmp_path: Path) -> None:
    manifest = read(write(tmp_path / "m.csv", "id,label\n1,a\n2,\n3,nan\n4,b\n"))
    assert manifest.labels.tolist() == [0, -1, -1, 1]
    assert any("2 of 4 rows have no label" in note and "'nan'" in note for note in manifest.notes)


def test_near_twins_are_named_and_not_merged(tmp_path: Path) -> None:
    manifest = read(write(tmp_path / "m.csv", "id,label\n1,Cat\n2,cat \n3,dog\n"))
    assert manifest.classes == ("Cat", "cat ", "dog")
    assert any("'Cat' and 'cat '" in note for note in manifest.notes)


def test_every_convention_is_seen_whatever_its_case(tmp_path: Path) -> None:
    header = "Image-ID,Category,Patient ID,Verified,Worker,Subset"
    source = write(tmp_path / "m.csv", f"{header}\n1,a,p1,True,w1,train\n2,b,,0,w2,test\n")
    manifest = read(source)
    assert manifest.columns == {
        "id": "Image-ID",
        "label": "Category",
        "group": "Patient ID",
        "trusted": "Verified",
        "annotator": "Worker",
        "split": "Subset",
    }
    assert manifest.groups is not None
    assert manifest.groups.tolist() == ["p1", ""]
    assert manifest.trusted is not None
    assert manifest.trusted.tolist() == [True, False]
    assert manifest.annotators is not None
    assert manifest.annotators.tolist() == ["w1", "w2"]
    assert manifest.split is not None
    assert manifest.split.tolist() == ["train", "test"]


def test_the_likelier_of_two_label_columns_is_used_and_noted(tmp_path: Path) -> None:
    manifest = read(write(tmp_path / "m.csv", "class,label\na,x\nb,y\n"))
    assert manifest.columns["label"] == "label"
    assert any("'class'" in note and "--label-col" in note for note in manifest.notes)


def test_a_single_column_that_speaks_of_labels_is_used(tmp_path: Path) -> None:
    assert read(write(tmp_path / "m.csv", "id,label_noisy\n1,a\n2,b\n")).columns["label"] == "label_noisy"


def test_a_sniffed_trusted_column_of_other_values_is_left_out_with_a_note(tmp_path: Path) -> None:
    manifest = read(write(tmp_path / "m.csv", "id,label,verified\n1,a,2020-01-01\n2,b,\n"))
    assert manifest.trusted is None
    assert any("'verified'" in note for note in manifest.notes)


def test_with_annotators_a_row_is_one_answer(tmp_path: Path) -> None:
    manifest = read(write(tmp_path / "m.csv", "id,label,worker\n1,a,u\n1,b,v\n"))
    assert manifest.ids.tolist() == ["1", "1"]


def test_without_ids_and_unique_images_the_row_number_is_the_id(folder: Folder) -> None:
    root = folder("1.png")
    manifest = labelfix.read(write(root / "m.csv", "image,label\n1.png,a\n1.png,b\n"))
    assert manifest.ids.tolist() == ["0", "1"]
    assert any("occur twice" in note for note in manifest.notes)


def test_missing_files_and_blank_paths_stay_rows_with_a_reason(folder: Folder) -> None:
    root = folder("1.png")
    (root / "empty.png").touch()
    (root / "dir").mkdir()
    manifest = labelfix.read(
        write(root / "m.csv", "image,label\n1.png,a\ngone.png,b\nempty.png,a\n,b\ndir,a\n"),
    )
    assert manifest.images is not None
    for row, reason in [(1, "not found"), (2, "0 bytes"), (3, "names no image"), (4, "directory")]:
        with pytest.raises(ImageUnreadable, match=reason):
            manifest.images.read(row)
    assert any("1 of 5 rows name no image" in note for note in manifest.notes)


def test_one_class_is_enough_for_a_batch_that_says_so(tmp_path: Path) -> None:
    source = write(tmp_path / "m.csv", "id,label\n1,a\n2,a\n")
    assert read(source, min_classes=1).classes == ("a",)


def test_a_json_column_of_numbers_and_text_is_text(tmp_path: Path) -> None:
    source = write(tmp_path / "m.jsonl", '{"id": 1, "label": "a"}\n{"id": "x", "label": 2}\n')
    manifest = read(source)
    assert manifest.ids.tolist() == ["1", "x"]
    assert named(manifest) == ["a", "2"]


def test_a_json_id_that_looks_like_a_date_stays_as_written(tmp_path: Path) -> None:
    source = write(
        tmp_path / "m.jsonl", '{"id": "2024-01-01", "label": "a"}\n{"id": "2024-01-02", "label": "b"}\n'
    )
    assert read(source).ids.tolist() == ["2024-01-01", "2024-01-02"]


def test_adding_a_column_changes_nothing(tmp_path: Path) -> None:
    plain = read(write(tmp_path / "a.csv", "id,label\n1,a\n2,b\n"))
    wider = read(write(tmp_path / "b.csv", "id,score,label\n1,.5,a\n2,.1,b\n"))
    assert plain.digest == wider.digest


NAMES = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), max_size=8)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data(), st.lists(NAMES.filter(bool), min_size=2, max_size=8, unique=True))
def test_csv_parquet_and_jsonl_of_the_same_table_give_the_same_manifest(
    tmp_path: Path, data: st.DataObject, ids: list[str]
) -> None:
    labels = data.draw(st.lists(NAMES, min_size=len(ids), max_size=len(ids)))
    given_labels = {label for label in labels if label.strip() not in UNLABELLED}
    assume(len(given_labels) > 1)
    assume(
        not all(set(label) <= set("+-.0123456789") for label in given_labels)
    )  # CSV cannot say "text '1.0'"
    table = pa.table({"id": ids, "label": labels})
    pq.write_table(table, tmp_path / "m.parquet")
    quoted = "".join(
        ",".join('"' + value.replace('"', '""') + '"' for value in row) + "\n"
        for row in [("id", "label"), *zip(ids, labels, strict=True)]
    )
    write(tmp_path / "m.csv", quoted)
    write(tmp_path / "m.jsonl", "\n".join(json.dumps(row) for row in table.to_pylist()))
    digests = {read(tmp_path / f"m.{kind}").digest for kind in ("csv", "parquet", "jsonl")}
    assert len(digests) == 1


def test_many_rows_are_read(tmp_path: Path) -> None:
    rows = 200_000
    paths = pa.array([f"d/{i}.png" for i in range(rows)])
    pq.write_table(pa.table({"image": paths, "label": pa.array(np.arange(rows) % 7)}), tmp_path / "m.parquet")
    manifest = read(tmp_path / "m.parquet")
    assert len(manifest) == rows
    assert manifest.ids[-1] == f"d/{rows - 1}.png"


def test_an_unknown_kind_of_file_names_the_known_ones(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"\.csv, \.tsv, \.jsonl or \.parquet"):
        labelfix.read(write(tmp_path / "notes.txt", "hello"))


@pytest.mark.parametrize("images", ["images", "."])
def test_paths_that_lead_up_from_the_manifest_are_found_below_the_directory_of_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, images: str
) -> None:
    for folder in ("images/a", "annotations"):
        (tmp_path / folder).mkdir(parents=True)
    for name in ("1.png", "2.png"):
        Image.new("RGB", (4, 4)).save(tmp_path / "images" / "a" / name)
    (tmp_path / "annotations" / "train.csv").write_text(
        "image,label\n../images/a/1.png,x\n../images/a/2.png,y\n"
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"which leaves annotations; pass --images .*/images/a, or whatever"):
        labelfix.read("annotations/train.csv")
    read = labelfix.read("annotations/train.csv", images=images)
    assert read.image_names == [
        f"{'' if images == 'images' else 'images/'}a/{name}" for name in ("1.png", "2.png")
    ]
    assert read.images is not None
    assert read.images.read(1).startswith(b"\x89PNG")
