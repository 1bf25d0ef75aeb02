"""A column of image paths: inside the root, and (looked at by sample) really there."""

from __future__ import annotations

import posixpath
import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from labelfix.errors import InputError
from labelfix.readers.fields import texts
from labelfix.readers.images import FileImages
from labelfix.readers.rows import Rows
from labelfix.readers.storage import Place

SAMPLE = 64
"""So many files are looked for before the images are declared missing."""

_WEB = r"^(https?|s3|gs|gcs|az|abfs|hf)://"
_URL = r"^[A-Za-z][A-Za-z0-9+.\-]+:/"
_ABSOLUTE = r"^(/|[A-Za-z]:[/\\])"
_UP = r"(^|/)\.\.(/|$)"


def file_images(rows: Rows, name: str, root: Place, must_exist: bool = True) -> tuple[FileImages, list[str]]:
    """Return the images a column of paths names, and notes.

    Raises InputError when a path leaves the root, the column is empty, or none of the files is there.
    """
    column = texts(rows, name)
    paths = pc.fill_null(column, "").combine_chunks()
    if isinstance(paths, pa.ChunkedArray):
        paths = paths.cast(pa.large_string()).combine_chunks()
    missing = len(paths) - int(pc.sum(pc.greater(pc.utf8_length(pc.utf8_trim_whitespace(paths)), 0)).as_py())
    if missing == len(paths):
        raise InputError(
            f"{rows.shown}: column {name!r} holds no path in any row; choose another with --image-col"
        )
    paths, notes = _forward_slashes(paths)
    paths = _inside(rows, name, root, _below_root(rows, name, root, paths))
    if missing:
        notes.append(
            f"{missing:,} of {len(paths):,} rows name no image in column {name!r}: they are kept, unreadable"
        )
    images = FileImages(root, paths)
    if must_exist:
        _check_some_exist(rows, name, images)
    return images, notes


def _forward_slashes(paths: pa.Array) -> tuple[pa.Array, list[str]]:
    back = pc.any(pc.match_substring(paths, "\\")).as_py()
    if not back or pc.any(pc.match_substring(paths, "/")).as_py():
        return paths, []
    return pc.replace_substring(paths, "\\", "/"), ["image paths are written with \\: read as /"]


def _below_root(rows: Rows, name: str, root: Place, paths: pa.Array) -> pa.Array:
    """Make absolute paths inside the root relative to it; raises InputError for any other."""
    paths = pc.if_else(
        pc.starts_with(paths, "file://"), pc.replace_substring_regex(paths, "^file://", ""), paths
    )
    absolute = pc.match_substring_regex(paths, _ABSOLUTE)
    if not pc.any(absolute).as_py():
        return paths
    top = root.path.rstrip("/") + "/"
    inside = pc.and_(pc.starts_with(paths, top), root.local)
    row = pc.index(pc.and_not(absolute, inside), True).as_py()
    if row >= 0:
        remedy = "pass --images / if that is meant" if root.local else "write paths relative to it"
        raise InputError(
            f"{rows.at(row)}, column {name!r} is {paths[row].as_py()!r}, outside of {root.url}; {remedy}"
        )
    return pc.if_else(absolute, pc.utf8_slice_codeunits(paths, start=len(top)), paths)


def _inside(rows: Rows, name: str, root: Place, paths: pa.Array) -> pa.Array:
    """Return paths below the root; one that leads upwards may do so from the manifest's own directory.

    Raises InputError for those that leave the root.
    """
    odd = pc.and_not(pc.match_substring_regex(paths, _URL), pc.match_substring_regex(paths, _WEB))
    odd = pc.or_(odd, pc.match_substring(paths, "::"))
    row = pc.index(odd, True).as_py()
    if row >= 0:
        raise InputError(
            f"{rows.at(row)}, column {name!r} is {paths[row].as_py()!r}, an address that rows may not name; "
            f"write a path relative to {root.url}"
        )
    upwards = np.flatnonzero(pc.match_substring_regex(paths, _UP).to_numpy(zero_copy_only=False))
    if not len(upwards):
        return paths
    found = paths.to_pylist()
    for row in upwards.tolist():
        path = found[row]
        if not re.match(_UP, posixpath.normpath(path.lstrip("/"))):
            continue
        local = root.local and rows.root.local
        place = posixpath.normpath(posixpath.join(rows.root.path, path)) if local else ""
        top = root.path.rstrip("/") + "/"
        if not local or not place.startswith(top):
            remedy = f"pass --images {posixpath.dirname(place)}, or whatever directory holds all images"
            raise InputError(
                f"{rows.at(row)}, column {name!r} is {path!r}, which leaves {root.url}; "
                f"{remedy if local else 'write paths relative to it'}"
            )
        found[row] = place.removeprefix(top)
    return pa.array(found, paths.type)


def _check_some_exist(rows: Rows, name: str, images: FileImages) -> None:
    root = images.root
    if root.path.startswith("http"):  # asking takes as long as reading
        return
    elsewhere = pc.or_(pc.equal(images.names, ""), pc.match_substring_regex(images.names, _WEB))
    here = np.flatnonzero(pc.invert(elsewhere).to_numpy(zero_copy_only=False))
    if len(here) < len(images) / 2:
        return
    sample = here[np.unique(np.linspace(0, len(here) - 1, SAMPLE).astype(int))]
    names = [images.name(int(row)) for row in sample]
    if any(root.exists(path) for path in names if "\x00" not in path):
        return
    what = (
        "the image file does not exist"
        if len(names) == 1
        else f"none of {len(names)} image files looked for exists"
    )
    raise InputError(
        f"{rows.shown}: {what}, such as {root.shown(names[0])} (row {sample[0]}, column {name!r}); "
        f"pass --images with the directory that the paths are relative to{_elsewhere(root, names[0])}"
    )


def _elsewhere(root: Place, path: str) -> str:
    """Say where the file would be found, if it is close by."""
    if root.local:
        for near in [".", *(root.shown(name) for name in root.listing()[:200])]:
            if "\x00" not in path and Place(near).exists(path):
                return f", which seems to be {near}"
    return ""
