"""Image folders: the class is the first directory level; splits and metadata tables are seen."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from labelfix.errors import InputError
from labelfix.manifest import Manifest
from labelfix.readers import sniffing
from labelfix.readers.assembling import assemble
from labelfix.readers.interface import Columns
from labelfix.readers.recognising import directory_kind, is_image, table_format
from labelfix.readers.rows import Rows
from labelfix.readers.storage import Place
from labelfix.readers.table import rows_of, text_rows

SPLITS = frozenset(
    {"train", "training", "trainval", "val", "valid", "validation", "dev", "test", "testing", "eval", "evaluation",
     "holdout", "hold-out", "hold_out"}
)  # fmt: skip
"""Directory names, in lower case, that stand for a split when classes lie below them."""
METADATA = ("metadata.csv", "metadata.jsonl")
"""Tables beside images, with a column `file_name`."""
_SHOWN = 5


@dataclass(frozen=True)
class Found:
    """What lies in a directory; names are relative to it."""

    images: tuple[str, ...]
    """Images, sorted."""
    metadata: tuple[str, ...]
    """Metadata tables, at the top or directly below a split."""
    tables: tuple[str, ...]
    """Other tables, for hints."""
    empty: tuple[str, ...]
    """Directories that hold nothing at all, or nothing that is an image."""
    ignored: int
    """How many files are hidden or no images."""


class FolderReader:
    """Reads a directory of images, here, in an archive or behind another fsspec URL."""

    def recognises(self, source: str) -> bool:
        """Say yes to directories, but for those that hold tables and no image."""
        return directory_kind(Place(source)) in {"images", "neither"}

    def read(self, source: str, columns: Columns) -> Manifest:
        """Read it; raises InputError that names the directory and the remedy."""
        root = Place(source)
        found = _look(root)
        if not found.images:
            raise InputError(
                f"{source}: holds no images; give a directory with a directory of images for each class"
            )
        if found.metadata:
            rows, notes = _from_metadata(root, found, columns)
        else:
            rows, notes = _from_folders(root, found)
        columns = replace(columns, image=columns.image or "file_name", root=columns.root or source)
        return assemble(rows, columns, source, notes)


def metadata_tables(root: Place) -> tuple[str, ...]:
    """Return the tables beside a folder's images, as they are read: relative to it."""
    return _look(root).metadata


def _look(root: Place) -> Found:
    images: list[str] = []
    metadata, tables, directories, ignored = [], [], [], 0
    for directory, files in root.walk():
        directories.append(directory)
        for name in files:
            path = posixpath.join(directory, name)
            if is_image(name):
                images.append(path)
            elif name in METADATA and (not directory or directory.lower() in SPLITS):
                metadata.append(path)
            else:
                ignored += 1
                if table_format(name) is not None:
                    tables.append(path)
    holding = {ancestor for image in images for ancestor in _ancestors(posixpath.dirname(image))}
    empty = [path for path in directories if path and path not in holding]
    return Found(tuple(sorted(images)), tuple(metadata), tuple(tables), tuple(sorted(empty)), ignored)


def _ancestors(directory: str) -> list[str]:
    parts = directory.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts) + 1)]


def _from_folders(root: Place, found: Found) -> tuple[Rows, list[str]]:
    split = _has_splits(found.images)
    labels = [_class_of(path, split) for path in found.images]
    if not any(labels):
        raise _no_classes(root, found)
    tops = {label for label in labels if label}
    if not split and all(top.lower() in SPLITS for top in tops):
        raise InputError(
            f"{root.url}: its directories {', '.join(sorted(tops))} are called like splits but share no "
            f"class directories; put each class into a directory of its own below them, or give a table"
        )
    table = {"file_name": pa.array(found.images, pa.string()), "folder": pa.array(labels, pa.string())}
    if split:
        table["split"] = pa.array([path.split("/")[0] for path in found.images], pa.string())
    made = pa.table(table).rename_columns(["file_name", "label", "split"][: len(table)])
    notes = _remarks(found)
    if split:
        notes.append("the directories at the top are splits, the classes are below them")
    notes += [] if split else _like_splits(found.images)
    return rows_of(made, root, [""], [len(made)], typed=True), notes


def _from_metadata(root: Place, found: Found, columns: Columns) -> tuple[Rows, list[str]]:
    """Return the rows of the metadata tables; where they name no label, the directories do."""
    parts = []
    for name in found.metadata:
        rows = text_rows(root, [name])
        table = rows.load(rows.schema.names)
        column = columns.image or "file_name"
        paths = rows.column(column).cast(pa.string())
        directory = posixpath.dirname(name)
        if directory:
            paths = pc.binary_join_element_wise(directory, paths, "/")
            if "split" not in table.column_names:
                table = table.append_column("split", pa.array([directory] * len(table), pa.string()))
        parts.append(table.set_column(table.schema.get_field_index(column), column, paths))
    table = pa.concat_tables(parts, promote_options="permissive")
    typed = all(table_format(name) == "jsonl" for name in found.metadata)
    rows = rows_of(table, root, found.metadata, [len(part) for part in parts], typed)
    notes = _remarks(found)
    paths = rows.column(columns.image or "file_name")
    listed = pc.is_in(pa.array(found.images, pa.string()), value_set=paths.combine_chunks())
    unlisted = len(found.images) - int(pc.sum(listed).as_py())
    if unlisted:
        notes.append(
            f"{unlisted:,} images are not listed in {' or '.join(found.metadata)}: they are left out"
        )
    if "label" not in sniffing.choose(rows, replace(columns, image=columns.image or "file_name")).roles:
        if sniffing.label_candidates(rows):
            raise sniffing.no_label(rows)
        split = _has_splits(found.images)
        labels = [_class_of(path or "", split) for path in paths.to_pylist()]
        if not any(labels):
            raise _no_classes(root, found)
        table = table.append_column("label", pa.array(labels, pa.string()))
        rows = rows_of(table, root, found.metadata, [len(part) for part in parts], typed)
        notes.append(f"{' and '.join(found.metadata)} name no labels: the directories do")
    return rows, notes


def _below_top(images: Sequence[str]) -> dict[str, set[str]]:
    """Return what directories with images lie in each directory at the top; "" has the images beside them."""
    tops: dict[str, set[str]] = {}
    for path in images:
        top, *below = path.split("/")[:-1] or [""]
        tops.setdefault(top, set()).update(below[:1])
    return tops


def _has_splits(images: Sequence[str]) -> bool:
    """Say whether the directories at the top are splits: all are called so and share a class."""
    tops = _below_top(images)
    if not all(top.lower() in SPLITS for top in tops):
        return False
    classes = [held for held in tops.values() if held]
    return bool(classes) and (len(classes) == 1 or any(a & b for a in classes for b in classes if a is not b))


def _like_splits(images: Sequence[str]) -> list[str]:
    """Remark on classes that may be splits: one is called so, and holds what another holds."""
    tops = _below_top(images)
    for top in sorted(tops):
        alike = sorted(other for other in tops if other != top and tops[top] & tops[other])
        if top.lower() in SPLITS and alike:
            shared = ", ".join(sorted(tops[top] & tops[alike[0]])[:_SHOWN])
            remark = (
                f"the directories at the top are taken for classes, though {top!r} is called like a split and shares "
                f"directories with {alike[0]!r} ({shared}): if they are splits, scan one, or call them train, val, test"
            )
            return [remark]
    return []


def _class_of(path: str, split: bool) -> str:
    """Return the directory that names the class, or "" for an image that lies above all of them."""
    parts = path.split("/")[1 if split else 0 :]
    return parts[0] if len(parts) > 1 else ""


def _no_classes(root: Place, found: Found) -> InputError:
    tables = [*found.metadata, *found.tables]
    instead = f", or give the table: {root.shown(tables[0])} --images {root.url}" if tables else ""
    return InputError(
        f"{root.url}: its {len(found.images):,} images lie in no class directory; put those of each class "
        f"into a directory of its own{instead}"
    )


def _remarks(found: Found) -> list[str]:
    notes = []
    if found.ignored:
        notes.append(f"{found.ignored:,} files that are hidden or no images are ignored")
    if found.empty:
        shown = ", ".join(found.empty[:_SHOWN])
        more = f" and {len(found.empty) - _SHOWN} more" if len(found.empty) > _SHOWN else ""
        notes.append(f"directories without images: {shown}{more}")
    return notes
