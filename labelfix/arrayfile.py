"""Named arrays with a small header in one safetensors file: how a run keeps heads, neighbours and states."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelfix.errors import InputError
from labelfix.rundir import writing

SCHEMA = 1
"""Version of these files; a reader refuses a newer one."""


def save_arrays(path: Path, arrays: dict[str, NDArray[Any]], header: dict[str, Any]) -> None:
    """Write arrays and a header of JSON values to a temporary name and rename it."""
    from safetensors.numpy import save

    held = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    # One key of metadata: safetensors shuffles several.
    text = {"labelfix": json.dumps(header | {"schema": SCHEMA, "digest": _digest(held)}, sort_keys=True)}
    with writing(path) as temporary:
        temporary.write_bytes(save(held, metadata=text))


def load_arrays(
    path: Path, what: str, names: Sequence[str] = (), remedy: str = "scan again"
) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
    """Read arrays, of these names if any are given, and the header.

    `what` and `remedy` say what they are, and what to do, in the InputError that is raised for a damaged, strange or
    newer file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="np") as file:
            header = json.loads((file.metadata() or {})["labelfix"])
            held = set(file.keys())
            arrays = {name: file.get_tensor(name) for name in names or held}
        newer = header["schema"] > SCHEMA
        digest = header.pop("digest", None)
    except (AttributeError, KeyError, OSError, SafetensorError, TypeError, ValueError) as error:
        raise InputError(f"{path}: the saved {what} cannot be read ({error}); {remedy}") from error
    if newer:
        raise InputError(
            f"{path}: the saved {what} are of a newer labelfix (schema {header['schema']}); upgrade it"
        )
    if set(arrays) == held and digest is not None and digest != _digest(arrays):
        raise InputError(f"{path}: the saved {what} are damaged: they are not what was written; {remedy}")
    return arrays, header


def _digest(arrays: dict[str, NDArray[Any]]) -> str:
    """Return a hash of names, types, shapes and bytes."""
    total = hashlib.blake2b(digest_size=16)
    for name in sorted(arrays):
        array = arrays[name]
        total.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        total.update(np.ascontiguousarray(array).data.cast("B") if array.size else b"")
    return total.hexdigest()
