"""Lines: where in a text manifest each row stands, so that an annotation points at it."""

from __future__ import annotations

import csv
import io
from pathlib import Path

TEXT = (".csv", ".tsv", ".jsonl", ".ndjson")
SEPARATORS = (",", "\t", ";", "|")


def lines_of(source: str, rows: int) -> dict[int, int]:
    """Return row → line (the first is 1) of a local text manifest with so many rows; {} for other sources."""
    path = Path(source)
    if path.suffix.lower() not in TEXT or not path.is_file():
        return {}
    text = path.read_bytes().decode("utf-8-sig", "replace")
    found = _json_lines(text) if path.suffix.lower() in {".jsonl", ".ndjson"} else _delimited(text)
    return dict(enumerate(found)) if len(found) == rows else {}


def _json_lines(text: str) -> list[int]:
    return [number for number, line in enumerate(text.split("\n"), 1) if line.strip()]


def _delimited(text: str) -> list[int]:
    """Return the first line of each record after the header."""
    head = text.split("\n", 1)[0]
    separator = max(SEPARATORS, key=head.count)
    reader, starts, line = csv.reader(io.StringIO(text, newline=""), delimiter=separator), [], 1
    for record in reader:
        if record:  # blank lines are no rows
            starts.append(line)
        line = reader.line_num + 1
    return starts[1:]
