"""Histories: what trajectories.parquet says of a few rows, as probabilities epoch by epoch."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from labelfix.errors import InputError
from labelfix.learn.recorder import BLOCKS, SCHEMA

BATCH = 1 << 16
"""Rows read at a time: bounds memory at a million rows."""

Curve = tuple[float, ...]


@dataclass(frozen=True)
class History:
    """One row and one block (in-sample, or out-of-fold), E recorded epochs."""

    given: Curve
    """[E] probability of the given label."""
    suggested: Curve
    """[E] probability of the suggested one; () where it was not recorded."""

    @property
    def preferred(self) -> int:
        """Epochs in which the suggested label was the likelier one."""
        return sum(s > g for g, s in zip(self.given, self.suggested, strict=False))


@dataclass(frozen=True)
class Histories:
    """What was recorded of some rows."""

    progress: dict[str, Curve]
    """[E] share of training done at each recorded epoch, by block."""
    rows: dict[int, dict[str, History]]
    """Row of the manifest → block → history; rows that were not scored are left out."""

    def out_of_fold(self, row: int) -> History | None:
        """Return what heads said that did not see the row; None where nothing was recorded."""
        return self.rows.get(row, {}).get("out_of_fold")


NOTHING = Histories({}, {})
"""A run without trajectories."""


def read_histories(path: Path, rows: NDArray[np.intp]) -> Histories:
    """Return the histories of rows [n] of the manifest; `NOTHING` where the file is missing.

    Raises InputError when it is damaged or of a newer labelfix.
    """
    if not path.exists() or not len(rows):
        return NOTHING
    wanted = np.sort(rows)
    try:
        with pq.ParquetFile(path) as file:
            header = json.loads((file.schema_arrow.metadata or {})[b"labelfix"])
            if header["schema"] > SCHEMA:
                raise InputError(
                    f"{path}: written by a newer labelfix (schema {header['schema']}, this one reads up to "
                    f"{SCHEMA}); upgrade labelfix"
                )
            asked = [name for block in BLOCKS for name in _names(block)]
            names = [name for name in asked if name in file.schema_arrow.names]
            parts, start = [], 0
            for batch in file.iter_batches(BATCH, columns=names):
                here = wanted[(wanted >= start) & (wanted < start + len(batch))] - start
                parts.append(pa.Table.from_batches([batch]).take(pa.array(here)))
                start += len(batch)
    except (KeyError, OSError, ValueError, pa.ArrowException) as error:
        raise InputError(f"{path}: the trajectories cannot be read ({error}); scan again") from error
    table = pa.concat_tables(parts)
    columns = {name: table.column(name).to_pylist() for name in names}
    found: dict[int, dict[str, History]] = {}
    for at, row in enumerate(wanted[: len(table)]):
        for block in BLOCKS:
            loss, other = (columns[name][at] if name in columns else None for name in _names(block))
            if loss is not None:
                found.setdefault(int(row), {})[block] = History(_p(loss), _p(other))
    return Histories({name: tuple(values) for name, values in header["progress"].items()}, found)


def _names(block: str) -> tuple[str, str]:
    return f"{block}.loss", f"{block}.suggested_loss"


def _p(loss: list[float] | None) -> Curve:
    return () if loss is None else tuple(np.exp(-np.array(loss)).round(4).tolist())
