"""Which column is what: the user's choice, else the names that people already use."""

from __future__ import annotations

import re
from dataclasses import dataclass

import pyarrow as pa

from labelfix.errors import InputError
from labelfix.readers.interface import Columns
from labelfix.readers.rows import Rows

CONVENTIONS: dict[str, tuple[str, ...]] = {
    "image": (
        "image", "images", "img", "image_bytes", "file_name", "filename", "image_path", "img_path",
        "image_file", "image_filename", "image_name", "filepath", "file_path", "path", "file", "image_url",
        "url", "uri", "jpg", "jpeg", "png",
    ),
    "label": (
        "given_label", "label", "labels", "class", "class_name", "class_label", "label_name", "category",
        "category_name", "target", "y", "given_labels", "label_given",
    ),
    "id": ("id", "image_id", "sample_id", "uid", "uuid", "guid", "key", "__key__"),
    "group": (
        "group", "group_id", "groups", "patient", "patient_id", "video", "video_id", "product", "product_id",
        "burst", "burst_id", "subject", "subject_id",
    ),
    "trusted": ("trusted", "is_trusted", "verified", "is_verified", "labelfix.trusted"),
    "annotator": (
        "annotator", "annotator_id", "worker", "worker_id", "workerid", "labeler", "labeler_id", "labeller",
        "rater", "rater_id",
    ),
    "split": ("split", "subset"),
}  # fmt: skip
"""Role → column names, the likelier first; compared in lower case, with spaces and hyphens as underscores."""

OURS = "labelfix."
"""Columns that merging adds begin so. None but `labelfix.trusted` is a role; that one adds to the user's own."""

_LABEL_LIKE = re.compile(r"(^|_)(labels?|class|category|target)(_|$)")


@dataclass(frozen=True)
class Choice:
    """What was chosen and why it deserves a remark."""

    roles: dict[str, str]
    """Role → column."""
    notes: tuple[str, ...]
    """A sentence for each choice that could have gone otherwise."""


def choose(rows: Rows, columns: Columns) -> Choice:
    """Find the column of each role; raises InputError when a named one is missing or the label is not clear.

    Only image and label may raise for being absent or ambiguous, and image only where images are needed.
    """
    asked = {role: getattr(columns, role) for role in CONVENTIONS}
    roles = {role: name for role, name in asked.items() if name is not None}
    _check_unique(rows, roles)
    notes: list[str] = []
    for role in CONVENTIONS:
        if role not in roles:
            free = [f for f in rows.schema if f.name not in roles.values() and not _about_answers(f.name)]
            found = _image(rows, free, notes, columns) if role == "image" else _named(rows, role, free, notes)
            if found is not None:
                roles[role] = found
    _check_unique(rows, roles)
    return Choice(roles, tuple(notes))


def is_bytes(kind: pa.DataType) -> bool:
    """Say whether a column holds image bytes: plain binary, or a struct with a field `bytes`."""
    if pa.types.is_struct(kind):
        return bool(kind.get_field_index("bytes") >= 0)
    return str(kind) in {"binary", "large_binary", "binary_view"} or bool(pa.types.is_fixed_size_binary(kind))


def label_candidates(rows: Rows) -> list[str]:
    """Return the columns whose names speak of labels without being a convention."""
    return [
        f.name
        for f in rows.schema
        if _LABEL_LIKE.search(_plain(f.name)) and is_scalar(f.type) and not _about_answers(f.name)
    ]


def no_label(rows: Rows) -> InputError:
    """Build the error for a table whose label column is unclear."""
    near = label_candidates(rows)
    if near:
        return InputError(
            f"{rows.shown}: {', '.join(near)} could each be the label column; choose one with --label-col"
        )
    return InputError(
        f"{rows.shown}: no label column among {_listed(rows)}; name it with --label-col (usually 'label')"
    )


def no_image(rows: Rows) -> InputError:
    """Build the error for a table without images."""
    return InputError(
        f"{rows.shown}: no image column among {_listed(rows)}; name it with --image-col, "
        f"or give --features or --pred-probs if there are no images"
    )


def _check_unique(rows: Rows, roles: dict[str, str]) -> None:
    for name in roles.values():
        if rows.schema.names.count(name) != 1:
            rows.column(name)  # raises and says why


def _named(rows: Rows, role: str, free: list[pa.Field], notes: list[str]) -> str | None:
    usable = [field.name for field in free if is_scalar(field.type)]
    found = _by_convention(rows, role, usable)
    if not found and role == "label":
        near = [name for name in label_candidates(rows) if name in usable]
        return near[0] if len(near) == 1 else None
    if len(found) > 1 and role == "label":
        notes.append(
            f"columns {', '.join(map(repr, found))} all look like labels: {found[0]!r} is used "
            f"(--label-col chooses another)"
        )
    return found[0] if found else None


def _image(rows: Rows, free: list[pa.Field], notes: list[str], columns: Columns) -> str | None:
    embedded = [field.name for field in free if is_bytes(field.type)]
    text = [field.name for field in free if _is_text(field.type)]
    found = _by_convention(rows, "image", embedded) or embedded
    if len(embedded) > 1 and not _by_convention(rows, "image", embedded):
        if not columns.with_images:
            return None
        raise InputError(
            f"{rows.shown}: {', '.join(embedded)} all hold bytes; name the images with --image-col"
        )
    found = found or _by_convention(rows, "image", text)
    if len(found) > 1:
        notes.append(
            f"columns {', '.join(map(repr, found))} all look like images: {found[0]!r} is used "
            f"(--image-col chooses another)"
        )
    return found[0] if found else None


def _by_convention(rows: Rows, role: str, names: list[str]) -> list[str]:
    """Return the names that a role's convention knows, the likelier first; raises InputError for twins."""
    known = CONVENTIONS[role]
    found = sorted(
        (n for n in names if _plain(n) in known), key=lambda n: (known.index(_plain(n)), n not in known)
    )
    twins = [name for name in found if _plain(name) == _plain(found[0])]
    if len(twins) > 1 and found[0] not in known:
        raise InputError(
            f"{rows.shown}: columns {', '.join(map(repr, twins))} differ only in case or spaces; "
            f"choose one with --{role}-col"
        )
    return found


def _about_answers(name: str) -> bool:
    return name.startswith(OURS) and name != f"{OURS}trusted"


def _plain(name: str) -> str:
    return re.sub(r"[\s\-]+", "_", name.strip().lower())


def _listed(rows: Rows) -> str:
    names = rows.schema.names
    return ", ".join(map(str, names[:20])) + (f", … ({len(names)} in all)" if len(names) > 20 else "")


def is_scalar(kind: pa.DataType) -> bool:
    """Say whether a column holds one text, number or truth value a row."""
    return not pa.types.is_nested(kind) and not is_bytes(kind)


def _is_text(kind: pa.DataType) -> bool:
    if pa.types.is_dictionary(kind):
        kind = kind.value_type
    return str(kind) in {"string", "large_string", "string_view"}
