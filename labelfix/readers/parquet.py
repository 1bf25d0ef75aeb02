"""Parquet files: columns read when asked for, row groups, and declared class names."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from labelfix.errors import InputError
from labelfix.readers.rows import Rows, check_same_columns, one_table
from labelfix.readers.storage import Place

_BUFFER = 4 << 20  # without it, a column of a row group is read whole before its first batch


@dataclass(frozen=True)
class RowGroups:
    """The row groups of consecutive Parquet files, G of them; small, so that worker processes get a copy."""

    root: Place
    """What the file names are relative to."""
    files: tuple[str, ...]
    """[F] names of the files."""
    file: NDArray[np.int32]
    """[G] file of each row group."""
    group: NDArray[np.int32]
    """[G] number of the row group in its file."""
    starts: NDArray[np.int64]
    """[G + 1] first row of each row group; the last entry is N."""
    file_starts: NDArray[np.int64]
    """[F + 1] first row of each file."""
    sizes: NDArray[np.int64]
    """[G] bytes of the column when decompressed."""
    all_null: bool
    """Whether the statistics say that the column holds nothing."""


def parquet_file(root: Place, name: str) -> pq.ParquetFile:
    """Open one file; raises InputError when it is missing, cut off or no Parquet."""
    shown = root.shown(name)
    try:
        if root.local:
            return pq.ParquetFile(root.join(name), pre_buffer=False, buffer_size=_BUFFER)
        return pq.ParquetFile(root.open(name), pre_buffer=False, buffer_size=_BUFFER)
    except FileNotFoundError as error:
        raise Place(shown).missing() from error
    except (pa.ArrowException, OSError, ValueError) as error:
        why = "it is empty (0 bytes)" if "size is 0 bytes" in str(error) else _first_sentence(error)
        raise InputError(f"{shown}: is no whole Parquet file ({why}); write or copy it again") from error


def parquet_rows(root: Place, files: Sequence[str]) -> Rows:
    """Return the rows of Parquet files with the same columns; raises InputError."""
    schema: pa.Schema | None = None
    counts = []
    for name in files:
        with parquet_file(root, name) as file:
            if schema is None:
                schema = file.schema_arrow
            check_same_columns(schema, file.schema_arrow, root.shown(files[0]), root.shown(name))
            counts.append(file.metadata.num_rows)
    assert schema is not None
    if not sum(counts):
        raise InputError(f"{root.shown(files[0])}: holds columns but no rows; export it again with its rows")

    def load(columns: Sequence[str]) -> pa.Table:
        return one_table([_columns(root, name, columns) for name in files], root, files)

    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
    return Rows(root, tuple(files), starts, schema, load, classes=declared_classes(schema))


def row_groups(rows: Rows, column: str) -> RowGroups:
    """Return where row groups begin and how large a column is in each; "a.b" is a field of a struct."""
    of_file, of_group, counts, sizes, nulls = [], [], [], [], 0
    for f, name in enumerate(rows.files):
        with parquet_file(rows.root, name) as file:
            meta = file.metadata
            leaves = [i for i in range(meta.num_columns) if meta.schema.column(i).path == column]
            for g in range(meta.num_row_groups):
                group = meta.row_group(g)
                if group.num_rows:
                    chunks = [group.column(i) for i in leaves]
                    of_file.append(f)
                    of_group.append(g)
                    counts.append(group.num_rows)
                    sizes.append(sum(chunk.total_uncompressed_size for chunk in chunks))
                    nulls += sum(c.statistics.null_count or 0 for c in chunks if c.statistics is not None)
    return RowGroups(
        rows.root,
        rows.files,
        np.array(of_file, np.int32),
        np.array(of_group, np.int32),
        np.concatenate([[0], np.cumsum(counts)]).astype(np.int64),
        rows.starts,
        np.array(sizes, np.int64),
        nulls == len(rows),
    )


def declared_classes(schema: pa.Schema) -> dict[str, tuple[str, ...]]:
    """Return the class names that the `huggingface` metadata declares, by column."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {
            column: tuple(map(str, feature["names"]))
            for column, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel" and feature.get("names")
        }
    except (KeyError, TypeError, ValueError, AttributeError):  # none, or not as documented
        return {}


def _columns(root: Place, name: str, columns: Sequence[str]) -> pa.Table:
    with parquet_file(root, name) as file:
        try:
            return file.read(columns=list(columns))
        except (pa.ArrowException, OSError) as error:
            shown, wanted = root.shown(name), ", ".join(columns)
            why = _first_sentence(error)
            raise InputError(
                f"{shown}: column {wanted} is damaged ({why}); write or copy it again"
            ) from error


def _first_sentence(error: Exception) -> str:
    return str(error).split(". ")[0].split("\n")[0].strip(" .") or type(error).__name__
