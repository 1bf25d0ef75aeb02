"""Exporting: rows of the findings become a queue, and an exporter or a server gets it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from labelfix import plugins
from labelfix.errors import LabelfixError, UsageError
from labelfix.exporters.queue import Queue, remember
from labelfix.exporters.selecting import Selection, select, trusted_rows
from labelfix.findings import Findings
from labelfix.manifest import Manifest
from labelfix.origin import record_of, reopen, scanned
from labelfix.progress import Progress, Silent
from labelfix.rundir import OutputError, RunDir, check_spared


@dataclass(frozen=True)
class Serving:
    """How tasks are shown."""

    blind: bool = False
    """Whether given label, suggestion and suspicion are kept from annotators, against anchoring."""
    copies: int = 1
    """So many equal queues, one for each annotator."""
    image_url: str = ""
    """What tools shall put before image names, where images are served."""
    images: str | None = None
    """Directory that image names start in; None: where the scan found them."""

    def __post_init__(self) -> None:
        if self.copies < 1:
            raise UsageError(f"--copies is {self.copies}, but must be at least 1")


def export(
    findings: Findings | str | Path,
    to: str,
    out: str | Path,
    *,
    top: int | None = None,
    min_suspicion: float | None = None,
    budget: int | None = None,
    audit: int | None = None,
    per_class: int | None = None,
    only: Sequence[str] = (),
    blind: bool = False,
    copies: int = 1,
    seed: int = 0,
    image_url: str = "",
    images: str | None = None,
    progress: Progress | None = None,
) -> list[Path]:
    """Write a queue of suspicious rows in the format of a tool, and return the files.

    `findings` may be a run directory; the run then remembers the queue, so that answers can be merged. See
    `Selection` and `Serving` for the options. An exporter of whole runs takes none of them. Raises UsageError.
    """
    exporter = plugins.load("exporters", to)()
    found = findings if isinstance(findings, Findings) else Findings.read(findings)
    selection = Selection(top, min_suspicion, budget, audit, per_class, tuple(only), seed)
    serving = Serving(blind, copies, image_url, images)
    out, progress = Path(out), progress or Silent()
    if not out.parent.is_dir():
        raise UsageError(f"{out.parent}: there is no such directory; create it, or choose another -o")
    check_spared([out], scanned(record_of(found)))
    if not getattr(exporter, "takes_queue", False):
        return _export_run(exporter, found, to, out, (selection, serving))
    queue = queue_of(found, selection, serving, progress)
    parts = -(-len(queue) // exporter.most)
    if parts > 1:
        progress.note(
            f"{len(queue):,} tasks are more than the {exporter.most:,} that {to} takes at once: {parts} parts"
        )
    written = []
    for copy in range(1, copies + 1):
        for part in range(parts):
            names = [
                *([f"copy{copy}"] if copies > 1 else []),
                *([f"part{part + 1}of{parts}"] if parts > 1 else []),
            ]
            piece = replace(queue, copy=copy, copies=copies).part(part * exporter.most, exporter.most)
            written += exporter.export(piece, _named(out, names))
    return written


def push(
    findings: Findings | str | Path,
    to: str,
    url: str,
    project: str,
    selection: Selection,
    serving: Serving,
    progress: Progress | None = None,
) -> tuple[int, int]:
    """Make sure that a server has a queue's tasks, each once; returns how many there are and how many were new."""
    server = plugins.load("servers", to)()
    found = findings if isinstance(findings, Findings) else Findings.read(findings)
    queue = replace(queue_of(found, selection, serving, progress or Silent()), copies=serving.copies)
    return len(queue), server.push(queue, url, project)


def queue_of(findings: Findings, selection: Selection, serving: Serving, progress: Progress) -> Queue:
    """Choose the rows, and let the run remember them; raises UsageError when none fits."""
    selected = select(findings, selection, trusted_rows(findings))
    table = findings.table.take(pa.array(selected.rows))
    shown = ["id", "image", "label", "suggested", "confidence", "suspicion", "rank", "soft_label"]
    table = table.select(shown).append_column("drawn_with", pa.array(selected.drawn_with, pa.float64()))
    settings = {"selection": asdict(selection), "manifest": str(findings.meta.get("manifest", ""))}
    digest = hashlib.blake2b(json.dumps(settings, sort_keys=True).encode(), digest_size=5)
    for column in ("id", "label", "suspicion"):
        digest.update(repr(table.column(column).to_pylist()).encode())
    name = f"q{digest.hexdigest()}"
    origin = _origin(findings, serving, progress)
    queue = Queue(
        name, table, findings.classes, None if origin is None else origin.images, selected.rows.astype(np.int64),
        root="" if origin is None else origin.root, image_url=serving.image_url, blind=serving.blind,
    )  # fmt: skip
    if findings.run is None:
        progress.note(
            "these findings lie in no run directory, so nothing remembers with which chance rows were drawn"
        )
    else:
        try:
            remember(queue, RunDir(findings.run).queues, settings, progress)
        except (OSError, OutputError) as error:
            lost = "merging will not know with which chance rows were drawn"
            progress.note(f"the run cannot remember this queue, so that {lost} ({error})")
    return queue


def _origin(findings: Findings, serving: Serving, progress: Progress) -> Manifest | None:
    """Return the manifest as it was scanned; None where it cannot be had, which tools that need images will say."""
    try:
        manifest = reopen(record_of(findings), images=serving.images)
    except LabelfixError as error:
        progress.note(f"images are not looked at: {error}")
        return None
    if manifest.digest != findings.meta.get("manifest"):
        progress.note(f"images are not looked at: {manifest.source} is not what was scanned any more")
        return None
    return manifest


def _export_run(
    exporter: Any, findings: Findings, to: str, out: Path, options: tuple[Any, ...]
) -> list[Path]:
    if options != (Selection(), Serving()):
        raise UsageError(
            f"--to {to} exports the run as a whole; leave the options that choose or show rows out"
        )
    if findings.run is None:
        raise UsageError(
            f"--to {to} exports a run, but the findings lie in no run directory; name that instead"
        )
    written: list[Path] = exporter.export(findings.run, out)
    return written


def _named(out: Path, words: list[str]) -> Path:
    """Put words before the file's ending: tasks.json → tasks.copy1.json."""
    return out.with_name(".".join([out.stem, *words]) + out.suffix) if words else out
