"""The label column: any spelling of classes to indices, and what about them deserves a remark."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from labelfix.errors import InputError
from labelfix.readers.rows import Rows
from labelfix.readers.sniffing import is_scalar

UNLABELLED = frozenset({"", "nan", "NaN", "<NA>", "null", "NULL"})
"""Texts that say that there is no label, white space apart; "None" and "NA" may be classes."""

_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")
_NUMBER = re.compile(r"[+-]?[0-9]{1,15}(\.[0-9]*)?")
_SHOWN = 5

Codes = NDArray[np.int32]


def encode(rows: Rows, name: str) -> tuple[Codes, tuple[str, ...], list[str]]:
    """Return the class of each row [N], the classes [K] and notes.

    Whole numbers sort by value, texts alphabetically; classes that the schema declares keep their order, and
    those without a row are left out. Null, blank and NaN are -1. Raises InputError when the column holds
    something else than labels, or nothing.
    """
    column = rows.column(name)
    declared = rows.classes.get(name)
    if not is_scalar(column.type):
        what = f"column {name!r} holds {column.type}, but a label is one text or whole number a row"
        raise InputError(f"{rows.shown}: {what}; choose another column with --label-col")
    if pa.types.is_floating(column.type):
        column = _whole_numbers(rows, name, column)
    whole = pa.types.is_integer(column.type)
    spelled, codes = _spelled(column)
    if whole and declared is not None:
        spelled = _declared(rows, name, spelled, codes, declared)
    elif not whole and not rows.typed:
        spelled = _without_fraction(rows, name, spelled, codes)

    given = [text for text in spelled if text.strip() not in UNLABELLED]
    if not given:
        raise InputError(
            f"{rows.shown}: column {name!r} holds no label in any row; choose another with --label-col"
        )
    classes = _sorted(set(given), declared)
    place = {text: k for k, text in enumerate(classes)}
    lookup = np.array([*(place.get(text, -1) for text in spelled), -1], np.int32)
    labels = lookup[codes]
    return labels, classes, _remarks(name, labels, classes, set(spelled) - set(given))


def near_twins(classes: Sequence[str]) -> list[tuple[str, ...]]:
    """Return the groups of classes that differ only in case or spaces."""
    groups: dict[str, list[str]] = defaultdict(list)
    for name in classes:
        groups[" ".join(name.casefold().split())].append(name)
    return [tuple(group) for group in groups.values() if len(group) > 1]


def _spelled(column: pa.ChunkedArray) -> tuple[list[str], Codes]:
    """Return the distinct texts and, per row, which one it is; -1 for null."""
    if pa.types.is_null(column.type):
        column = column.cast(pa.string())
    encoded = column.combine_chunks().dictionary_encode()
    if isinstance(encoded, pa.ChunkedArray):
        encoded = encoded.unify_dictionaries().combine_chunks()
    texts = encoded.dictionary.cast(pa.string()).to_pylist()
    codes = pc.fill_null(encoded.indices, -1).to_numpy(zero_copy_only=False).astype(np.int32)
    return texts, codes


def _whole_numbers(rows: Rows, name: str, column: pa.ChunkedArray) -> pa.ChunkedArray:
    column = pc.if_else(pc.is_nan(column), None, column)
    odd = pc.fill_null(pc.not_equal(column, pc.trunc(column)), False)
    row = pc.index(odd, True).as_py()
    if row >= 0:
        raise _fraction(rows, name, row, column[row].as_py())
    try:
        return column.cast(pa.int64())
    except pa.ArrowException as error:
        what = f"column {name!r} holds numbers too large for labels"
        raise InputError(f"{rows.shown}: {what}; choose another with --label-col") from error


def _without_fraction(rows: Rows, name: str, spelled: list[str], codes: Codes) -> list[str]:
    """Turn "1.0" into "1" where all labels are numbers: a spreadsheet or a data frame wrote them so."""
    numbers = [text for text in spelled if text.strip() not in UNLABELLED]
    if not all(_NUMBER.fullmatch(text) for text in numbers) or not any("." in text for text in numbers):
        return spelled
    for code, text in enumerate(spelled):
        if text in numbers and text.partition(".")[2].strip("0"):
            raise _fraction(rows, name, int(np.flatnonzero(codes == code)[0]), text)
    return [str(int(text.partition(".")[0])) if text in numbers else text for text in spelled]


def _fraction(rows: Rows, name: str, row: int, value: object) -> InputError:
    return InputError(
        f"{rows.at(row)}, column {name!r} is {value}, but labels are texts or whole numbers; "
        f"choose another column with --label-col, or write these classes as text such as 'size {value}'"
    )


def _declared(
    rows: Rows, name: str, spelled: list[str], codes: Codes, declared: tuple[str, ...]
) -> list[str]:
    names = []
    for code, text in enumerate(spelled):
        if not -1 <= int(text) < len(declared):
            row = int(np.flatnonzero(codes == code)[0])
            most = len(declared) - 1
            raise InputError(
                f"{rows.at(row)}, column {name!r} is {text}, but the file declares classes 0 to {most}; "
                f"mend the row or the file's 'huggingface' metadata"
            )
        names.append("" if text == "-1" else declared[int(text)])  # -1 is how such data sets say "no label"
    return names


def _sorted(classes: set[str], declared: tuple[str, ...] | None) -> tuple[str, ...]:
    if declared is not None and classes <= set(declared):
        return tuple(name for name in dict.fromkeys(declared) if name in classes)
    if all(_WHOLE.fullmatch(name) for name in classes):
        return tuple(sorted(classes, key=lambda text: (int(text), text)))
    return tuple(sorted(classes))


def _remarks(name: str, labels: Codes, classes: tuple[str, ...], blanks: set[str]) -> list[str]:
    notes = []
    without = int((labels < 0).sum())
    if without:
        read = sorted(text for text in blanks if text.strip())
        how = f" (including those that read {', '.join(map(repr, read))})" if read else ""
        notes.append(f"{without:,} of {len(labels):,} rows have no {name}{how}: they are kept, unlabelled")
    twins = near_twins(classes)
    if twins:
        shown = "; ".join(" and ".join(map(repr, group)) for group in twins[:_SHOWN])
        more = f" and {len(twins) - _SHOWN} more" if len(twins) > _SHOWN else ""
        notes.append(
            f"classes {shown}{more} differ only in case or spaces: rename them if they are meant to be one"
        )
    if "-1" in classes and sum(_WHOLE.fullmatch(c) is not None and int(c) >= 0 for c in classes) > 1:
        count = int((labels == classes.index("-1")).sum())
        notes.append(
            f"{count:,} rows are labelled -1, read as a class of its own: leave the cell empty for 'no label'"
        )
    return notes
