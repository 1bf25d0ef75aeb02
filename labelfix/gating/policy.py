"""Policy: what a batch must keep to, read from labelfix.toml; every key has a default, an unknown one is an error."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, Literal, Self, cast

from labelfix.errors import InputError, UsageError, nearest

Level = Literal["fail", "warn", "off"]
PRESETS = {"strict": 0.2, "default": 0.5, "lenient": 0.9}
"""Names for a confidence: how probable it must be that a limit is exceeded before the gate fails."""


@dataclass(frozen=True)
class Limits:
    """`[limits]`: numbers that a batch must not exceed. Rates are shares of rows, 0 … 1."""

    error_rate: float = 0.05
    """Estimated share of wrong labels in the batch."""
    error_rate_above_reference: float = 0.03
    """Estimated share of wrong labels, less the reference's own."""
    class_error_rate: float = 0.2
    """Estimated share of wrong labels among the rows of one given class."""
    annotator_error_rate: float = 0.2
    """Estimated share of wrong labels among the rows of one annotator."""
    column_error_rate: float = 0.2
    """Estimated share of wrong labels among the rows with one value of a column of `[gate] columns`."""
    unreadable_rate: float = 0.01
    """Share of rows whose image cannot be read."""
    unlabelled_rate: float = 0.0
    """Share of rows without a label."""
    unknown_class_rate: float = 0.0
    """Share of rows labelled with a class that the reference does not know."""
    conflicting_duplicate_rate: float = 0.01
    """Share of rows that have a copy with another label, in the batch or in the reference."""
    reference_overlap: float = 0.2
    """Share of rows that are copies of rows of the reference: the batch is not new."""
    class_mix_drift: float = 0.2
    """Total variation distance of the class shares from the reference's, 0 … 1."""
    feature_drift: float = 0.25
    """Largest Kolmogorov-Smirnov distance of a direction of the features from the reference's, 0 … 1."""
    new_findings: float = 0
    """Suspicious rows that are neither in the baseline nor waived; a number of rows. Asked with a baseline only."""
    expired_waivers: float = 0
    """Waivers of rows of the batch that are past their date; a number."""


WARN_BY_DEFAULT = {
    "class_error_rate", "annotator_error_rate", "column_error_rate", "class_mix_drift", "feature_drift",
    "expired_waivers",
}  # fmt: skip


@dataclass(frozen=True)
class Policy(Limits):
    """Limits, what happens when one is exceeded, and how sure the gate must be."""

    levels: dict[str, Level] = field(default_factory=dict)
    """`[levels]`: fail, warn or off by limit; what is not named has its default, see `level`."""
    confidence: float | str = PRESETS["default"]
    """`[gate] confidence`: exceeded is a limit on an estimate when that is more probable than this; or a preset."""
    min_rows: int = 50
    """`[gate] min_rows`: with fewer judged rows, rates are inconclusive."""
    min_rows_alone: int = 200
    """`[gate] min_rows_alone`: the same where there is no reference and the batch is cross-validated within itself."""
    min_part_rows: int = 20
    """`[gate] min_part_rows`: classes, annotators and column values with fewer judged rows are not judged."""
    min_model_quality: float = 0.2
    """`[gate] min_model_quality`: what a score says about the error rate, as a share of what the truth
    would say; below it, rates are inconclusive."""
    suspicion: float = 0.5
    """`[gate] suspicion`: a row is a finding from this probability of a wrong label on."""
    columns: tuple[str, ...] = ()
    """`[gate] columns`: columns of the batch whose values are judged one by one, such as the camera or the vendor."""
    source: str = "the default policy"
    """The file that was read."""

    def __post_init__(self) -> None:
        if isinstance(self.confidence, str):
            if self.confidence not in PRESETS:
                raise UsageError(
                    f"{self.source}: confidence {self.confidence!r} is no preset; {nearest(self.confidence, PRESETS)}"
                )
            object.__setattr__(self, "confidence", PRESETS[self.confidence])
        counts = {"new_findings", "expired_waivers"}
        for one in fields(Limits):
            self._number(f"limits.{one.name}", getattr(self, one.name), 0, None if one.name in counts else 1)
        for name in ("confidence", "min_model_quality", "suspicion"):
            self._number(f"gate.{name}", getattr(self, name), 0, 1)
        for name in ("min_rows", "min_rows_alone", "min_part_rows"):
            if type(getattr(self, name)) is not int or getattr(self, name) < 1:
                raise UsageError(
                    f"{self.source}: gate.{name} is {getattr(self, name)!r}, but must be a whole number from 1"
                )
        if not 0 < self.needed < 1:
            raise UsageError(
                f"{self.source}: gate.confidence is {self.confidence}, but must lie between 0 and 1"
            )
        for name, level in self.levels.items():
            if level not in ("fail", "warn", "off"):  # it may be a list, which has no hash
                raise UsageError(f"{self.source}: levels.{name} is {level!r}, but must be fail, warn or off")

    @property
    def needed(self) -> float:
        """The confidence as a number."""
        return float(self.confidence)

    def _number(self, name: str, value: Any, low: float, high: float | None) -> None:
        right = isinstance(value, int | float) and not isinstance(value, bool)
        if not right or not low <= value <= (float("inf") if high is None else high):
            span = f"a number from {low}" if high is None else f"a number in {low} … {high}"
            raise UsageError(f"{self.source}: {name} is {value!r}, but must be {span}")

    def level(self, limit: str, compares: bool) -> Level:
        """Return what happens when a limit is exceeded; `compares` says whether there is a reference.

        Where a reference says what rate is usual, a higher one fails and the rate itself warns.
        """
        if limit in self.levels:
            return self.levels[limit]
        if limit == "error_rate":
            return "warn" if compares else "fail"
        return "warn" if limit in WARN_BY_DEFAULT else "fail"

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read labelfix.toml; raises UsageError that names the file, the key and the remedy."""
        try:
            found = tomllib.loads(path.read_text(encoding="utf-8-sig"))
        except FileNotFoundError as error:
            raise UsageError(f"{path}: there is no such policy; write one, or leave --policy out") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"{path}: is no TOML ({error})") from error
        except OSError as error:
            raise InputError(f"{path}: the policy cannot be read ({error.strerror or error})") from error
        for name, table in found.items():
            _known("table", name, TABLES, str(path))
            if not isinstance(table, dict):
                raise UsageError(f"{path}: {name} must be a table; write [{name}] and its keys below")
            for key in table:
                _known(f"key in [{name}]", key, TABLES[name], str(path))
        chosen: dict[str, Any] = dict(found.get("gate", {}))
        columns = chosen.get("columns", [])
        if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
            raise UsageError(
                f'{path}: gate.columns is {columns!r}, but must be a list of names such as ["camera"]'
            )
        chosen["columns"] = tuple(columns)
        levels = cast("dict[str, Level]", found.get("levels", {}))
        return cls(source=str(path), levels=levels, **found.get("limits", {}), **chosen)


GATE = (
    "confidence",
    "min_rows",
    "min_rows_alone",
    "min_part_rows",
    "min_model_quality",
    "suspicion",
    "columns",
)
TABLES = {
    "limits": [f.name for f in fields(Limits)],
    "levels": [f.name for f in fields(Limits)],
    "gate": list(GATE),
}
"""Tables of the file and their keys."""


def _known(what: str, name: str, known: Any, where: str) -> None:
    if name not in known:
        raise UsageError(f"{where}: unknown {what}: {name!r}; {nearest(name, known)}")
