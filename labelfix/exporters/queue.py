"""Queue: the tasks for the annotators, in the order they are served, and what the run remembers of them."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from labelfix.errors import ImageUnreadable, InputError, UsageError
from labelfix.manifest import Images
from labelfix.progress import Progress
from labelfix.rundir import writing

COLUMNS = (
    "queue", "position", "copy", "id", "image", "label", "suggested", "confidence", "suspicion", "rank", "soft_label",
    "drawn_with",
)  # fmt: skip
"""Of an exported table; the names are the findings' own."""
TELLING = frozenset({"label", "suggested", "confidence", "suspicion", "rank", "soft_label"})
"""What a blind queue does not show."""

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]*://")
_MAGIC = (
    (b"\xff\xd8", "jpg"),
    (b"\x89PNG", "png"),
    (b"GIF8", "gif"),
    (b"BM", "bmp"),
    (b"II*\0", "tif"),
    (b"MM\0*", "tif"),
)


@dataclass(frozen=True)
class Task:
    """One row for an annotator to look at. What a blind queue hides is None."""

    position: int
    """In the order served, from 1."""
    id: str
    """As in the manifest."""
    image: str | None
    """What the user calls the image; None without images."""
    label: str | None
    """The given label."""
    suggested: str | None
    """The likeliest other class."""
    confidence: float | None
    """Probability of the suggestion."""
    suspicion: float | None
    """Probability that the given label is wrong."""
    rank: int | None
    """In the whole run."""
    soft_label: list[dict[str, Any]] | None
    """Classes and their probabilities, descending."""
    drawn_with: float
    """Probability with which the row came into the queue."""


@dataclass(frozen=True, eq=False)
class Queue:
    """n tasks in the order they are served."""

    name: str
    """The same for the same run and selection."""
    table: pa.Table
    """[n] id, image, label, suggested, confidence, suspicion, rank, soft_label, drawn_with."""
    classes: tuple[str, ...]
    """[K] class names."""
    images: Images | None = None
    """Images of the whole manifest; None where there are none, or where they cannot be reached."""
    rows: NDArray[np.int64] | None = None
    """[n] manifest positions."""
    root: str = ""
    """Where image files are: a directory or URL; "" where images lie inside tables or it is not known."""
    image_url: str = ""
    """What tools shall put before image names instead."""
    blind: bool = False
    """Whether given label, suggestion and suspicion are kept from the annotators."""
    copy: int = 1
    """Which of several equal queues, one for each annotator."""
    copies: int = 1
    """How many there are."""
    start: int = 0
    """Tasks that come before it, in other parts."""

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def part(self, start: int, count: int) -> Queue:
        """Return some of the tasks, under the same name."""
        rows = None if self.rows is None else self.rows[start : start + count]
        return replace(self, table=self.table.slice(start, count), rows=rows, start=self.start + start)

    def tasks(self) -> Iterator[Task]:
        """Yield the tasks as annotators may see them."""
        for i, row in enumerate(self.table.to_pylist(), self.start + 1):
            hidden = dict.fromkeys(TELLING) if self.blind else {}
            yield Task(**{**row, "position": i, **hidden})

    def shown(self) -> pa.Table:
        """Return the tasks as a table for annotators, with `COLUMNS`, but for what a blind queue hides."""
        n = len(self)
        more = {
            "queue": pa.array([self.name] * n, pa.string()),
            "position": pa.array(np.arange(self.start + 1, self.start + n + 1), pa.int64()),
            "copy": pa.array([self.copy] * n, pa.int64()),
        }
        names = [name for name in COLUMNS if not (self.blind and name in TELLING)]
        return pa.table({name: more[name] if name in more else self.table.column(name) for name in names})

    def task_name(self, position: int) -> str:
        """Name a task by letters and digits alone."""
        return f"{self.name}-{position:07d}"

    def address(self, task: Task) -> str:
        """Say where a browser finds the image: a URL, or the image itself as a data URI; "" if it has none."""
        if task.image is None:
            return ""
        if _SCHEME.match(task.image):
            return task.image
        if self.image_url:
            return self.image_url + quote(task.image)
        content = None if _SCHEME.match(self.root) else self.content(task)
        if content is None:
            return self.path(task) or task.image
        return (
            f"data:image/{kind(content).replace('jpg', 'jpeg')};base64,{base64.b64encode(content).decode()}"
        )

    def path(self, task: Task) -> str:
        """Return the path or URL of a task's image file; "" where there is no such file, or it is not known."""
        if not self.root or task.image is None:
            return ""
        if _SCHEME.match(self.root):
            return f"{self.root.rstrip('/')}/{task.image}"
        return str(Path(self.root).absolute() / task.image)

    def content(self, task: Task) -> bytes | None:
        """Return the encoded image of a task; None where it cannot be read."""
        if self.images is None or self.rows is None:
            return None
        try:
            return self.images.read(int(self.rows[task.position - self.start - 1]))
        except ImageUnreadable:
            return None

    def need(self, task: Task, tool: str) -> bytes:
        """Return the encoded image of a task for a tool that cannot do without; raises UsageError."""
        content = self.content(task)
        if content is None:
            raise UsageError(
                f"row {task.id!r}: its image {task.image!r} cannot be read, and {tool} takes images only; pass "
                f"--images with the directory that image paths are relative to, or choose --to csv"
            )
        return content


def kind(content: bytes) -> str:
    """Return the file ending that an encoded image should have."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "webp"
    return next((ending for magic, ending in _MAGIC if content.startswith(magic)), "jpg")


def fingerprint(content: bytes) -> str:
    """Name an image's bytes."""
    return hashlib.blake2b(content, digest_size=16).hexdigest()


def remember(queue: Queue, directory: Path, settings: dict[str, Any], progress: Progress) -> Path:
    """Write what merging needs to know of a queue: who was drawn, how, and what the image was."""
    prints = []
    with progress.stage("images", len(queue), "images") as advance:
        for task in queue.tasks():
            content = queue.content(task)
            prints.append(None if content is None else fingerprint(content))
            advance(1)
    table = queue.table.drop_columns(["soft_label"]).append_column(
        "image_hash", pa.array(prints, pa.string())
    )
    text = {b"labelfix": json.dumps({"queue": queue.name, **settings}, sort_keys=True).encode()}
    directory.mkdir(exist_ok=True)
    path = directory / f"{queue.name}.parquet"
    with writing(path) as temporary:
        pq.write_table(table.replace_schema_metadata(text), temporary, compression="zstd")
    return path


def remembered(directory: Path) -> dict[str, pa.Table]:
    """Return the queues that were made of a run, by name; raises InputError for a damaged one."""
    found = {}
    for path in sorted(directory.glob("*.parquet")):
        try:
            found[path.stem] = pq.read_table(path)
        except (OSError, pa.ArrowException) as error:
            raise InputError(f"{path}: damaged ({error}); delete it and export that queue again") from error
    return found
