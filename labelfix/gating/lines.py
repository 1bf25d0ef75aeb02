"""Lines: where in a text manifest each row stands, so that an annotation points at it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

from labelfix.readers.delimited import header_of

TEXT = (".csv", ".tsv", ".jsonl", ".ndjson")


def lines_of(source: str, rows: int) -> dict[int, int]:
    """Return row → line (the first is 1) of a local text manifest with so many rows; {} for other sources."""
    path = Path(source)
    if path.suffix.lower() not in TEXT or not path.is_file():
        return {}
    text = path.read_bytes().decode("utf-8-sig", "replace")
    ending = path.suffix.lower()
    found = _json_lines(text) if ending in {".jsonl", ".ndjson"} else _delimited(text, ending == ".tsv")
    return dict(enumerate(found)) if len(found) == rows else {}


def _json_lines(text: str) -> list[int]:
    return [number for number, line in enumerate(text.split("\n"), 1) if line.strip()]


def _delimited(text: str, tabs: bool) -> list[int]:
    """Return the first line of each record after the header."""
    _, separator, _ = header_of(text, tabs)
    reader, starts, line = csv.reader(io.StringIO(text, newline=""), delimiter=separator), [], 1
    for record in reader:
        if record:  # blank lines are no rows
            starts.append(line)
        line = reader.line_num + 1
    return starts[1:]
