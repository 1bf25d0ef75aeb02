"""Spacing: some of many rows, without a draw; rows in canonical order are in the order of their hashes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def evenly(rows: int, most: int) -> NDArray[np.intp]:
    """Return ascending positions of at most so many of the rows, evenly spaced."""
    return np.unique(np.linspace(0, max(rows - 1, 0), min(rows, most)).astype(np.intp))
