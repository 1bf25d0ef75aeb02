"""CSV and TSV: cells are replaced where they stand; separators, quotes, line ends and all other cells stay."""

from __future__ import annotations

import csv
import re
from typing import Any

from labelfix.errors import InputError
from labelfix.readers.delimited import checked_utf8, header_of
from labelfix.rewriting.edits import KEPT, PREFIX, Edits

BOM = "\ufeff"


def rewrite_delimited(
    data: bytes, shown: str, tabs: bool, label: str, spelling: dict[str, Any], edits: Edits
) -> bytes:
    """Return the file's bytes with the edits; raises InputError when rows cannot be told apart as they were read."""
    text = checked_utf8(data, shown)
    mark = BOM if data.startswith(BOM.encode()) else ""
    _, separator, _ = header_of(text, tabs)
    field, record = _patterns(separator)
    records = [found for found in record.finditer(text) if found.group(1)]
    head = records[0]
    names = next(csv.reader([head.group(1)], delimiter=separator))
    ours = [PREFIX + name for name in edits.columns]
    new = [name for name in ours if name not in names]
    changes = _changes(names, label, spelling, edits)
    pieces, at = [mark + text[: head.end(1)], *(separator + name for name in new)], head.end(1)
    blank = separator * len(new)
    for number, found in enumerate(records[1:]):
        if number not in changes:
            pieces.append(text[at : found.end(1)] + blank)
            at = found.end(1)
            continue
        cells, more = changes[number]
        pieces.append(text[at : found.start(1)])
        spans = list(_spans(field, found))
        if len(spans) != len(names):
            raise InputError(
                f"{shown}: row {number} (the first is 0) cannot be edited: it has {len(spans)} cells"
            )
        old = [text[start:end] for start, end in spans]
        written = [_cell(cells[i], separator, cell) if i in cells else cell for i, cell in enumerate(old)]
        if edits.raw:
            written[names.index(label)] = str(cells[names.index(label)])
        pieces.append(separator.join([*written, *(_cell(more.get(name), separator) for name in new)]))
        at = found.end(1)
    if edits.rows.size and int(edits.rows[-1]) >= len(records) - 1:
        raise InputError(f"{shown}: has fewer rows than were read; run the command again")
    edited = "".join(pieces) + text[at:]
    return (
        _without(edited, separator, {PREFIX + name for name in edits.dropped}) if edits.dropped else edited
    ).encode()


def raw_cells(data: bytes, shown: str, tabs: bool, name: str) -> list[str]:
    """Return a column's cells [N] as they stand in the file, quotes and all."""
    text = checked_utf8(data, shown)
    _, separator, _ = header_of(text, tabs)
    field, record = _patterns(separator)
    head, *rest = [found for found in record.finditer(text) if found.group(1)]
    at = next(csv.reader([head.group(1)], delimiter=separator)).index(name)
    return [text[slice(*_spans(field, found)[at])] for found in rest]


def _changes(
    names: list[str], label: str, spelling: dict[str, Any], edits: Edits
) -> dict[int, tuple[dict[int, Any], dict[str, Any]]]:
    """Return row → (cell number → value, name of a new column → value)."""
    changes = {}
    for i, (row, spelled) in enumerate(zip(edits.rows.tolist(), edits.spelled(spelling), strict=True)):
        cells = {} if spelled is KEPT else {names.index(label): spelled}
        more = {}
        for name, values in edits.columns.items():
            if PREFIX + name in names:
                cells[names.index(PREFIX + name)] = values[i]
            else:
                more[PREFIX + name] = values[i]
        changes[row] = (cells, more)
    return changes


def _without(text: str, separator: str, gone: set[str]) -> str:
    """Take columns away: each with the separator before it."""
    field, record = _patterns(separator)
    records = [found for found in record.finditer(text) if found.group(1)]
    names = next(csv.reader([records[0].group(1)], delimiter=separator))
    pieces, at = [], 0
    for found in records:
        for (start, end), name in zip(_spans(field, found), names, strict=False):
            if name in gone:
                first = start == found.start(1)
                pieces.append(text[at : start if first else start - 1])
                at = end + 1 if first else end
    return "".join(pieces) + text[at:]


def _patterns(separator: str) -> tuple[re.Pattern[str], re.Pattern[str]]:
    """Return what a field is, and a record with its line end. Atomic, so that no text makes them slow."""
    s = re.escape(separator)
    field = rf'(?>"(?:[^"]|"")*+"[^{s}\r\n]*+|[^{s}\r\n]*+)'
    return re.compile(field), re.compile(rf"((?>{field}(?:{s}{field})*+))(?:\r\n|\n|\r|\Z)")


def _spans(field: re.Pattern[str], record: re.Match[str]) -> list[tuple[int, int]]:
    at, end, spans = record.start(1), record.end(1), []
    while True:
        found = field.match(record.string, at, end)
        assert found is not None  # the pattern fits the empty text too
        spans.append(found.span())
        if found.end() >= end:
            return spans
        at = found.end() + 1


def _cell(value: Any, separator: str, old: str = "") -> str:
    """Write a value; in quotes where it needs them, or where the cell had them."""
    text = "" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    if old.startswith('"') or any(c in text for c in (separator, '"', "\r", "\n")) or text != text.strip():
        return '"' + text.replace('"', '""') + '"'
    return text
