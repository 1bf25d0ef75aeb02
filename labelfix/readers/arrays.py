"""Features and probabilities that the user already has: NPY, NPZ, or a column of lists in Parquet."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from labelfix.errors import InputError, nearest
from labelfix.readers.parquet import parquet_file
from labelfix.readers.recognising import table_format
from labelfix.readers.rows import Rows
from labelfix.readers.storage import Place, leaf
from labelfix.readers.table import TableReader, open_rows

CHUNK = 32 << 20
"""Bytes of an array that are checked at a time."""
SUM_TOLERANCE = 1e-3
"""A row of probabilities may miss 1 by this much, and is then scaled."""

What = Literal["features", "pred_probs"]


def read_array(
    spec: str, manifest_source: str, rows: int, what: What, classes: int | None = None
) -> NDArray[np.floating[Any]]:
    """Return an array [rows, D] in manifest order; an NPY file stays on disk, memory-mapped.

    `spec` is `file.npy`, `file.npz`, `file.npz:name`, `file.parquet:column`, or a column of the manifest's
    own Parquet. Probabilities must have `classes` columns, lie in 0 … 1 and sum to 1 a row.

    Raises InputError that names the file, the first bad row and the remedy.
    """
    array = _load(spec, manifest_source)
    option = f"--{what.replace('_', '-')}"
    if array.ndim != 2:
        shape = " × ".join(map(str, array.shape)) or "a single number"
        raise InputError(
            f"{spec}: has shape {shape}, but {option} needs a row for each image and a column for each value"
        )
    if len(array) != rows:
        raise InputError(
            f"{spec}: has {len(array):,} rows, but the manifest has {rows:,}; give {option} in manifest "
            f"order, one row for each"
        )
    if what == "pred_probs" and classes is not None and array.shape[1] != classes:
        raise InputError(
            f"{spec}: has {array.shape[1]:,} columns, but the manifest has {classes:,} classes; give a "
            f"probability for each class, in the order of the manifest's classes"
        )
    if not array.shape[1]:
        raise InputError(f"{spec}: has no columns; {option} needs at least one value a row")
    if array.dtype.kind in "iub":
        array = array.astype(np.float32)
    if array.dtype.kind != "f":
        raise InputError(f"{spec}: holds {array.dtype}, not real numbers; save it as float32 or float16")
    return _scaled(array) if _check(array, spec, what) else array


def order_remark(
    probabilities: NDArray[Any], labels: NDArray[np.int32], classes: tuple[str, ...]
) -> str | None:
    """Say so if the columns of probabilities [N, K] seem to be in another order than the classes [K].

    Of most columns, the rows that are likeliest there must carry another label by a clear majority: wrong
    labels alone do not do that.
    """
    K, counts = len(classes), np.zeros((len(classes), len(classes)))
    for start, chunk in _chunks(probabilities):
        given = labels[start : start + len(chunk)]
        known = given >= 0
        np.add.at(counts, (chunk.argmax(axis=1)[known], given[known]), 1)
    usual, total = counts.argmax(axis=1), counts.sum(axis=1)
    clear = (total >= 5) & (counts.max(axis=1) > 0.5 * total)
    moved = clear & (usual != np.arange(K))
    if moved.sum() < 2 or moved.sum() <= clear.sum() / 2:
        return None
    column = int(np.argmax(moved))
    return (
        f"pred-probs: column {column} (the first is 0) stands for class {classes[column]!r}, but the rows likeliest "
        f"there are labelled {classes[usual[column]]!r}, and so on: are the columns in the order "
        f"{', '.join(classes[:4])}{', …' if K > 4 else ''}?"
    )


def _check(array: NDArray[Any], spec: str, what: What) -> bool:
    """Raise InputError for the first bad row; say whether probabilities have to be scaled."""
    exact = SUM_TOLERANCE if array.dtype == np.float16 else 1e-6
    inexact = False
    for start, chunk in _chunks(array):
        finite = np.isfinite(chunk).all(axis=1)
        if not finite.all():
            row = int(np.argmin(finite))
            value = chunk[row][~np.isfinite(chunk[row])][0]
            raise InputError(
                f"{spec}: row {start + row} (the first is 0) holds {value}; recompute or replace that row"
            )
        if what == "pred_probs":
            outside = ((chunk < -SUM_TOLERANCE) | (chunk > 1 + SUM_TOLERANCE)).any(axis=1)
            if outside.any():
                row = int(np.argmax(outside))
                value = chunk[row][np.argmax(np.abs(chunk[row] - 0.5))]
                raise InputError(f"{spec}: row {start + row} (the first is 0) holds {value:.4g}, which is no "
                                 f"probability; apply softmax to logits first")  # fmt: skip
            total = chunk.sum(axis=1, dtype=np.float64)
            off = np.abs(total - 1) > SUM_TOLERANCE
            if off.any():
                row = int(np.argmax(off))
                raise InputError(
                    f"{spec}: row {start + row} (the first is 0) sums to {total[row]:.4g}, not 1; "
                    f"normalise the probabilities of each row"
                )
            inexact = inexact or bool((np.abs(total - 1) > exact).any() or (chunk < 0).any())
    return inexact


def _scaled(array: NDArray[Any]) -> NDArray[Any]:
    scaled = np.empty(array.shape, array.dtype)
    for start, chunk in _chunks(array):
        p = chunk.clip(0)
        scaled[start : start + len(chunk)] = p / p.sum(axis=1, keepdims=True, dtype=np.float64)
    return scaled


def _chunks(array: NDArray[Any]) -> Any:
    step = max(1, CHUNK // max(1, array.shape[1] * array.itemsize))
    for start in range(0, len(array), step):
        yield start, array[start : start + step]


def _load(spec: str, manifest_source: str) -> NDArray[Any]:
    file, _, inner = spec.rpartition(":")
    whole = leaf(spec).lower()
    if whole.endswith(".npy"):
        return _npy(spec)
    if whole.endswith(".npz"):
        return _npz(spec, None)
    if file.lower().endswith(".npz"):
        return _npz(file, inner)
    if table_format(leaf(file)) == "parquet":
        return _lists(open_rows(file), inner)
    if table_format(whole) is not None or Path(spec).exists():
        hint = f"name its column: {spec}:COLUMN" if table_format(whole) == "parquet" else "save it as .npy"
        raise InputError(f"{spec}: is no .npy, .npz or Parquet column; {hint}")
    if "/" in spec:
        raise InputError(f"{spec}: there is no such file; give a .npy, a .npz:NAME or a .parquet:COLUMN")
    rows = None
    if table_format(leaf(manifest_source)) in {None, "parquet"} and TableReader().recognises(manifest_source):
        rows = open_rows(manifest_source)
    if rows is None or table_format(leaf(rows.files[0])) != "parquet":
        raise InputError(
            f"{spec}: is no file, and {manifest_source} is no Parquet with a column of that name; "
            f"give a .npy, a .npz:NAME or a .parquet:COLUMN"
        )
    return _lists(rows, spec)


def _npy(spec: str) -> NDArray[Any]:
    place = Place(spec)
    try:
        if place.local:
            return np.load(place.path, mmap_mode="r")  # type: ignore[no-any-return]  # untyped
        return np.load(io.BytesIO(place.read()))  # type: ignore[no-any-return]  # untyped
    except FileNotFoundError as error:
        raise place.missing() from error
    except (OSError, ValueError, EOFError) as error:
        why = "it holds Python objects" if _speaks_of_objects(error) else str(error)
        raise InputError(f"{spec}: cannot be read ({why}); save a float array with numpy.save") from error


def _npz(file: str, name: str | None) -> NDArray[Any]:
    place = Place(file)
    try:
        with np.load(place.path if place.local else io.BytesIO(place.read())) as arrays:
            names = list(arrays.files)
            if name is None and len(names) != 1:
                raise InputError(f"{file}: holds {', '.join(names) or 'no array'}; choose one as {file}:NAME")
            if name is not None and name not in names:
                raise InputError(f"{file}: has no array {name!r}; {nearest(name, names)}")
            return arrays[name or names[0]]  # type: ignore[no-any-return]  # untyped
    except FileNotFoundError as error:
        raise place.missing() from error
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        why = "it holds Python objects" if _speaks_of_objects(error) else str(error)
        raise InputError(f"{file}: cannot be read ({why}); save float arrays with numpy.savez") from error


def _lists(rows: Rows, column: str) -> NDArray[Any]:
    """Read a column of lists, batch by batch, into one array."""
    if rows.schema.get_field_index(column) < 0:
        rows.column(column)  # raises and says why
    kind = rows.schema.field(column).type
    if not (pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)):
        raise InputError(
            f"{rows.shown}: column {column!r} holds {kind}, not a list of numbers a row; choose another"
        )
    out: NDArray[Any] | None = None
    dtype = np.float16 if pa.types.is_float16(kind.value_type) else np.float32
    row = 0
    for name in rows.files:
        with parquet_file(rows.root, name) as file:
            for batch in file.iter_batches(8192, columns=[column]):
                block = _block(rows, row, column, batch.column(0), None if out is None else out.shape[1])
                if out is None:
                    out = np.empty((len(rows), block.shape[1]), dtype)
                out[row : row + len(block)] = block
                row += len(block)
    assert out is not None
    return out


def _block(rows: Rows, start: int, column: str, lists: pa.Array, width: int | None) -> NDArray[Any]:
    lengths = pc.fill_null(pc.list_value_length(lists), -1).to_numpy(zero_copy_only=False)
    width = int(lengths[0]) if width is None else width
    odd = np.flatnonzero((lengths != width) | (lengths < 0))
    if len(odd):
        row = start + int(odd[0])
        found = (
            "is null" if lengths[odd[0]] < 0 else f"holds {lengths[odd[0]]} numbers where others hold {width}"
        )
        raise InputError(
            f"{rows.at(row)}, column {column!r} {found}; give every row a list of the same length"
        )
    values = lists.flatten()
    try:
        if not pa.types.is_float16(values.type):
            values = values.cast(pa.float32(), safe=False)
    except pa.ArrowException as error:
        raise InputError(
            f"{rows.shown}: column {column!r} holds no numbers ({error}); choose another"
        ) from error
    return values.to_numpy(zero_copy_only=False).reshape(len(lists), width)  # type: ignore[no-any-return]  # untyped


def _speaks_of_objects(error: Exception) -> bool:
    return "Python objects" in str(error) or "pickle" in str(error)
