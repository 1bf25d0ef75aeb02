"""Rewriting: a manifest with some labels replaced and columns of ours added, and every other byte as it was."""

from __future__ import annotations

import posixpath
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from labelfix.errors import InputError, UsageError
from labelfix.manifest import Manifest
from labelfix.readers.folder import metadata_tables
from labelfix.readers.recognising import table_format
from labelfix.readers.rows import Rows
from labelfix.readers.storage import Place, leaf
from labelfix.readers.table import TableReader, open_rows, text_rows
from labelfix.rewriting.delimited import raw_cells, rewrite_delimited
from labelfix.rewriting.edits import PREFIX, Edits
from labelfix.rewriting.jsonl import raw_values, rewrite_lines
from labelfix.rewriting.parquet import rewrite_parquet
from labelfix.rundir import output_error, writing

__all__ = ["PREFIX", "Edits", "check_out", "default_out", "raw_labels", "rewrite"]


def default_out(source: str) -> Path:
    """Return where the rewritten manifest goes unless told otherwise: beside the source, `.fixed` in its name."""
    if not TableReader().recognises(source):
        kind = _format(source)
        return Path(f"{source.rstrip('/')}.fixed" + (f".{kind}" if kind else ""))
    name = leaf(source)
    stem, dot, ending = name.partition(".")
    return Path(source).with_name(f"{stem}.fixed{dot}{ending}")


def check_out(source: str, out: Path) -> None:
    """Raise UsageError unless the rewritten manifest can go there: of the source's own format, not in its place."""
    if Path(source).absolute() == out.absolute():
        raise UsageError(f"-o {out}: is the manifest itself, which stays as it is; choose another name")
    if not out.absolute().parent.is_dir():
        raise UsageError(f"{out.parent}: there is no such directory; create it, or choose another -o")
    wanted = _format(source)
    if wanted is not None and table_format(out.name) != wanted:
        raise UsageError(
            f"-o {out}: the manifest is written in its own format; choose a name that ends with .{wanted}"
        )
    if wanted is None and out.is_file():
        raise UsageError(f"-o {out}: is a file, but the manifest is several tables; choose a directory")


def _format(source: str) -> str | None:
    """Return the format of the one table that a manifest is, or becomes; None for several."""
    if TableReader().recognises(source):
        return table_format(leaf(source))
    names = metadata_tables(Place(source))
    return "csv" if not names else table_format(names[0]) if len(names) == 1 else None


def _tables(manifest: Manifest) -> Rows | None:
    """Return the rows of the tables that hold the labels; None for a folder whose directories do."""
    if TableReader().recognises(manifest.source):
        return open_rows(manifest.source)
    place = Place(manifest.source)
    names = metadata_tables(place)
    rows = text_rows(place, names) if names else None
    return rows if rows is not None and manifest.columns["label"] in rows.schema.names else None


def rewrite(manifest: Manifest, edits: Edits, out: Path) -> None:
    """Write the manifest with the edits, in its own format and column order; a folder of images becomes a CSV.

    Without edits the files are copied byte for byte; several tables keep their places below `out`. Raises InputError
    when the source cannot be read any more.
    """
    rows = _tables(manifest)
    if rows is None:
        _write_folder(manifest, edits, out)
        return
    if len(rows) != len(manifest):
        raise InputError(f"{manifest.source}: has changed while it was read; run the command again")
    name = manifest.columns["label"]
    spelled = _spellings(rows, name, manifest)
    single = _format(manifest.source) is not None
    for f, file in enumerate(rows.files):
        part = edits.between(int(rows.starts[f]), int(rows.starts[f + 1]))
        _rewrite_file(rows, file, name, spelled, part, edits, out if single else out / file)


def raw_labels(manifest: Manifest, positions: Any) -> list[Any]:
    """Return the labels of these rows as the files spell them: text with its quotes, or values where they are typed."""
    name, rows = manifest.columns["label"], _tables(manifest)
    if rows is None:
        return [manifest.classes[k] if k >= 0 else "" for k in manifest.labels[positions]]
    kind = table_format(leaf(rows.files[0]))
    if kind == "parquet":
        values: list[Any] = rows.column(name).take(pa.array(positions)).to_pylist()
        return values
    cells: list[str] = []
    for file in rows.files:
        data, shown = _unpacked(rows.root.read(file), leaf(file)), rows.root.shown(file)
        cells += (
            raw_values(data, shown, name) if kind == "jsonl" else raw_cells(data, shown, kind == "tsv", name)
        )
    return [cells[position] for position in positions]


def _rewrite_file(
    rows: Rows, file: str, label: str, spelled: dict[str, Any], part: Edits, edits: Edits, place: Path
) -> None:
    shown, kind = rows.root.shown(file), table_format(leaf(file))
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(place, error) from error
    if kind == "parquet" and len(edits):
        with writing(place) as temporary:
            rewrite_parquet(rows.root, file, label, spelled, part, temporary)
        return
    try:
        data = rows.root.read(file)
    except OSError as error:
        raise InputError(f"{shown}: cannot be read ({error}); check its permissions") from error
    if len(edits) or posixpath.splitext(leaf(file))[1] != place.suffix:
        data = _unpacked(data, leaf(file))
        if len(edits):
            how = {"jsonl": rewrite_lines}.get(str(kind), rewrite_delimited)
            data = how(data, shown, kind == "tsv", label, spelled, part)
        data = _packed(data, place.name)
    with writing(place) as temporary:
        temporary.write_bytes(data)


def _spellings(rows: Rows, name: str, manifest: Manifest) -> dict[str, Any]:
    """Return how the label column spells each class: as its first row does, or by its declared number."""
    if name in rows.classes and pa.types.is_integer(rows.schema.field(name).type):
        return {text: number for number, text in enumerate(rows.classes[name])}
    labelled = np.flatnonzero(manifest.labels >= 0)
    classes, first = np.unique(manifest.labels[labelled], return_index=True)
    values = rows.column(name).take(pa.array(labelled[first])).to_pylist()
    return {manifest.classes[k]: value for k, value in zip(classes, values, strict=True)}


def _write_folder(manifest: Manifest, edits: Edits, out: Path) -> None:
    names = manifest.image_names
    assert names is not None  # a folder of images
    labels = [manifest.classes[k] if k >= 0 else "" for k in manifest.labels]
    columns: dict[str, Any] = {"file_name": names, "label": labels}
    if manifest.split is not None:
        columns["split"] = manifest.split.tolist()
    import csv
    import io

    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(columns)
    lines.writerows(zip(*columns.values(), strict=True))
    data = text.getvalue().encode()
    spelled = {name: name for name in manifest.classes}
    if len(edits):
        data = rewrite_delimited(data, manifest.source, False, "label", spelled, edits)
    with writing(out) as temporary:
        temporary.write_bytes(data)


def _unpacked(data: bytes, name: str) -> bytes:
    how = _compression(name)
    return bytes(pa.CompressedInputStream(pa.BufferReader(data), how).read()) if how else data


def _packed(data: bytes, name: str) -> bytes:
    how = _compression(name)
    if how == "gzip":
        packer = zlib.compressobj(wbits=31)  # no time in the header: equal content, equal bytes
        return packer.compress(data) + packer.flush()
    if how is None:
        return data
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, how) as stream:
        stream.write(data)
    return bytes(sink.getvalue())


def _compression(name: str) -> str | None:
    return {".gz": "gzip", ".bz2": "bz2", ".zst": "zstd"}.get(posixpath.splitext(name)[1].lower())
