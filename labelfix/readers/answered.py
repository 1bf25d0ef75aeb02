"""Answered rows: the columns that merging writes, which the next scan reads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from labelfix.answers import WRONG, Rounds
from labelfix.errors import InputError
from labelfix.readers.fields import filled, texts
from labelfix.readers.rows import Rows
from labelfix.readers.sniffing import OURS

ANSWERED = tuple(f"{OURS}{name}" for name in ("round", "stands_for", "decision"))
PREVIOUS = f"{OURS}previous_label"


def read_rounds(rows: Rows, classes: Sequence[str]) -> Rounds | None:
    """Return what annotators answered before; None where a column is missing; raises InputError for no numbers."""
    if not set(ANSWERED) <= set(rows.schema.names):
        return None
    number, stands_for = (_numbers(rows, name) for name in ANSWERED[:2])
    said = filled(texts(rows, ANSWERED[2])).astype(str)
    return Rounds(number.astype(np.int32), stands_for, np.isin(said, WRONG), _previous(rows, classes))


def _previous(rows: Rows, classes: Sequence[str]) -> NDArray[np.int32]:
    """Return the class that each row had before [N]; -1 where that is not known, or no class any more."""
    if PREVIOUS not in rows.schema.names:
        return np.full(len(rows), -1, np.int32)
    place = {name: k for k, name in enumerate(classes)}
    named, which = np.unique(filled(texts(rows, PREVIOUS)).astype(str), return_inverse=True)
    # Where cells are blank, data frames write the whole numbers of the others with a fraction.
    found = [place.get(name, place.get(name.removesuffix(".0"), -1)) for name in map(str, named)]
    return np.array(found, np.int32)[which]


def _numbers(rows: Rows, name: str) -> NDArray[np.float64]:
    """Return a column of numbers [N], not below 0; blank is 0."""
    words = pc.utf8_trim_whitespace(texts(rows, name))
    try:
        found = pc.fill_null(pc.if_else(pc.equal(words, ""), None, words).cast(pa.float64()), 0.0).to_numpy()
    except pa.ArrowInvalid as error:
        raise InputError(
            f"{rows.shown}: column {name!r} is not all numbers ({error}); merge again"
        ) from error
    row = int(np.argmin(found)) if len(found) else -1
    if row >= 0 and not found[row] >= 0:
        raise InputError(f"{rows.at(row)}, column {name!r} is {found[row]}, below 0; merge again")
    return np.asarray(found, np.float64)
