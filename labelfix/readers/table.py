"""Tables: CSV, TSV, JSON lines and Parquet, one file or many, here or behind an fsspec URL."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

import numpy as np
import pyarrow as pa

from labelfix.errors import InputError
from labelfix.manifest import Manifest
from labelfix.readers.assembling import assemble
from labelfix.readers.delimited import delimited
from labelfix.readers.interface import Columns
from labelfix.readers.jsonl import json_lines
from labelfix.readers.parquet import parquet_rows
from labelfix.readers.recognising import directory_kind, has_glob, table_format
from labelfix.readers.rows import Rows, one_table
from labelfix.readers.storage import Place, before_glob, leaf, parent


class TableReader:
    """Reads a table with a row for each image; image paths are relative to the table's directory."""

    def recognises(self, source: str) -> bool:
        """Say yes to names that end like a table, and to directories of tables without images."""
        if table_format(leaf(source)) is not None:
            return True
        place = Place(source)
        return directory_kind(place) == "tables" or (has_glob(source) and not place.exists())

    def read(self, source: str, columns: Columns) -> Manifest:
        """Read it; raises InputError that names the file, the row or column and the remedy."""
        return assemble(open_rows(source), columns, source)


def open_rows(source: str) -> Rows:
    """Return the rows of a table file, a directory of them, or a pattern; raises InputError."""
    root, files = _files(source)
    formats = {table_format(leaf(file)) for file in files}
    if len(formats) > 1:
        kinds = " and ".join(sorted(str(kind) for kind in formats))
        raise InputError(
            f"{source}: holds {kinds} tables; choose one kind by a pattern like '*.{min(map(str, formats))}'"
        )
    kind = formats.pop()
    return parquet_rows(root, files) if kind == "parquet" else text_rows(root, files)


def text_rows(root: Place, files: Sequence[str]) -> Rows:
    """Return the rows of CSV, TSV or JSON-lines files; raises InputError."""
    tables, notes, typed = [], [], False
    for file in files:
        shown, kind = root.shown(file), table_format(leaf(file))
        data = _decompressed(root, file)
        if kind == "jsonl":
            tables.append(json_lines(data, shown))
            typed = True
        else:
            table, remarks = delimited(data, shown, tabs=kind == "tsv")
            tables.append(table)
            notes += remarks
    return rows_of(one_table(tables, root, files), root, files, [len(t) for t in tables], typed, notes)


def rows_of(
    table: pa.Table,
    root: Place,
    files: Sequence[str],
    counts: Sequence[int],
    typed: bool,
    notes: Sequence[str] = (),
) -> Rows:
    """Wrap a table that is in memory already."""
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Rows(root, tuple(files), starts, table.schema, table.select, typed, tuple(notes))


def _files(source: str) -> tuple[Place, list[str]]:
    """Return where a source's tables are and their names, sorted."""
    place = Place(source)
    if has_glob(source) and not place.exists():
        base = Place(before_glob(source))
        files = [name for name in place.glob() if table_format(name) is not None]
        if not files:
            raise InputError(f"{source}: no table matches this pattern; look into {base.url}")
        return base, files
    if place.is_directory():
        files = [
            posixpath.join(directory, name)
            for directory, names in place.walk()
            for name in names
            if table_format(name) is not None and not name.startswith((".", "_"))
        ]
        return place, sorted(files)
    if not place.exists():
        raise place.missing()
    # A web address is kept whole: what follows its "?" may be a signature.
    return Place(parent(source)), [source if source.startswith("http") else leaf(source)]


def _decompressed(root: Place, file: str) -> bytes:
    shown = root.shown(file)
    try:
        data = root.read(file)
        how = {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}.get(posixpath.splitext(leaf(file))[1].lower())
        return bytes(pa.CompressedInputStream(pa.BufferReader(data), how).read()) if how and data else data
    except FileNotFoundError as error:
        raise Place(shown).missing() from error
    except Exception as error:
        raise InputError(
            f"{shown}: cannot be read ({error}); check its permissions, or copy it again"
        ) from error
