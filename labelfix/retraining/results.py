"""Results: what was trained and how well it does; results.json beside the classifiers."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelfix.retraining.evaluating import Evaluation
from labelfix.rundir import writing

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
"""Version of the document; a field may be added without a new one, none is renamed or removed."""


@dataclass(frozen=True)
class Row:
    """One classifier."""

    labels: str
    """The variant of the labels that it was trained on."""
    rows: int
    """That it learnt from."""
    file: str
    """Where it is."""
    seconds: float
    """Spent on training it; about nothing where it was kept."""
    evaluation: Evaluation | None = None
    """On the held-out rows; None without any."""


@dataclass(frozen=True)
class Results:
    """All classifiers of one call."""

    run: str
    """The run directory."""
    out: str
    """Where the files are."""
    mode: str
    """probe or finetune."""
    classes: tuple[str, ...]
    """[K]"""
    labelled: int
    """Rows of the run that could be learnt from."""
    classifiers: tuple[Row, ...]
    """In the order of the table."""
    held_out: str | None
    """The manifest they were evaluated on."""
    counts: dict[str, Any] | None
    """Held-out rows: rows, evaluated, unreadable, unlabelled, unknown_class, unknown_classes, also_trained_on."""

    def document(self) -> dict[str, Any]:
        """Return plain values."""
        return {"schema": SCHEMA} | asdict(self)

    def to_pandas(self) -> pd.DataFrame:
        """Return one line a classifier, metrics in columns of their own."""
        import pandas as pd

        lines = []
        for row in self.classifiers:
            line = asdict(row)
            lines.append(line | (line.pop("evaluation") or {}))
        return pd.DataFrame(lines)

    def write(self, path: Path) -> None:
        """Write JSON to a temporary name and rename it."""
        with writing(path) as temporary:
            temporary.write_text(json.dumps(self.document(), indent=2) + "\n", encoding="utf-8")
