"""Bad input: one sentence that names the file, the row or column and the remedy; exit code 3."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import labelfix
from labelfix.errors import InputError

OK = b"id,label\n1,a\n2,b\n"
TEXT: dict[str, tuple[str, bytes, str]] = {
    "empty": ("m.csv", b"", r"m\.csv: is empty; a table needs a header line"),
    "header-only": ("m.csv", b"id,label\n", r"m\.csv: has a header line but no rows; export it again"),
    "header-only-quoted": ("m.csv", b'"id\nx",label\n', r"m\.csv: has a header line but no rows"),
    "no-label": (
        "m.csv",
        b"id,name\n1,a\n",
        r"m\.csv: no label column among id, name; name it with --label-col",
    ),
    "two-labels": ("m.csv", b"id,label_a,label_b\n1,a,b\n", r"label_a, label_b could each be .* --label-col"),
    "twin-columns": (
        "m.csv",
        b"id,LABEL,Label\n1,a,b\n",
        r"'LABEL', 'Label' differ only in case .* --label-col",
    ),
    "double-column": (
        "m.csv",
        b"id,label,label\n1,a,b\n2,b,a\n",
        r"2 columns are named 'label'; rename all but one",
    ),
    "latin-1": ("m.csv", b"id,label\n1,a\n2,caf\xe9\n", r"m\.csv: line 3 holds the byte 0xe9, .* iconv"),
    "utf-16": ("m.csv", OK.decode().encode("utf-16"), r"m\.csv: is UTF-16, not UTF-8; convert it with iconv"),
    "ragged": (
        "m.csv",
        b'id,label\n"1\n",a\n2,b,c\n',
        r"m\.csv: line 4 has 3 columns, but the header has 2; mend",
    ),
    "open-quote": ("m.csv", b'id,label\n1,a\n2,"b\n', r"m\.csv: line \d is no CSV .* mend its quotes"),
    "one-class": (
        "m.csv",
        b"id,label\n1,a\n2,a\n",
        r"m\.csv: there is only one class, 'a', in label; .*--label-col",
    ),
    "no-labels": (
        "m.csv",
        b"id,label\n1,\n2, \n",
        r"column 'label' holds no label in any row; .* --label-col",
    ),
    "fraction": ("m.csv", b"id,label\n1,1.0\n2,2.5\n", r"m\.csv: row 1 .*'label' is 2\.5, but labels are"),
    "repeated-id": (
        "m.csv",
        b"id,label\n1,a\n2,b\n1,b\n",
        r"row 2 .* repeats the id '1' of row 0; .*--annotator-col",
    ),
    "repeated-answer": (
        "m.csv",
        b"id,label,worker\n1,a,u\n1,b,v\n1,b,u\n",
        r"row 2 .* repeats the id '1' of annotator 'u' of row 0; drop one",
    ),
    "blank-id": ("m.csv", b"id,label\n1,a\n,b\n", r"m\.csv: row 1 .* has no 'id'; give every row an id"),
    "empty-jsonl": ("m.jsonl", b"\n", r"m\.jsonl: is empty; it needs one JSON object a line"),
    "broken-jsonl": (
        "m.jsonl",
        b'{"label": 1}\n{"label"\n',
        r"m\.jsonl: line 2 is no JSON .*; mend or remove",
    ),
    "list-jsonl": (
        "m.jsonl",
        b'[{"label": 1}]\n',
        r"m\.jsonl: line 1 is a JSON list, not an object; write one",
    ),
    "many-labels": ("m.jsonl", b'{"label": [1, 2]}\n', r"no label column|holds list"),
    "unknown-kind": ("m.xlsx", b"PK", r"m\.xlsx: is of no kind .* give a \.csv, \.tsv, \.jsonl or \.parquet"),
    "archive": ("m.zip", b"PK", r"m\.zip: .* zip://::.*m\.zip"),
    "cut-gzip": ("m.csv.gz", b"\x1f\x8b\x08\x00\x00", r"m\.csv\.gz: cannot be read .* copy it again"),
    "empty-parquet": (
        "m.parquet",
        b"",
        r"m\.parquet: is no whole Parquet file \(it is empty .*; write or copy",
    ),
    "no-parquet": ("m.parquet", b"hello, world, I am text", r"m\.parquet: is no whole Parquet file"),
}


@pytest.mark.parametrize("name", TEXT)
def test_a_bad_file_says_where_and_what_to_do(tmp_path: Path, name: str) -> None:
    file, data, message = TEXT[name]
    (tmp_path / file).write_bytes(data)
    with pytest.raises(InputError, match=message) as caught:
        labelfix.read(tmp_path / file, with_images=False)
    assert caught.value.exit_code == 3
    assert str(tmp_path / file) in str(caught.value)
    assert "\n" not in str(caught.value)


PATHS: dict[str, tuple[str, str]] = {
    "escape": ("a.png\n../x.jpg", r"m\.csv: row 1 .*'image' is '\.\./x\.jpg', which leaves .* --images"),
    "hidden-escape": ("a.png\nb/../../x.jpg", r"row 1 .* which leaves"),
    "absolute": ("a.png\n/etc/passwd", r"row 1 .*'/etc/passwd', outside of .*; pass --images /"),
    "file-url": ("a.png\nfile:///etc/passwd", r"row 1 .*outside of"),
    "windows": ("a.png\nC:\\x.png", r"row 1 .*'C:.*', outside of"),
    "local-url": ("a.png\nmemory://x.png", r"row 1 .*'memory://x\.png', an address that rows may not name"),
    "chained-url": (
        "a.png\nhttps://x/a.png::file:///etc/passwd",
        r"row 1 .* an address that rows may not name",
    ),
    "all-missing": (
        "no/1.png\nno/2.png",
        r"none of 2 image files looked for exists, such as .*no/1\.png .* --images",
    ),
    "all-blank": ('""\n""', r"column 'image' holds no path in any row; choose another with --image-col"),
}


@pytest.mark.parametrize("name", PATHS)
def test_a_bad_path_says_where_and_what_to_do(tmp_path: Path, name: str) -> None:
    paths, message = PATHS[name]
    (tmp_path / "a.png").write_bytes(b"x")
    one, other = paths.split("\n")
    (tmp_path / "m.csv").write_text(f"image,label\n{one},a\n{other},b\n")
    with pytest.raises(InputError, match=message):
        labelfix.read(tmp_path / "m.csv")


def test_missing_images_that_lie_close_by_are_found(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos/1.png").write_bytes(b"x")
    (tmp_path / "m.csv").write_text("image,label\n1.png,a\n2.png,b\n")
    with pytest.raises(InputError, match=r"pass --images .*, which seems to be .*/photos$"):
        labelfix.read(tmp_path / "m.csv")


def test_a_missing_file_names_its_neighbour(tmp_path: Path) -> None:
    (tmp_path / "manifest.csv").write_bytes(OK)
    with pytest.raises(
        InputError, match=r"manfest\.csv: there is no such file .*did you mean 'manifest\.csv'\?"
    ):
        labelfix.read(tmp_path / "manfest.csv")
    with pytest.raises(InputError, match=r"there is no such file or directory"):
        labelfix.read(tmp_path / "nowhere")


def test_a_missing_column_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("id,species\n1,a\n2,b\n")
    with pytest.raises(
        InputError, match=r"m\.csv: no column 'specie'; did you mean 'species'\? known: id, species"
    ):
        labelfix.read(tmp_path / "m.csv", label_col="specie", with_images=False)


def test_a_table_without_images_says_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("text,label\nhello,a\nworld,b\n")
    with pytest.raises(InputError, match=r"no image column among text, label; .*--image-col.*--features"):
        labelfix.read(tmp_path / "m.csv")


def test_a_root_that_is_no_directory_says_so(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("image,label\n1,a\n2,b\n")
    with pytest.raises(InputError, match=r"nowhere: is no directory.*check --images"):
        labelfix.read(tmp_path / "m.csv", images=tmp_path / "nowhere")


def test_a_trusted_value_that_is_neither_names_its_row(tmp_path: Path) -> None:
    (tmp_path / "m.csv").write_text("id,label,ok\n1,a,true\n2,b,maybe\n")
    with pytest.raises(InputError, match=r"row 1 .*'ok' is 'maybe', not true or false; .*--trusted-col"):
        labelfix.read(tmp_path / "m.csv", trusted_col="ok", with_images=False)


@pytest.mark.parametrize("kept", [0.3, 0.95], ids=["a-third", "nearly-all"])
def test_a_truncated_parquet_says_so(embedded: Path, kept: float) -> None:
    data = embedded.read_bytes()
    embedded.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(
        InputError, match=r"embedded\.parquet: is no whole Parquet file .*; write or copy it again"
    ):
        labelfix.read(embedded)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        (
            pa.table({"image": pa.array([None, None], pa.binary()), "label": ["a", "b"]}),
            r"'image' holds no image in any",
        ),
        (pa.table({"image": [b"", b""], "label": ["a", "b"]}).slice(0, 0), r"holds columns but no rows"),
        (pa.table({"image": [b"1", b"2"], "label": [0.5, 1.0]}), r"row 0 .*'label' is 0\.5, but labels are"),
        (pa.table({"image": [b"1", b"2"], "label": pa.nulls(2)}), r"'label' holds no label in any row"),
        (
            pa.table({"front": [b"1"], "back": [b"2"], "label": ["a"]}),
            r"front, back all hold bytes; .*--image-col",
        ),
    ],
    ids=["null-images", "no-rows", "fraction", "null-labels", "two-images"],
)
def test_a_bad_parquet_says_where_and_what_to_do(tmp_path: Path, table: pa.Table, message: str) -> None:
    pq.write_table(table, tmp_path / "m.parquet")
    with pytest.raises(InputError, match=r"m\.parquet: .*" + message):
        labelfix.read(tmp_path / "m.parquet")


def test_a_label_column_of_lists_says_so(tmp_path: Path) -> None:
    pq.write_table(pa.table({"image": [b"1"], "label": [["a"]]}), tmp_path / "m.parquet")
    with pytest.raises(
        InputError, match=r"column 'label' holds list.*one text or whole number a row; .*--label-col"
    ):
        labelfix.read(tmp_path / "m.parquet", label_col="label")


def test_shards_that_differ_name_the_odd_one(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(OK)
    (tmp_path / "b.csv").write_text("id,class\n3,a\n")
    with pytest.raises(InputError, match=r"b\.csv: has no column 'label', unlike .*a\.csv; .*pattern"):
        labelfix.read(tmp_path, with_images=False)


def test_tables_of_two_kinds_in_one_directory_ask_for_a_pattern(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(OK)
    (tmp_path / "b.jsonl").write_text('{"id": 1, "label": 2}\n')
    with pytest.raises(InputError, match=r"holds csv and jsonl tables; choose one kind by a pattern"):
        labelfix.read(tmp_path, with_images=False)


def test_several_answers_about_an_item_may_be_of_nobody_knows_whom(tmp_path):
    (tmp_path / "m.csv").write_text("id,annotator,label\n1,,a\n1,,b\n1,u,a\n2,,a\n2,u,b\n", encoding="utf-8")
    assert len(labelfix.read(tmp_path / "m.csv", with_images=False)) == 5
