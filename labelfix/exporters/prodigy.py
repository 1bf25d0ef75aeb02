"""Prodigy: JSON lines for the view `choice`; the file's order is the queue."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

from labelfix.errors import InputError
from labelfix.exporters.answers import Answer, special_words
from labelfix.exporters.jsonl import first_line, read_lines, write_lines
from labelfix.exporters.queue import Queue, Task


class Prodigy:
    """Start it with `prodigy mark DATASET tasks.jsonl --view-id choice`, and `choice_style: single`."""

    takes_queue: ClassVar[bool] = True
    most: ClassVar[int] = 10_000_000

    def export(self, queue: Queue, out: Path) -> list[Path]:
        """Write one file."""
        words = [*queue.classes, *special_words(queue.classes)]
        options = [{"id": word, "text": word} for word in words]
        write_lines(out, (_task(queue, task, options) for task in queue.tasks()))
        return [out]

    def recognises(self, path: Path) -> bool:
        """Say yes to .jsonl with our `meta`."""
        return path.suffix.lower() == ".jsonl" and "sample_id" in (first_line(path).get("meta") or {})

    def answers(self, path: Path) -> list[Answer]:
        """Read what `prodigy db-out` writes: accepted with one option is an answer, ignored or rejected is none."""
        return [_answer(row, f"{path}: line {number}") for number, row in enumerate(read_lines(path), 1)]


def _task(queue: Queue, task: Task, options: list[dict[str, str]]) -> dict[str, Any]:
    meta = {"sample_id": task.id, "queue": queue.name, "copy": queue.copy, "drawn_with": task.drawn_with}
    if not queue.blind:
        meta |= {
            "given": task.label,
            "suggested": task.suggested,
            "suspicion": task.suspicion,
            "rank": task.rank,
        }
    chosen = {"accept": [task.suggested]} if task.suggested is not None else {}
    return {"image": queue.address(task), "options": options, **chosen, "meta": meta}


def _answer(row: dict[str, Any], where: str) -> Answer:
    meta, chosen = row.get("meta") or {}, row.get("accept") or []
    if "sample_id" not in meta:
        raise InputError(f"{where}: has no meta.sample_id, so it is no task of ours; leave such lines out")
    when = row.get("_timestamp")
    return Answer(
        says=str(chosen[0]) if row.get("answer") == "accept" and len(chosen) == 1 else None,
        where=where,
        id=str(meta["sample_id"]),
        annotator=str(row.get("_annotator_id") or row.get("_session_id") or f"copy {meta.get('copy', 1)}"),
        at="" if when is None else datetime.fromtimestamp(float(when), UTC).isoformat(),
        queue=str(meta.get("queue") or ""),
    )
