"""Label Studio: tasks with predictions, and the labelling configuration that belongs to them.

Tasks are served in the order of the file when sampling is sequential, the default. The order does not hang on
prediction scores: uncertainty sampling would serve the lowest first.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import quote
from xml.sax.saxutils import quoteattr

from labelfix.errors import InputError
from labelfix.exporters.answers import Answer, special_words
from labelfix.exporters.queue import Queue, Task
from labelfix.exporters.xml import fit
from labelfix.rundir import writing

FROM, TO = "answer", "image"
"""Names of the control and of the object in the configuration."""
LOCAL = "/data/local-files/?d="
"""Where Label Studio serves files of its own machine."""


class LabelStudio:
    """Import the tasks into a project with the configuration beside them."""

    takes_queue: ClassVar[bool] = True
    most: ClassVar[int] = 10_000  # larger uploads time out

    def export(self, queue: Queue, out: Path) -> list[Path]:
        """Write the tasks, and `<name>.config.xml`."""
        config = out.with_name(f"{out.stem}.config.xml")
        text = labelling_config(queue)
        with writing(out) as temporary:
            temporary.write_text(json.dumps(tasks(queue), ensure_ascii=False, indent=1), encoding="utf-8")
        with writing(config) as temporary:
            temporary.write_text(text, encoding="utf-8")
        return [out, config]

    def recognises(self, path: Path) -> bool:
        """Say yes to .json that is a list of tasks."""
        if path.suffix.lower() != ".json":
            return False
        found = _load(path)
        return isinstance(found, list) and bool(found) and _is_task(found[0])

    def answers(self, path: Path) -> list[Answer]:
        """Read the export types JSON and JSON_MIN."""
        found = _load(path)
        if not isinstance(found, list):
            raise InputError(f"{path}: is no list of tasks; export the project as JSON")
        return [answer for n, task in enumerate(found, 1) for answer in _answers(task, f"{path}: task {n}")]


def tasks(queue: Queue) -> list[dict[str, Any]]:
    """Return the tasks as Label Studio imports them; raises UsageError for class names that XML cannot carry."""
    labelling_config(queue)
    return [_task(queue, task) for task in queue.tasks()]


def labelling_config(queue: Queue) -> str:
    """Return the configuration that fits the tasks: one choice among the classes and the special words."""
    words = [fit(name, "the class", "Label Studio's configuration") for name in queue.classes]
    choices = "\n".join(f"    <Choice value={quoteattr(word)}/>" for word in [*words, *special_words(words)])
    shown = "" if queue.blind else '  <Header value="given: $given, suggested: $suggested"/>\n'
    return (
        f'<View>\n  <Image name="{TO}" value="$image"/>\n{shown}'
        f'  <Choices name="{FROM}" toName="{TO}" choice="single" showInline="true">\n{choices}\n  </Choices>\n</View>\n'
    )


def _task(queue: Queue, task: Task) -> dict[str, Any]:
    data: dict[str, Any] = {
        "image": _address(queue, task),
        "sample_id": task.id,
        "queue": queue.name,
        "position": task.position,
        "copy": queue.copy,
        "drawn_with": task.drawn_with,
    }
    if queue.blind:
        return {"data": data}
    data |= {
        "given": task.label,
        "suggested": task.suggested,
        "suspicion": task.suspicion,
        "confidence": task.confidence,
        "rank": task.rank,
    }
    if task.suggested is None:
        return {"data": data}
    result = {"from_name": FROM, "to_name": TO, "type": "choices", "value": {"choices": [task.suggested]}}
    return {
        "data": data,
        "predictions": [{"model_version": "labelfix", "score": task.confidence, "result": [result]}],
    }


def _address(queue: Queue, task: Task) -> str:
    """Say where the browser finds the image; files of this machine are served below the parent of their directory."""
    path = "" if queue.image_url or task.image is None else queue.path(task)
    if not path or "://" in path or "://" in str(task.image):
        return queue.address(task)
    return LOCAL + quote(f"{Path(queue.root).absolute().name}/{task.image}")


def _load(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8-sig"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: is no JSON ({error}); export or copy it again") from error


def _is_task(task: Any) -> bool:
    return isinstance(task, dict) and "sample_id" in (task.get("data") or task)


def _answers(task: Any, where: str) -> list[Answer]:
    if not _is_task(task):
        raise InputError(f"{where} has no data.sample_id, so it is no task of ours; leave such tasks out")
    data = task.get("data") or task
    open_ = Answer(None, where, id=str(data["sample_id"]), queue=str(data.get("queue") or ""))
    if "data" not in task:  # JSON_MIN
        says, when = task.get(FROM), task.get("updated_at")
        says = says if isinstance(says, str) else None
        return [replace(open_, says=says, annotator=_who(task.get("annotator"), data), at=str(when or ""))]
    return [
        replace(
            open_,
            says=None if one.get("was_cancelled") else _choice(one),
            annotator=_who(one.get("completed_by"), data),
            at=str(one.get("updated_at") or one.get("created_at") or ""),
        )
        for one in task.get("annotations") or []
        if isinstance(one, dict)
    ] or [open_]


def _choice(annotation: dict[str, Any]) -> str | None:
    chosen = [
        str(choice)
        for part in annotation.get("result") or []
        if part.get("type") == "choices" and part.get("from_name") == FROM
        for choice in part.get("value", {}).get("choices") or []
    ]
    return chosen[0] if len(chosen) == 1 else None


def _who(who: Any, data: dict[str, Any]) -> str:
    if isinstance(who, dict):
        who = who.get("email") or who.get("id")
    return str(who) if who is not None else f"copy {data.get('copy', 1)}"
