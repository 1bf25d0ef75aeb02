"""Rows and a choice of columns become a Manifest."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from labelfix.errors import InputError
from labelfix.manifest import Images, Manifest
from labelfix.readers import labels, sniffing
from labelfix.readers.answered import ANSWERED, PREVIOUS, read_rounds
from labelfix.readers.fields import Texts, filled, first_repeated, given_ids, texts, truth
from labelfix.readers.images import EmbeddedImages, FileImages
from labelfix.readers.interface import Columns
from labelfix.readers.parquet import row_groups
from labelfix.readers.paths import file_images
from labelfix.readers.rows import Rows
from labelfix.readers.storage import Place


def assemble(rows: Rows, columns: Columns, source: str, notes: Sequence[str] = ()) -> Manifest:
    """Return the manifest that a table describes; raises InputError."""
    choice = sniffing.choose(rows, columns)
    roles, remarks = dict(choice.roles), [*rows.notes, *notes, *choice.notes]
    if "label" not in roles:
        raise sniffing.no_label(rows)
    light = {name for name in roles.values() if not sniffing.is_bytes(rows.schema.field(name).type)}
    light |= {*ANSWERED, PREVIOUS} & set(rows.schema.names)
    rows = rows.holding(sorted(light))
    codes, classes, more = labels.encode(rows, roles["label"])
    remarks += more
    images = _images(rows, roles, columns, remarks)
    annotators = _optional_text(rows, roles, "annotator", columns, remarks)
    ids = (
        given_ids(rows, roles["id"], annotators)
        if "id" in roles
        else _made_ids(images, len(rows), annotators, remarks)
    )
    return Manifest(
        ids=ids,
        labels=codes,
        classes=classes,
        images=images,
        groups=_optional_text(rows, roles, "group", columns, remarks),
        trusted=_trusted(rows, roles, columns, remarks),
        annotators=annotators,
        split=_optional_text(rows, roles, "split", columns, remarks),
        rounds=read_rounds(rows, classes),
        source=source,
        root=images.root.url if isinstance(images, FileImages) else "",
        columns=roles,
        notes=tuple(remarks),
    )


def _images(rows: Rows, roles: dict[str, str], columns: Columns, notes: list[str]) -> Images | None:
    if "image" not in roles:
        if columns.with_images:
            raise sniffing.no_image(rows)
        return None
    name = roles["image"]
    kind = rows.schema.field(name).type
    root = Place(columns.root) if columns.root is not None else rows.root
    if columns.root is not None and root.local and not root.is_directory():
        raise InputError(f"{columns.root}: is no directory, so images cannot be found there; check --images")
    try:
        if sniffing.is_bytes(kind):
            field = "bytes" if pa.types.is_struct(kind) else None
            groups = row_groups(rows, f"{name}.{field}" if field else name)
            if not groups.all_null:
                return EmbeddedImages(groups, name, field)
            rows = _with_paths(rows, name)
        images, remarks = file_images(rows, name, root, must_exist=columns.with_images)
    except InputError:
        if columns.with_images or columns.image is not None:
            raise
        del roles["image"]  # only sniffed, and not needed
        return None
    notes += remarks
    return images


def _with_paths(rows: Rows, name: str) -> Rows:
    """Put the paths of a struct<bytes, path> column in its place; raises InputError when it has none."""
    kind = rows.schema.field(name).type
    if not pa.types.is_struct(kind) or kind.get_field_index("path") < 0:
        what = f"column {name!r} holds no image in any row"
        raise InputError(f"{rows.shown}: {what}; choose another with --image-col")

    def load(wanted: Sequence[str]) -> pa.Table:
        table = rows.load(wanted)
        paths = pc.struct_field(table.column(name), "path")
        return table.set_column(table.schema.get_field_index(name), name, paths)

    schema = rows.schema.set(rows.schema.get_field_index(name), pa.field(name, pa.string()))
    return Rows(rows.root, rows.files, rows.starts, schema, load)


def _made_ids(images: Images | None, count: int, annotators: Texts | None, notes: list[str]) -> Texts:
    """Return the images' names if they tell the rows apart, else row numbers."""
    if isinstance(images, FileImages):
        names = filled(images.names)
        if not (names == "").any() and first_repeated(names, annotators) is None:
            return names
        notes.append(
            "ids: image names are missing or occur twice, so that rows are known by their number; name an --id-col"
        )
    if isinstance(images, EmbeddedImages):
        return _embedded_names(images)
    return np.array([str(row) for row in range(count)], object)


def _embedded_names(images: EmbeddedImages) -> Texts:
    starts, parts = images.groups.file_starts, []
    for file, name in enumerate(images.files):
        rows = pa.array(np.arange(starts[file + 1] - starts[file])).cast(pa.string())
        parts.append(filled(pc.binary_join_element_wise(name, rows, "#")))
    return np.concatenate(parts)


def _optional_text(
    rows: Rows, roles: dict[str, str], role: str, columns: Columns, notes: list[str]
) -> Texts | None:
    if role not in roles:
        return None
    column = texts(rows, roles[role])
    if column.null_count == len(column) and getattr(columns, role) is None:
        notes.append(f"column {roles[role]!r} is empty, so it is not used as the {role} column")
        del roles[role]
        return None
    return filled(column)


def _trusted(
    rows: Rows, roles: dict[str, str], columns: Columns, notes: list[str]
) -> NDArray[np.bool_] | None:
    if "trusted" not in roles:
        return None
    answered = f"{sniffing.OURS}trusted"
    try:
        trusted = truth(rows, roles["trusted"])
        return trusted | truth(rows, answered) if answered in rows.schema.names else trusted
    except InputError:
        if columns.trusted is not None:
            raise
        notes.append(
            f"column {roles['trusted']!r} is not true or false, so it is not used as the trusted column"
        )
        del roles["trusted"]
        if answered not in rows.schema.names:
            return None
        roles["trusted"] = answered
        return truth(rows, answered)
