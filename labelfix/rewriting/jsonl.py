"""JSON lines: values are replaced where they stand, keys of ours are added at the end; other lines stay."""

from __future__ import annotations

import json
import re
from typing import Any

from labelfix.errors import InputError
from labelfix.readers.delimited import checked_utf8
from labelfix.rewriting.edits import KEPT, PREFIX, Edits

_SPACE = re.compile(r"[ \t\r]*")
_DECODER = json.JSONDecoder()


def rewrite_lines(
    data: bytes, shown: str, _: bool, label: str, spelling: dict[str, Any], edits: Edits
) -> bytes:
    """Return the file's bytes with the edits; raises InputError for a line that holds more than one object."""
    mark = b"\xef\xbb\xbf" if data.startswith(b"\xef\xbb\xbf") else b""
    lines = checked_utf8(data, shown).split("\n")
    held = [number for number, line in enumerate(lines) if line.strip()]
    labels = edits.spelled(spelling)
    if len(edits) and int(edits.rows[-1]) >= len(held):
        raise InputError(f"{shown}: holds several objects on one line; write one on each")
    for i, row in enumerate(edits.rows.tolist()):
        values = {} if labels[i] is KEPT else {label: Raw(labels[i]) if edits.raw else labels[i]}
        values |= {PREFIX + name: column[i] for name, column in edits.columns.items()}
        lines[held[row]] = _with(lines[held[row]], values)
    gone = {PREFIX + name for name in edits.dropped}
    for number in held if gone else ():
        if PREFIX in lines[number]:
            lines[number] = _without(lines[number], gone)
    return mark + "\n".join(lines).encode()


class Raw(str):
    """JSON text that is written as it is."""


def raw_values(data: bytes, shown: str, name: str) -> list[str]:
    """Return a key's values [N] as they stand in the file; null where a line does not have it."""
    found = []
    for line in checked_utf8(data, shown).split("\n"):
        if line.strip():
            span = _members(line)[0].get(name)
            found.append("null" if span is None else line[span[1] : span[2]])
    return found


def _members(line: str) -> tuple[dict[str, tuple[int, int, int]], int]:
    """Return key → (where it starts, where its value starts and ends), and where the closing brace is."""
    at, spans = _after(line, line.index("{") + 1), dict[str, tuple[int, int, int]]()
    while line[at] != "}":
        start = at
        key, at = _DECODER.raw_decode(line, at)
        value = _after(line, _after(line, at) + 1)
        _, at = _DECODER.raw_decode(line, value)
        spans[key] = (start, value, at)
        at = _after(line, at)
        if line[at] == ",":
            at = _after(line, at + 1)
    return spans, at


def _after(line: str, at: int) -> int:
    found = _SPACE.match(line, at)
    assert found is not None  # the pattern fits the empty text too
    return found.end()


def _with(line: str, values: dict[str, Any]) -> str:
    spans, brace = _members(line)
    colon, comma = (": ", ", ") if re.search(r'": ', line) or not spans else (":", ",")
    plain = line.isascii()
    text = {
        name: value if isinstance(value, Raw) else json.dumps(value, ensure_ascii=plain)
        for name, value in values.items()
    }
    end = line[:brace].rstrip(" \t\r")
    added = [
        f"{comma if spans or n else ''}{json.dumps(name)}{colon}{text[name]}"
        for n, name in enumerate(name for name in values if name not in spans)
    ]
    line = end + "".join(added) + line[len(end) :]
    for name in sorted((name for name in values if name in spans), key=lambda name: -spans[name][1]):
        _, start, stop = spans[name]
        line = line[:start] + text[name] + line[stop:]
    return line


def _without(line: str, gone: set[str]) -> str:
    spans, _ = _members(line)
    for key in sorted(gone & set(spans), key=lambda key: -spans[key][0]):
        start, _, stop = spans[key]
        before = line[:start].rstrip(" \t")
        if before.endswith(","):
            line = before[:-1] + line[stop:]
        else:
            line = line[:start] + re.sub(r"^[ \t]*,[ \t]*", "", line[stop:])
    return line
