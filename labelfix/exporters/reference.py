"""The portable reference: one file by which `labelfix gate` judges later batches, small enough for a CI artefact."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from labelfix.errors import UsageError


class ReferenceExporter:
    """Exports the run itself, not a queue: heads, states, a compressed neighbour index, and how its rows score."""

    takes_queue: ClassVar[bool] = False

    def export(self, run: Path, out: Path) -> list[Path]:
        """Write the file and return its path; raises UsageError or InputError for what cannot serve."""
        from labelfix.reference import Reference

        if not run.is_dir():
            raise UsageError(
                f"{run}: a reference is made of a run directory; name the one that `labelfix scan -o` wrote"
            )
        Reference.load(run).save(out)
        return [out]
