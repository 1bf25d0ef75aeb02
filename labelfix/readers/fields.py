"""The other columns: ids, groups, annotators, splits as text; trust as true or false."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from labelfix.errors import InputError
from labelfix.readers.rows import Rows
from labelfix.readers.sniffing import is_scalar

TRUE = frozenset({"true", "t", "yes", "y", "1", "1.0"})
FALSE = frozenset({"false", "f", "no", "n", "0", "0.0", "", "nan"})

Texts = NDArray[np.object_]


def texts(rows: Rows, name: str) -> pa.ChunkedArray:
    """Return a column as text, whole floats without their fraction; raises InputError for lists and bytes."""
    column = rows.column(name)
    if not is_scalar(column.type):
        raise InputError(
            f"{rows.shown}: column {name!r} holds {column.type}, not one text a row; choose another column"
        )
    if pa.types.is_floating(column.type):
        column = pc.if_else(pc.is_nan(column), None, column)
        if not pc.any(pc.not_equal(column, pc.trunc(column))).as_py():
            column = column.cast(pa.int64(), safe=False)
    return column.cast(pa.string())


def filled(column: pa.ChunkedArray | pa.Array) -> Texts:
    """Return texts as an object array [N], null as ""."""
    found: Texts = pc.fill_null(column, "").to_numpy(zero_copy_only=False)
    return found.astype(object, copy=False)


def truth(rows: Rows, name: str) -> NDArray[np.bool_]:
    """Return a column of true and false [N], blank as false; raises InputError for another value."""
    words = pc.fill_null(pc.utf8_lower(pc.utf8_trim_whitespace(texts(rows, name))), "")
    yes = pc.is_in(words, pa.array(sorted(TRUE)))
    neither = pc.invert(pc.or_(yes, pc.is_in(words, pa.array(sorted(FALSE)))))
    row = pc.index(neither, True).as_py()
    if row >= 0:
        raise InputError(
            f"{rows.at(row)}, column {name!r} is {words[row].as_py()!r}, not true or false; "
            f"mend it, or choose another column with --trusted-col"
        )
    return np.asarray(yes.to_numpy(), bool)


def given_ids(rows: Rows, name: str, annotators: Texts | None) -> Texts:
    """Return the id column [N]; raises InputError for a blank or a repeated one.

    With annotators a row is one answer, and id and annotator together must be unique.
    """
    column = texts(rows, name)
    row = pc.index(pc.equal(pc.fill_null(column, ""), ""), True).as_py()
    if row >= 0:
        raise InputError(f"{rows.at(row)} has no {name!r}; give every row an id, or choose another --id-col")
    ids = filled(column)
    twice = first_repeated(ids, annotators)
    if twice is not None:
        one, other = twice
        whose = f" of annotator {annotators[one]!r}" if annotators is not None else ""
        remedy = (
            "make ids unique, choose another --id-col, or name the --annotator-col if a row is one answer"
        )
        if annotators is not None:
            remedy = "drop one of the rows"
        raise InputError(
            f"{rows.at(other)} repeats the id {ids[other]!r}{whose} of {_beside(rows, one, other)}; {remedy}"
        )
    return ids


def first_repeated(ids: Texts, annotators: Texts | None) -> tuple[int, int] | None:
    """Return the first two rows with one id (and one annotator), or None when all differ."""
    codes = pa.array(ids).dictionary_encode().indices.to_numpy().astype(np.int64)
    if annotators is not None:
        who = pa.array(annotators).dictionary_encode()
        nobody = np.asarray(annotators == "", bool)  # of whom nothing is known may be several
        codes = codes * max(1, len(who.dictionary)) + who.indices.to_numpy()
        codes[nobody] = -1 - np.flatnonzero(nobody)
    order = np.argsort(codes, kind="stable")
    again = np.flatnonzero(codes[order][1:] == codes[order][:-1])
    if not len(again):
        return None
    where = again[np.argmin(order[again + 1])]
    return int(order[where]), int(order[where + 1])


def _beside(rows: Rows, one: int, other: int) -> str:
    here, there = rows.at(other).rpartition(": row ")[0], rows.at(one)
    return (
        there.rpartition(": ")[2].removesuffix(" (the first is 0)")
        if there.startswith(f"{here}: ")
        else there
    )
