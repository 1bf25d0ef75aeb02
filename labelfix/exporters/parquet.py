"""Parquet: the queue as a typed table, with empty columns for the answers."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pyarrow as pa
import pyarrow.parquet as pq

from labelfix.errors import InputError
from labelfix.exporters.answers import Answer
from labelfix.exporters.queue import Queue
from labelfix.exporters.rows import ANSWERED, answers_of
from labelfix.rundir import writing


class Parquet:
    """For programs: fill the column `answer`."""

    takes_queue: ClassVar[bool] = True
    most: ClassVar[int] = 10_000_000

    def export(self, queue: Queue, out: Path) -> list[Path]:
        """Write one file."""
        table = queue.shown()
        for name in ANSWERED:
            table = table.append_column(name, pa.nulls(len(table), pa.string()))
        with writing(out) as temporary:
            pq.write_table(table, temporary, compression="zstd")
        return [out]

    def recognises(self, path: Path) -> bool:
        """Say yes to .parquet."""
        return path.suffix.lower() in {".parquet", ".pq"}

    def answers(self, path: Path) -> list[Answer]:
        """Read a filled queue, or any table with an id and an answer, label or decision."""
        try:
            table = pq.read_table(path)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{path}: is no whole Parquet file ({error}); write or copy it again") from error
        return answers_of(table.to_pylist(), table.column_names, path)
