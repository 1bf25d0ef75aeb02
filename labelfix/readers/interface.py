"""What a reader must be: something that recognises a source and turns it into a Manifest."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from labelfix.manifest import Manifest


@dataclass(frozen=True)
class Columns:
    """The user's own choice of columns; None means sniff by convention."""

    image: str | None = None
    """Path, URL or embedded bytes of the image."""
    label: str | None = None
    """The given label."""
    id: str | None = None
    """Unique name of a row."""
    group: str | None = None
    """Patient, video, product, burst."""
    trusted: str | None = None
    """True where the label is known to be right."""
    annotator: str | None = None
    """Who gave the label."""
    split: str | None = None
    """Train, validation, test."""
    root: str | None = None
    """Directory or URL that image paths are relative to; default: the manifest's own."""
    with_images: bool = True
    """False when features or probabilities come from outside and the images need not exist."""


class Reader(Protocol):
    """A source format. Readers are asked in turn, and the first that recognises the source reads it."""

    def recognises(self, source: str) -> bool:
        """Say from the name (and a look at a directory) whether this reader is meant."""
        ...

    def read(self, source: str, columns: Columns) -> Manifest:
        """Read it; raises InputError that names the file, the row or column and the remedy."""
        ...
