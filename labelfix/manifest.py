"""Manifest: the labels we were given, and where each image's bytes are."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from labelfix.answers import Rounds
from labelfix.rundir import writing


class Images(Protocol):
    """Where the encoded bytes of each image come from; picklable, so that worker processes can read."""

    def __len__(self) -> int: ...

    def read(self, index: int) -> bytes:
        """Return the encoded bytes of one image; raises ImageUnreadable with the reason."""
        ...

    def name(self, index: int) -> str:
        """Return what the user calls the image: a path relative to the root, or `file.parquet#row`."""
        ...


@dataclass(frozen=True, eq=False)
class Manifest:
    """A labelled data set as its owner describes it; N rows, K classes."""

    ids: NDArray[np.object_]
    """[N] text; unique unless `annotators` is given (then id + annotator is)."""
    labels: NDArray[np.int32]
    """[N] index into `classes`; -1 where the row has no label."""
    classes: tuple[str, ...]
    """[K] class names; integers as text."""
    images: Images | None
    """The images; None when the manifest has none (features or probabilities come from outside)."""
    groups: NDArray[np.object_] | None = None
    """[N] patient, video, product or burst; rows of one group share a fold. "" = on its own."""
    trusted: NDArray[np.bool_] | None = None
    """[N] True where the label is known to be right."""
    annotators: NDArray[np.object_] | None = None
    """[N] who gave the label; a row is then one answer."""
    split: NDArray[np.object_] | None = None
    """[N] train, validation, test, as the owner names them; carried along, all are scanned."""
    rounds: Rounds | None = None
    """What annotators answered before; None where merging has written nothing."""
    source: str = ""
    """Path or URL as given."""
    root: str = ""
    """Directory or URL that image files are in; "" where there are none."""
    columns: dict[str, str] = field(default_factory=dict)
    """Role → column chosen, e.g. {"image": "file_name", "label": "label"}."""
    notes: tuple[str, ...] = ()
    """What the reader noticed and the user should see, a sentence each."""

    def __len__(self) -> int:
        return len(self.labels)

    @cached_property
    def digest(self) -> str:
        """Hash of ids, image names, labels, classes, groups, trust, annotators and answers: names these rows."""
        digest = hashlib.blake2b(digest_size=16)
        digest.update(repr((len(self), self.classes)).encode())
        digest.update(self.labels.astype("<i4").tobytes())
        for column in (self.ids, self.groups, self.trusted, self.annotators, self.image_names):
            digest.update(b"\x01" if column is None else "\x00".join(map(str, column)).encode() + b"\x02")
        if self.rounds is not None:
            for numbers in vars(self.rounds).values():
                digest.update(numbers.tobytes())
        return digest.hexdigest()

    def write(self, path: Path) -> None:
        """Write what was read as Parquet: id, image, label; group, trusted, annotator, split where given."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        numbers = pa.array(self.labels, mask=self.labels < 0)
        columns = {"id": pa.array(self.ids, pa.string())}
        names = self.image_names
        if names is not None:
            columns["image"] = pa.array(names, pa.string())
        columns["label"] = pa.array(self.classes, pa.string()).take(numbers)
        for name in ("groups", "trusted", "annotators", "split"):
            values = getattr(self, name)
            if values is not None:
                columns[name.removesuffix("s") if name != "trusted" else name] = pa.array(values)
        with writing(path) as temporary:
            pq.write_table(pa.table(columns), temporary, compression="zstd")

    @cached_property
    def image_names(self) -> list[str] | None:
        """What the user calls each image; None without images."""
        if self.images is None:
            return None
        return [self.images.name(i) for i in range(len(self))]
