"""Readers: whatever a labelled data set lies in becomes a Manifest."""

from __future__ import annotations

from pathlib import Path

from labelfix.errors import InputError
from labelfix.manifest import Manifest
from labelfix.readers.interface import Columns, Reader

__all__ = ["Columns", "Reader", "read"]


def read(
    source: str | Path,
    *,
    images: str | Path | None = None,
    image_col: str | None = None,
    label_col: str | None = None,
    id_col: str | None = None,
    group_col: str | None = None,
    trusted_col: str | None = None,
    annotator_col: str | None = None,
    split_col: str | None = None,
    with_images: bool = True,
    min_classes: int = 2,
) -> Manifest:
    """Read a labelled data set: a table, a directory or pattern of tables, or an image folder; paths or URLs.

    `images` is the directory that image paths are relative to (default: the table's own). Columns that
    are not named are found by convention; what was chosen is in `Manifest.columns`, what the user should
    know in `Manifest.notes`. With `with_images=False` the images need not exist. A batch that is judged by
    another data set's classes may hold a single one: `min_classes=1`.

    Raises InputError, one sentence that names the file, the row or column and the remedy.
    """
    source = str(source)
    if not source:
        raise InputError("the source is empty; name a table, a directory or a URL")
    columns = Columns(
        image=image_col,
        label=label_col,
        id=id_col,
        group=group_col,
        trusted=trusted_col,
        annotator=annotator_col,
        split=split_col,
        root=None if images is None else str(images),
        with_images=with_images,
    )
    manifest = _reader(source).read(source, columns)
    if len(manifest.classes) < min_classes:
        only = manifest.classes[0] if manifest.classes else "none"
        raise InputError(
            f"{source}: there is only one class, {only!r}, in {manifest.columns.get('label', 'the labels')}; "
            f"at least {min_classes} are needed, so choose another --label-col or add the other classes' rows"
        )
    return manifest


def _reader(source: str) -> Reader:
    """Return the first reader that recognises a source; plugins, the specialists, are asked first."""
    from labelfix import plugins

    points = plugins.names("readers")
    for name in sorted(points, key=lambda name: points[name].value.startswith("labelfix.readers.")):
        reader: Reader = plugins.load("readers", name)()
        if reader.recognises(source):
            return reader

    from labelfix.readers.storage import Place, leaf

    place = Place(source)
    if not place.exists():
        raise place.missing()
    hint = f"; an archive is read as zip://::{source}" if leaf(source).endswith(".zip") else ""
    raise InputError(
        f"{source}: is of no kind that an installed reader knows; give a .csv, .tsv, .jsonl or .parquet "
        f"file, or a directory of images or tables{hint}"
    )
