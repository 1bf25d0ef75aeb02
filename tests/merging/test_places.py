"""Wherever a manifest lies, its labels are replaced there: compressed, in shards, beside images."""

from __future__ import annotations

import gzip

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

import labelfix
from labelfix.errors import InputError, UsageError


@pytest.fixture
def said(tmp_path):
    def write(*answers: tuple[str, str]):
        path = tmp_path / "answers.csv"
        path.write_text("id,answer\n" + "".join(f"{a},{b}\n" for a, b in answers), encoding="utf-8")
        return path

    return write


def photos(path, count: int = 6) -> None:
    path.mkdir(parents=True)
    for i in range(count):
        Image.new("RGB", (4, 4), (i, 0, 0)).save(path / f"{i}.png")


def test_a_compressed_table_stays_compressed(tmp_path, make_run, said):
    text = "id,label\n" + "".join(f"r{i},{'ab'[i % 2]}\n" for i in range(6))
    (tmp_path / "m.csv.gz").write_bytes(gzip.compress(text.encode()))
    found = make_run(tmp_path / "m.csv.gz", tmp_path / "run")
    merged = labelfix.merge(found, said(("r0", "b")))
    assert merged.out == str(tmp_path / "m.fixed.csv.gz")
    lines = gzip.decompress((tmp_path / "m.fixed.csv.gz").read_bytes()).decode().splitlines()
    assert lines[1].startswith("r0,b,a,corrected,")
    labelfix.merge(found, said(("r0", "")), tmp_path / "same.csv.gz")
    assert (tmp_path / "same.csv.gz").read_bytes() == (tmp_path / "m.csv.gz").read_bytes()


def test_shards_keep_their_places_and_only_those_with_answers_change_a_label(tmp_path, make_run, said):
    for name in ("train/0", "test/0"):
        place = tmp_path / "data" / f"{name}.parquet"
        place.parent.mkdir(parents=True)
        ids = [f"{name[:2]}{i}" for i in range(4)]
        pq.write_table(pa.table({"id": ids, "label": ["a", "b"] * 2}), place)
    found = make_run(tmp_path / "data", tmp_path / "run")
    labelfix.merge(found, said(("te0", "b")), tmp_path / "fixed")
    labels = {
        name: pq.read_table(tmp_path / "fixed" / name / "0.parquet").column("label").to_pylist()
        for name in ("train", "test")
    }
    assert labels == {"train": ["a", "b", "a", "b"], "test": ["b", "b", "a", "b"]}
    again = labelfix.read(tmp_path / "fixed", with_images=False)
    assert int(again.trusted.sum()) == 1


def test_a_folders_metadata_is_edited_with_all_its_columns(tmp_path, make_run, said):
    photos(tmp_path / "photos")
    lines = "".join(f'{i}.png,{"ab"[i % 2]},"note, {i}"\n' for i in range(6))
    (tmp_path / "photos" / "metadata.csv").write_text(f"file_name,label,note\n{lines}", encoding="utf-8")
    found = make_run(tmp_path / "photos", tmp_path / "run")
    labelfix.merge(found, said(("0.png", "b")), tmp_path / "fixed.csv")
    first, *_ = (tmp_path / "fixed.csv").read_text(encoding="utf-8").splitlines()[1:]
    assert first.startswith('0.png,b,"note, 0",a,corrected')
    labelfix.merge(found, said(("0.png", "")), tmp_path / "same.csv")
    assert (tmp_path / "same.csv").read_bytes() == (tmp_path / "photos" / "metadata.csv").read_bytes()


def test_a_manifest_that_names_an_image_twice_by_now_is_told_why_no_row_is_known(tmp_path, make_run, said):
    photos(tmp_path / "photos")
    lines = "file_name,label\n" + "".join(f"photos/{i}.png,{'ab'[i % 2]}\n" for i in range(6))
    (tmp_path / "m.csv").write_text(lines, encoding="utf-8")
    found = make_run(tmp_path / "m.csv", tmp_path / "run")
    (tmp_path / "m.csv").write_text(lines + "photos/0.png,b\n", encoding="utf-8")
    with pytest.raises(
        InputError, match=r"none of the rows that were scanned \(ids: image names .* occur twice"
    ):
        labelfix.merge(found, said(("photos/0.png", "b")))


def test_a_directory_of_tables_is_not_written_into_a_file(tmp_path, make_run, said):
    (tmp_path / "data").mkdir()
    for name in ("0", "1"):
        pq.write_table(
            pa.table({"id": [f"{name}{i}" for i in range(4)], "label": ["a", "b"] * 2}),
            tmp_path / "data" / f"{name}.parquet",
        )
    found = make_run(tmp_path / "data", tmp_path / "run")
    (tmp_path / "fixed").touch()
    with pytest.raises(UsageError, match="choose a directory"):
        labelfix.merge(found, said(("00", "b")), tmp_path / "fixed")
