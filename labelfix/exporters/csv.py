"""CSV: a table for spreadsheets, with a column to write answers into; cells that would be formulas are neutralised."""

from __future__ import annotations

import csv
import io
import json
import re
from pathlib import Path
from typing import Any, ClassVar

from labelfix.errors import InputError
from labelfix.exporters.answers import Answer
from labelfix.exporters.queue import Queue
from labelfix.exporters.rows import ANSWERED, answers_of
from labelfix.readers.delimited import header_of
from labelfix.rundir import writing

_RISKY = re.compile(r"'*[=+\-@\t\r]")
"""What a spreadsheet would run, and what was neutralised before."""
MARKS = ["id", "label", "decision"]
"""Columns of the marks that the HTML report writes, neutralised as a queue's cells are."""


class Csv:
    """Write the answer (a class or a special word) into the column `answer`, and who gave it into `annotator`."""

    takes_queue: ClassVar[bool] = True
    most: ClassVar[int] = 1_048_575  # what a sheet holds below its header

    def export(self, queue: Queue, out: Path) -> list[Path]:
        """Write one file."""
        table = queue.shown()
        with writing(out) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
            lines = csv.writer(file, lineterminator="\r\n")
            lines.writerow([*table.column_names, *ANSWERED])
            for row in table.to_pylist():
                lines.writerow([*(_cell(value) for value in row.values()), *[""] * len(ANSWERED)])
        return [out]

    def recognises(self, path: Path) -> bool:
        """Say yes to .csv and .tsv."""
        return path.suffix.lower() in {".csv", ".tsv"}

    def answers(self, path: Path) -> list[Answer]:
        """Read a filled queue, marks of the HTML report, or any table with an id and an answer, label or decision."""
        try:
            text = path.read_bytes().decode("utf-8-sig")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(
                f"{path}: cannot be read as UTF-8 text ({error}); save it as CSV UTF-8"
            ) from error
        _, separator, _ = header_of(text, path.suffix.lower() == ".tsv")
        try:
            lines = list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True))
        except csv.Error as error:
            raise InputError(f"{path}: is no CSV ({error}); mend its quotes") from error
        lines = [line for line in lines if any(line)]
        if not lines:
            raise InputError(f"{path}: is empty; it needs a header line and answers")
        names = lines[0]
        ours = {"queue", "position", "id"} <= set(names) or names == MARKS
        rows = [dict(zip(names, map(restored, line) if ours else line, strict=False)) for line in lines[1:]]
        return answers_of(rows, names, path)


def neutralised(text: str) -> str:
    """Return a cell that no spreadsheet runs; `restored` undoes it."""
    return f"'{text}" if _RISKY.match(text) else text


def restored(cell: str) -> str:
    """Undo `neutralised`."""
    return cell[1:] if cell.startswith("'") and _RISKY.match(cell) else cell


def _cell(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list):
        value = json.dumps({pair["label"]: round(pair["p"], 4) for pair in value}, ensure_ascii=False)
    return neutralised(value) if isinstance(value, str) else str(value)
