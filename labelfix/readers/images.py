"""Where image bytes come from: files by path or URL, and bytes embedded in Parquet, read lazily."""

from __future__ import annotations

import errno
import os
import threading
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from labelfix.errors import ImageUnreadable, LabelfixError
from labelfix.readers.parquet import RowGroups, parquet_file
from labelfix.readers.storage import Place, is_url, leaf

if TYPE_CHECKING:
    from collections.abc import Iterator

WHOLE = 64 << 20
"""A row group whose images take less is held whole; a larger one passes by in batches."""
BATCH = 16 << 20
"""About the size of such a batch, in bytes."""
KEPT = 2
"""So many decoded row groups, or batches, and open files a process keeps."""


@dataclass(frozen=True, eq=False)
class FileImages:
    """One file a row, below a root; a name may also be a web address."""

    root: Place
    """What the names are relative to."""
    names: pa.StringArray
    """[N] relative paths; "" where the row names no image."""
    hosts: dict[str, Place] = field(default_factory=dict)
    """Filesystems of web addresses, by scheme."""

    def __len__(self) -> int:
        return len(self.names)

    def name(self, index: int) -> str:
        """Return the path relative to the root."""
        return str(self.names[index].as_py())

    def read(self, index: int) -> bytes:
        """Return the file's bytes; raises ImageUnreadable."""
        name = self.name(index)
        if not name:
            raise ImageUnreadable("the row names no image")
        try:
            data = self._place(name).read(name)
        except Exception as error:  # each filesystem fails in its own way
            raise ImageUnreadable(_reason(error)) from error
        if not data:
            raise ImageUnreadable("the file is empty (0 bytes)")
        return data

    def _place(self, name: str) -> Place:
        return self.hosts.setdefault(name.partition("://")[0], Place(name)) if is_url(name) else self.root


class EmbeddedImages:
    """Bytes in a column of Parquet files: plain binary, or a struct with a field `bytes`.

    Cheap in row order, and in any order while row groups are below 64 MB; memory stays bounded either way.
    """

    def __init__(self, groups: RowGroups, column: str, field: str | None) -> None:
        self.groups = groups
        self.column = column
        self.field = field
        self.files = tuple(leaf(file) if is_url(file) else file for file in groups.files)
        """[F] what the user calls the files."""
        self._window = _Window()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_window": None}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _window=_Window())

    def __len__(self) -> int:
        return int(self.groups.starts[-1])

    def name(self, index: int) -> str:
        """Return `file.parquet#row`, the row counted from 0 in its file."""
        file = int(np.searchsorted(self.groups.file_starts, index, side="right")) - 1
        return f"{self.files[file]}#{index - int(self.groups.file_starts[file])}"

    def read(self, index: int) -> bytes:
        """Return the embedded bytes; raises ImageUnreadable."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        window = self._window
        if window.process != os.getpid():  # forked: the open files are the parent's
            window = self._window = _Window()
        with window.lock:
            held = window.find(index)
            if held is None:
                try:
                    held = window.load(self, index)
                except (pa.ArrowException, OSError, EOFError, LabelfixError) as error:
                    raise ImageUnreadable(f"its part of the Parquet file cannot be read ({error})") from error
        start, values = held
        data: bytes | None = values[index - start].as_py()
        if data is None:
            raise ImageUnreadable("the row holds no image (null)")
        if not data:
            raise ImageUnreadable("the embedded image is empty (0 bytes)")
        return data


class _Window:
    """What one process holds of a Parquet data set: a few open files and a few stretches of decoded rows."""

    def __init__(self) -> None:
        self.process = os.getpid()
        self.lock = threading.Lock()
        self.files: OrderedDict[int, pq.ParquetFile] = OrderedDict()
        self.stretches: OrderedDict[int, pa.Array] = OrderedDict()
        self.running: tuple[int, int, Iterator[Any]] | None = None  # row group, next row, its batches

    def find(self, index: int) -> tuple[int, pa.Array] | None:
        for start in reversed(self.stretches):
            values = self.stretches[start]
            if start <= index < start + len(values):
                return start, values
        return None

    def load(self, images: EmbeddedImages, index: int) -> tuple[int, pa.Array]:
        groups = images.groups
        g = int(np.searchsorted(groups.starts, index, side="right")) - 1
        first, end = int(groups.starts[g]), int(groups.starts[g + 1])
        if groups.sizes[g] <= WHOLE:
            self.running = None
            table = self._file(images, g).read_row_group(
                int(groups.group[g]), columns=[_path(images)], use_threads=False
            )
            column = table.column(0)
            return self._keep(first, _bytes(column.combine_chunks(), images.field))
        if self.running is None or self.running[0] != g or self.running[1] > index:
            rows = max(1, int(BATCH * (end - first) / groups.sizes[g]))
            batches = self._file(images, g).iter_batches(
                rows, row_groups=[int(groups.group[g])], columns=[_path(images)], use_threads=False
            )
            self.running = (g, first, batches)
        _, start, batches = self.running
        for batch in batches:
            after = start + len(batch)
            self.running = (g, after, batches)
            if index < after:
                return self._keep(start, _bytes(batch.column(0), images.field))
            start = after
        raise EOFError("it ends early")

    def _keep(self, start: int, values: pa.Array) -> tuple[int, pa.Array]:
        self.stretches[start] = values
        self.stretches.move_to_end(start)
        while len(self.stretches) > KEPT:
            self.stretches.popitem(last=False)
        return start, values

    def _file(self, images: EmbeddedImages, g: int) -> pq.ParquetFile:
        f = int(images.groups.file[g])
        if f not in self.files:
            self.files[f] = parquet_file(images.groups.root, images.groups.files[f])
            while len(self.files) > KEPT:
                self.files.popitem(last=False)[1].close(force=True)
        return self.files[f]


def _path(images: EmbeddedImages) -> str:
    return f"{images.column}.{images.field}" if images.field else images.column


def _bytes(values: pa.Array, field: str | None) -> pa.Array:
    if isinstance(values, pa.ChunkedArray):  # more than 2 GB
        values = values.cast(pa.large_binary()).combine_chunks()
    return pc.struct_field(values, field) if field else values


def _reason(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "file not found"
    if isinstance(error, PermissionError):
        return "permission denied"
    if isinstance(error, IsADirectoryError):
        return "is a directory"
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:
        return "file not found (the name is too long)"
    if isinstance(error, LabelfixError):
        return str(error)
    return f"cannot be read ({str(error) or type(error).__name__})"
