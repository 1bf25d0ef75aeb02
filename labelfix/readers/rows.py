"""Rows: a table of given columns, whatever files it lies in, and how to name one of its rows."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from labelfix.errors import InputError, nearest
from labelfix.readers.storage import Place


@dataclass(frozen=True, eq=False)
class Rows:
    """N rows in F files with the same columns."""

    root: Place
    """What the file names are relative to."""
    files: tuple[str, ...]
    """[F] names of the files."""
    starts: NDArray[np.int64]
    """[F + 1] first row of each file; the last entry is N."""
    schema: pa.Schema
    """Columns and their types."""
    load: Callable[[Sequence[str]], pa.Table]
    """Reads the columns asked for."""
    typed: bool = True
    """False when every value is text because the format knows nothing else (CSV)."""
    notes: tuple[str, ...] = ()
    """What was noticed on the way."""
    classes: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Class names of integer columns, where the schema declares them."""

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def shown(self) -> str:
        """The source as the user would write it, or its first file and the number of the others."""
        first = self.root.shown(self.files[0])
        return first if len(self.files) == 1 else f"{first} (and {len(self.files) - 1} more)"

    def at(self, row: int) -> str:
        """Name the file and the row, counted from 0 in its file: the head of an error message."""
        file = int(np.searchsorted(self.starts, row, side="right")) - 1
        return f"{self.root.shown(self.files[file])}: row {row - int(self.starts[file])} (the first is 0)"

    def holding(self, columns: Sequence[str]) -> Rows:
        """Return the same rows with these columns read at once and kept."""
        table = self.load(columns)

        def load(wanted: Sequence[str]) -> pa.Table:
            return table.select(wanted) if set(wanted) <= set(columns) else self.load(wanted)

        return replace(self, load=load)

    def column(self, name: str) -> pa.ChunkedArray:
        """Return one column, dictionaries resolved; raises InputError when there is none or several."""
        if self.schema.get_field_index(name) < 0:
            held = self.schema.names.count(name)
            if held:
                raise InputError(f"{self.shown}: {held} columns are named {name!r}; rename all but one")
            raise InputError(f"{self.shown}: no column {name!r}; {nearest(name, self.schema.names)}")
        column = self.load([name]).column(name)
        while pa.types.is_dictionary(column.type):
            column = column.cast(column.type.value_type)
        return column.cast(pa.float32()) if pa.types.is_float16(column.type) else column


def one_table(parts: Sequence[pa.Table], root: Place, files: Sequence[str]) -> pa.Table:
    """Join the files' tables; raises InputError naming a file whose columns differ from the first's."""
    for part, file in zip(parts, files, strict=True):
        check_same_columns(parts[0].schema, part.schema, root.shown(files[0]), root.shown(file))
    if len(parts) == 1:
        return parts[0]
    try:
        return pa.concat_tables(parts, promote_options="permissive")
    except pa.ArrowException as error:
        raise InputError(
            f"{root.shown(files[0])}: its column types differ from other files' ({error})"
        ) from error


def check_same_columns(first: pa.Schema, other: pa.Schema, first_name: str, name: str) -> None:
    """Raise InputError unless both have the same column names."""
    missing, more = set(first.names) - set(other.names), set(other.names) - set(first.names)
    if missing or more:
        what = f"has no column {min(missing)!r}" if missing else f"has a column {min(more)!r} too many"
        raise InputError(
            f"{name}: {what}, unlike {first_name}; name the files that belong together by a pattern"
        )
