"""JSON lines: one object a row."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pyarrow.json

from labelfix.errors import InputError
from labelfix.readers.delimited import checked_utf8

_BLOCK = 16 << 20


def json_lines(data: bytes, shown: str) -> pa.Table:
    """Parse a file's bytes into a table; raises InputError naming the line."""
    text = checked_utf8(data, shown)
    if not text.strip():
        raise InputError(f"{shown}: is empty; it needs one JSON object a line")
    table = _fast(text.encode() if data[:1] == b"\xef" else data)
    return _careful(text, shown) if table is None else table


def _fast(data: bytes) -> pa.Table | None:
    try:
        read = pyarrow.json.ReadOptions(block_size=_BLOCK)
        table = pyarrow.json.read_json(pa.BufferReader(data), read)
        dates = [field.name for field in table.schema if pa.types.is_temporal(field.type)]
        if dates:  # a text that looks like a date stays the text it is
            schema = pa.schema([(name, pa.string()) for name in dates])
            parse = pyarrow.json.ParseOptions(explicit_schema=schema)
            table = pyarrow.json.read_json(pa.BufferReader(data), read, parse)
    except pa.ArrowException:
        return None  # read with care, which finds the line
    return table


def _careful(text: str, shown: str) -> pa.Table:
    rows: list[dict[str, Any]] = []
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(
                f"{shown}: line {number} is no JSON ({error}); mend or remove that line"
            ) from error
        if not isinstance(row, dict):
            found = f"line {number} is a JSON {type(row).__name__}, not an object"
            raise InputError(
                f'{shown}: {found}; write one object a line, such as {{"file_name": …, "label": …}}'
            )
        rows.append(row)
    names = list(dict.fromkeys(name for row in rows for name in row))
    return pa.table({name: _column([row.get(name) for row in rows]) for name in names})


def _column(values: list[Any]) -> pa.Array:
    try:
        return pa.array(values)
    except (pa.ArrowException, OverflowError):  # numbers in one row, text in another: all are text
        return pa.array(
            [v if v is None or isinstance(v, str) else json.dumps(v) for v in values], pa.string()
        )
