"""Rows are found on the lines where they stand."""

from __future__ import annotations

import pytest

from labelfix.gating.lines import lines_of


@pytest.mark.parametrize(
    ("name", "text", "lines"),
    [
        ("a.csv", "id,label\na,b\nc,d\n", [2, 3]),
        ("a.csv", 'id,label\n"a\nb",x\n\nc,d\n', [2, 5]),
        ("a.tsv", "id\tlabel\r\na\tb\r\nc\td\r\n", [2, 3]),
        ("a.csv", "\ufeffid;label\na;b\nc;d", [2, 3]),
        ("a.jsonl", '{"id": 1}\n\n{"id": 2}\n', [1, 3]),
    ],
)
def test_the_line_of_each_row(tmp_path, name, text, lines):
    (tmp_path / name).write_bytes(text.encode())
    assert lines_of(str(tmp_path / name), 2) == dict(enumerate(lines))


def test_a_file_that_is_read_otherwise_has_no_lines(tmp_path):
    (tmp_path / "a.csv").write_text("id\na\n", encoding="utf-8")
    assert lines_of(str(tmp_path / "a.csv"), 2) == {}
    assert lines_of(str(tmp_path / "a.parquet"), 2) == {}
    assert lines_of("https://example.org/a.csv", 2) == {}
