"""Edits: which rows of a manifest change, and how."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelfix.readers.sniffing import OURS as PREFIX

TYPES: dict[str, str] = {"trusted": "bool", "agreement": "double", "round": "int32", "stands_for": "double"}
"""Of columns of ours that do not hold text."""


class _Kept:
    """The label stays as it is."""


KEPT = _Kept()


@dataclass(frozen=True, eq=False)
class Edits:
    """Changes to m rows."""

    rows: NDArray[np.int64]
    """[m] manifest positions, ascending."""
    labels: list[Any]
    """[m] the new class by name, None for no label, or KEPT."""
    columns: dict[str, list[Any]] = field(default_factory=dict)
    """Column of ours, without its prefix → values [m]; None leaves a cell empty. Other rows' cells stay."""
    raw: bool = False
    """Whether `labels` are what `raw_labels` gave, not classes by name."""
    dropped: tuple[str, ...] = ()
    """Columns of ours, without the prefix, that are taken away altogether."""

    def __len__(self) -> int:
        return len(self.rows)

    def between(self, start: int, end: int) -> Edits:
        """Return the changes to rows start … end − 1, counted from start."""
        low, high = np.searchsorted(self.rows, [start, end])
        columns = {name: values[low:high] for name, values in self.columns.items()}
        return Edits(self.rows[low:high] - start, self.labels[low:high], columns, self.raw, self.dropped)

    def spelled(self, spelling: dict[str, Any]) -> list[Any]:
        """Return the labels [m] as the file spells them, None for no label, KEPT where they stay.

        A class that no row has yet is spelled as it is named, or as a number where the others are numbers.
        """
        if self.raw:
            return self.labels
        kinds = {type(value) for value in spelling.values()}
        plain = kinds.pop() if len(kinds) == 1 and kinds <= {int, float} else str
        return [
            label
            if label is None or label is KEPT
            else spelling[label]
            if label in spelling
            else plain(label)
            for label in self.labels
        ]


__all__ = ["KEPT", "PREFIX", "TYPES", "Edits"]
