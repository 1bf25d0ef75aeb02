"""JSON lines: one object a task, with an empty answer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

from labelfix.errors import InputError
from labelfix.exporters.answers import Answer
from labelfix.exporters.queue import Queue
from labelfix.exporters.rows import ANSWERED, answers_of
from labelfix.rundir import writing


class JsonLines:
    """For scripts: fill the key `answer`."""

    takes_queue: ClassVar[bool] = True
    most: ClassVar[int] = 10_000_000

    def export(self, queue: Queue, out: Path) -> list[Path]:
        """Write one file."""
        write_lines(out, ({**row, **dict.fromkeys(ANSWERED)} for row in queue.shown().to_pylist()))
        return [out]

    def recognises(self, path: Path) -> bool:
        """Say yes to .jsonl without `meta` in its first line; Prodigy's objects have their ids there."""
        return path.suffix.lower() in {".jsonl", ".ndjson"} and "meta" not in first_line(path)

    def answers(self, path: Path) -> list[Answer]:
        """Read filled lines, or any with an id and an answer, label or decision."""
        rows = read_lines(path)
        return answers_of(rows, list(dict.fromkeys(name for row in rows for name in row)), path)


def write_lines(path: Path, rows: Any) -> None:
    """Write objects as JSON lines."""
    with writing(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        file.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read JSON lines; raises InputError naming the line."""
    rows = []
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({error}); write or copy it again") from error
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except ValueError as error:
                raise InputError(
                    f"{path}: line {number} is no JSON ({error}); mend or remove that line"
                ) from error
            if not isinstance(row, dict):
                raise InputError(f"{path}: line {number} is no JSON object; mend or remove that line")
            rows.append(row)
    return rows


def first_line(path: Path) -> dict[str, Any]:
    """Return the first object of a file of JSON lines; {} where there is none."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            row = json.loads(next((line for line in file if line.strip()), "{}"))
    except (OSError, ValueError):
        return {}
    return row if isinstance(row, dict) else {}
