"""The contract checks that every plugin runs: what holds for an exporter, whatever the ids, classes and suspicions."""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa

from labelfix.errors import ImageUnreadable, UsageError
from labelfix.exporters.answers import Answer
from labelfix.exporters.interface import Exporter
from labelfix.exporters.queue import Queue
from labelfix.findings import SOFT_LABEL
from labelfix.manifest import Images

Annotate = Callable[[Path, Mapping[str, str]], Path]
"""Does what the tool does: takes exported tasks and what is said of each id, returns what the tool would export."""


class Squares:
    """Images for tests: small squares, each of its own colour, named by number."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def name(self, index: int) -> str:
        """Return a path."""
        return f"shots/{index:03d}.png"

    def read(self, index: int) -> bytes:
        """Return a PNG; raises ImageUnreadable beyond the last one."""
        if not 0 <= index < self.count:
            raise ImageUnreadable("there is no such image")
        from PIL import Image

        data = io.BytesIO()
        Image.new("RGB", (4, 3), (index % 256, index // 256, 0)).save(data, "PNG")
        return data.getvalue()


def make_queue(
    ids: Sequence[str], classes: Sequence[str], suspicion: Sequence[float], images: Images | None = None
) -> Queue:
    """Return a queue of rows in this order; labels and suggestions go round the classes.

    Suspicions should descend. Images, where given, are named as they name themselves and are one for each row.
    """
    n, K = len(ids), len(classes)
    given = [classes[i % K] for i in range(n)]
    suggested = [classes[(i + 1) % K] for i in range(n)]
    soft = [[{"label": name, "p": s}] for name, s in zip(suggested, suspicion, strict=True)]
    table = pa.table({
        "id": pa.array(ids, pa.string()),
        "image": pa.array([None if images is None else images.name(i) for i in range(n)], pa.string()),
        "label": pa.array(given, pa.string()),
        "suggested": pa.array(suggested, pa.string()),
        "confidence": pa.array(suspicion, pa.float32()),
        "suspicion": pa.array(suspicion, pa.float32()),
        "rank": pa.array(range(1, n + 1), pa.int32()),
        "soft_label": pa.array(soft, SOFT_LABEL),
        "drawn_with": pa.array([1.0] * n, pa.float64()),
    })  # fmt: skip
    return Queue("qtest", table, tuple(classes), images, np.arange(n))


def check_exporter(exporter: Exporter, queue: Queue, out: Path, annotate: Annotate | None = None) -> None:
    """Raise AssertionError unless the exporter keeps its contract for this queue; `out` is what -o would be.

    It writes what it says, recognises it, serves the queue's order, takes no task for answered, and shows nothing that
    a blind queue hides. What the tool's format cannot carry is refused by a UsageError that names it. With `annotate`,
    each answer comes back as it was given.
    """
    try:
        written = exporter.export(queue, out)
    except UsageError as error:
        named = [
            *queue.classes,
            *queue.table.column("id").to_pylist(),
            *queue.table.column("image").to_pylist(),
        ]
        assert any(repr(name) in str(error) for name in named), f"the refusal names nothing: {error}"
        return
    assert written, "nothing is written"
    assert all(path.exists() for path in written), "it names files that are not there"
    assert exporter.recognises(out), "it does not recognise its own files"
    ids = queue.table.column("id").to_pylist()
    found = exporter.answers(out)
    assert [id_of(answer, queue) for answer in found] == ids, "ids or their order are not kept"
    assert not any(answer.says is not None or answer.keeps for answer in found), (
        "tasks are taken for answered"
    )
    _check_blind(exporter, queue, out)
    if annotate is not None:
        words = [*queue.classes]
        said = {id_: words[i % len(words)] for i, id_ in enumerate(ids)}
        back = {id_of(answer, queue): answer.says for answer in exporter.answers(annotate(out, said))}
        assert back == said, "answers do not come back as they were given"


def id_of(answer: Answer, queue: Queue) -> str | None:
    """Return the id that an answer is about, looked up where the tool kept only the task's name."""
    if answer.id is not None:
        return answer.id
    tasks = {queue.task_name(task.position): task.id for task in queue.tasks()}
    return tasks.get(answer.task or "")


def _check_blind(exporter: Exporter, queue: Queue, out: Path) -> None:
    """What is written of a blind queue must not hang on what it hides."""
    other = queue.table
    for name, value in (("suspicion", 0.123), ("confidence", 0.321), ("rank", 7)):
        at = other.schema.get_field_index(name)
        kind = other.schema.field(name).type
        other = other.set_column(at, name, pa.array([value] * len(queue), kind))
    for name in ("label", "suggested"):
        at = other.schema.get_field_index(name)
        other = other.set_column(at, name, pa.array([queue.classes[0]] * len(queue), pa.string()))
    contents = []
    for i, table in enumerate((queue.table, other)):
        place = out.with_name(f"blind{i}") / out.name
        place.parent.mkdir(parents=True, exist_ok=True)
        paths = exporter.export(replace(queue, table=table, blind=True), place)
        contents.append([_content(path) for path in paths])
    assert contents[0] == contents[1], "a blind queue tells what it should hide"


def _content(path: Path) -> list[bytes]:
    files = sorted(path.rglob("*")) if path.is_dir() else [path]
    return [file.read_bytes() for file in files if file.is_file()]
