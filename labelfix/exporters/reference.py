"""The portable reference: one file by which `labelfix gate` judges later batches, small enough for a CI artefact."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from labelfix.errors import UsageError


class ReferenceExporter:
    """Exports the run itself, not a queue: heads, states, a compressed neighbour index, and how its rows score."""

    name: ClassVar[str] = "reference"
    takes_queue: ClassVar[bool] = False

    def export(self, run: Path, out: Path, **options: object) -> list[Path]:
        """Write the file and return its path; raises UsageError for options, InputError for a run that cannot serve."""
        from labelfix.reference import Reference

        if options:
            raise UsageError(
                f"--to reference exports the whole run; leave {', '.join(map(str, options))} out"
            )
        if not run.is_dir():
            raise UsageError(
                f"{run}: a reference is made of a run directory; name the one that `labelfix scan -o` wrote"
            )
        Reference.load(run).save(out)
        return [out]
