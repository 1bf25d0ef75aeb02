"""FiftyOne: a directory of the type FiftyOneImageClassificationDataset.

Files are named by queue and position, so that their order is the queue's, and so that answers find their rows however
the dataset is exported again.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

from labelfix.errors import InputError
from labelfix.exporters.answers import Answer
from labelfix.exporters.queue import Queue, Task, kind
from labelfix.rundir import output_error, writing


class FiftyOne:
    """Load it with label_field="given"; put answers into a field of their own, and export that one."""

    takes_queue: ClassVar[bool] = True
    most: ClassVar[int] = 10_000_000

    def export(self, queue: Queue, out: Path) -> list[Path]:
        """Write data/ and labels.json."""
        data, labels = out / "data", dict[str, Any]()
        try:
            data.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise output_error(out, error) from error
        for task in queue.tasks():
            content, name = queue.need(task, "FiftyOne"), queue.task_name(task.position)
            with writing(data / f"{name}.{kind(content)}") as temporary:
                temporary.write_bytes(content)
            labels[name] = _label(queue, task)
        with writing(out / "labels.json") as temporary:
            listed = {"classes": list(queue.classes), "labels": labels}
            temporary.write_text(json.dumps(listed, ensure_ascii=False), encoding="utf-8")
        return [data, out / "labels.json"]

    def recognises(self, path: Path) -> bool:
        """Say yes to a directory with labels.json, or to that file."""
        path = path / "labels.json" if path.is_dir() else path
        return path.name == "labels.json" and path.is_file()

    def answers(self, path: Path) -> list[Answer]:
        """Read the labels of an exported field; what we wrote ourselves into the field `given` is no answer."""
        path = path / "labels.json" if path.is_dir() else path
        try:
            labels = json.loads(path.read_text(encoding="utf-8"))["labels"]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(
                f"{path}: is no labels.json of FiftyOne ({error!r}); export the dataset again"
            ) from error
        return [_answer(name, label, f"{path}: {name}") for name, label in labels.items()]


def _label(queue: Queue, task: Task) -> dict[str, Any]:
    about = {
        "sample_id": task.id,
        "queue": queue.name,
        "position": task.position,
        "copy": queue.copy,
        "drawn_with": task.drawn_with,
    }
    told = {"given": task.label, "suggested": task.suggested, "suspicion": task.suspicion, "rank": task.rank}
    if queue.blind:
        return {"label": "", "attributes": about}
    return {"label": task.label, "confidence": 1.0 - (task.suspicion or 0.0), "attributes": about | told}


def _answer(name: str, label: Any, where: str) -> Answer:
    held = label.get("attributes") or {} if isinstance(label, dict) else {}
    says = label.get("label") if isinstance(label, dict) else label
    given = held.get("given", "") if "sample_id" in held else None
    return Answer(
        says=None if not says or says == given else str(says),
        where=where,
        id=held.get("sample_id"),
        task=name,
        annotator=str(held.get("annotator") or ""),
        queue=str(held.get("queue") or ""),
    )
