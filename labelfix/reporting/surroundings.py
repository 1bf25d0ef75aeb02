"""Surroundings: the nearest neighbours of a few rows, and what labels they carry."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelfix.arrayfile import load_arrays


@dataclass(frozen=True)
class Surrounding:
    """The neighbours of one row, the nearest first, at most k."""

    rows: tuple[int, ...]
    """Their rows in the manifest."""
    similarity: tuple[float, ...]
    """Cosine, of features projected to 128 dimensions."""

    def carrying(self, labels: Sequence[str | None], label: str) -> int:
        """Count the neighbours with a label; `labels` are those of all rows."""
        return sum(labels[row] == label for row in self.rows)


def read_surroundings(path: Path, rows: NDArray[np.intp]) -> dict[int, Surrounding]:
    """Return the neighbours of rows [n] of the manifest; nothing where the file is missing.

    Rows that were not scored have none. Raises InputError when the file is damaged or of a newer or much older
    labelfix.
    """
    if not path.exists():
        return {}
    held, _ = load_arrays(path, "neighbours", ("rows", "index", "similarity"))
    order = np.argsort(held["rows"], kind="stable")
    place = np.searchsorted(held["rows"], rows, sorter=order).clip(0, len(order) - 1)
    trained = order[place]
    found = {}
    for row, at in zip(rows.tolist(), trained, strict=True):
        if held["rows"][at] != row:
            continue
        index, near = held["index"][at], held["similarity"][at]
        kept = index >= 0
        found[row] = Surrounding(
            tuple(held["rows"][index[kept]].tolist()), tuple(near[kept].astype(float).round(3).tolist())
        )
    return found
