"""What a source looks like from outside: a table by its name, a directory by what lies in it."""

from __future__ import annotations

from typing import Literal

from labelfix.readers.storage import GLOB, Place, is_hidden

TABLES = {
    ".csv": "csv", ".tsv": "tsv", ".tab": "tsv", ".jsonl": "jsonl", ".ndjson": "jsonl", ".parquet": "parquet",
    ".pq": "parquet",
}  # fmt: skip
"""File ending → format."""
COMPRESSED = (".gz", ".bz2", ".zst")
"""Endings that may follow a text table's."""
IMAGES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".gif", ".webp", ".tif", ".tiff", ".ppm",
    ".pgm", ".pbm", ".pnm", ".jp2", ".j2k", ".tga", ".avif", ".heic", ".heif", ".ico", ".pcx",
})  # fmt: skip
"""File endings of images."""


def table_format(name: str) -> str | None:
    """Return the table format a file name stands for, or None."""
    name = name.lower()
    for ending in COMPRESSED:
        plain = name.removesuffix(ending)
        if plain != name:
            found = _by_ending(plain)
            return None if found == "parquet" else found
    return _by_ending(name)


def is_image(name: str) -> bool:
    """Say from its name whether a file is an image."""
    return name[name.rfind(".") :].lower() in IMAGES and not name.startswith(".")


def has_glob(source: str) -> bool:
    """Say whether a source may be a pattern; the web cannot list, and its `?` is something else."""
    return not source.startswith("http") and bool(GLOB & set(source.partition("::")[0]))


def directory_kind(place: Place) -> Literal["images", "tables", "neither"] | None:
    """Say what a directory holds, looking no further than the first image; None when it is no directory."""
    if not place.is_directory():
        return None
    tables = False
    for _, files in place.walk():
        if any(is_image(name) for name in files):
            return "images"
        tables = tables or any(table_format(name) is not None and not is_hidden(name) for name in files)
    return "tables" if tables else "neither"


def _by_ending(name: str) -> str | None:
    return TABLES.get(name[name.rfind(".") :]) if "." in name else None
