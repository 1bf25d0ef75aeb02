"""Argilla: a dataset directory that `argilla.Dataset.from_disk` loads: settings and records."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

from labelfix.errors import InputError, UsageError
from labelfix.exporters.answers import Answer, special_words
from labelfix.exporters.queue import Queue, Task
from labelfix.rundir import output_error, writing

QUESTION = "answer"
MOST_OPTIONS = 500
"""Labels that a question may offer (Argilla's default)."""


class Argilla:
    """Load it with `argilla.Dataset.from_disk(path)`; sort records by `suspicion` where it is shown."""

    takes_queue: ClassVar[bool] = True
    most: ClassVar[int] = 10_000_000

    def export(self, queue: Queue, out: Path) -> list[Path]:
        """Write records.json and .argilla/ with settings and name."""
        words = [*queue.classes, *special_words(queue.classes)]
        if len(words) > MOST_OPTIONS:
            raise UsageError(
                f"{len(queue.classes)} classes and {len(words) - len(queue.classes)} other answers are more options "
                f"than the {MOST_OPTIONS} of an Argilla question; choose --to label-studio or csv"
            )
        hidden = out / ".argilla"
        try:
            hidden.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise output_error(out, error) from error
        files = {
            hidden / "dataset.json": {"name": queue.name},
            hidden / "settings.json": _settings(queue, words),
            out / "records.json": [_record(queue, task) for task in queue.tasks()],
        }
        for path, content in files.items():
            with writing(path) as temporary:
                temporary.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")
        return list(files)

    def recognises(self, path: Path) -> bool:
        """Say yes to a directory with records.json, or to a file of records."""
        if path.is_dir():
            return (path / "records.json").is_file()
        if path.suffix.lower() != ".json":
            return False
        found = _load(path)
        return isinstance(found, list) and bool(found) and isinstance(found[0], dict) and "fields" in found[0]

    def answers(self, path: Path) -> list[Answer]:
        """Read records with their responses; drafts and discarded ones are no answers."""
        path = path / "records.json" if path.is_dir() else path
        found = _load(path)
        return [
            answer for n, record in enumerate(found, 1) for answer in _answers(record, f"{path}: record {n}")
        ]


def _settings(queue: Queue, words: list[str]) -> dict[str, Any]:
    """Return what `argilla.Settings.serialize` gives for these fields, question and metadata."""
    question = {
        "name": QUESTION,
        "title": "Which class is right?",
        "required": True,
        "settings": {
            "type": "label_selection",
            "options": [{"value": word, "text": word} for word in words],
            "visible_options": max(3, min(len(words), 20)),
        },
    }
    shown = (
        ["position", "drawn_with"] if queue.blind else ["position", "drawn_with", "suspicion", "confidence"]
    )
    kinds = dict.fromkeys(shown, "float") | {"position": "integer"}
    terms = ["queue"] if queue.blind else ["queue", "given", "suggested"]
    metadata = [_property(name, {"type": kinds[name]}) for name in shown]
    metadata += [_property(name, {"type": "terms"}) for name in terms]
    return {
        "guidelines": None,
        "fields": [{"name": "image", "title": "image", "required": True, "settings": {"type": "image"}}],
        "questions": [question],
        "vectors": [],
        "metadata": metadata,
        "allow_extra_metadata": True,
        "distribution": {"strategy": "overlap", "min_submitted": 1},
        "mapping": None,
    }


def _property(name: str, settings: dict[str, Any]) -> dict[str, Any]:
    return {"name": name, "title": name, "settings": settings, "visible_for_annotators": True}


def _record(queue: Queue, task: Task) -> dict[str, Any]:
    about: dict[str, Any] = {
        "queue": queue.name,
        "position": task.position,
        "copy": queue.copy,
        "drawn_with": task.drawn_with,
    }
    if not queue.blind:
        told = {
            "suspicion": task.suspicion,
            "confidence": task.confidence,
            "given": task.label,
            "suggested": task.suggested,
        }
        about |= {name: value for name, value in told.items() if value is not None}
    suggestion = {QUESTION: {"value": task.suggested, "score": task.confidence, "agent": "labelfix"}}
    return {
        "id": task.id,
        "fields": {"image": queue.address(task)},
        "metadata": about,
        "suggestions": suggestion if task.suggested is not None else {},
        "responses": {},
        "vectors": {},
    }


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: is no JSON ({error}); export or copy it again") from error


def _answers(record: Any, where: str) -> list[Answer]:
    if not isinstance(record, dict) or "id" not in record:
        raise InputError(f"{where} has no id, so it is no record of ours; leave such records out")
    about = record.get("metadata") or {}
    open_ = Answer(None, where, id=str(record["id"]), queue=str(about.get("queue") or ""))
    return [
        replace(
            open_,
            says=str(one["value"]) if one.get("status", "submitted") == "submitted" else None,
            annotator=str(one.get("user_id") or f"copy {about.get('copy', 1)}"),
            at=str(record.get("updated_at") or ""),
        )
        for one in (record.get("responses") or {}).get(QUESTION) or []
    ] or [open_]
