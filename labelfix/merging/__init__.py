"""Merging: the annotators' answers go into the manifest, with their provenance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from labelfix.errors import InputError
from labelfix.exporters.queue import remembered
from labelfix.exporters.selecting import representatives, trusted_rows
from labelfix.findings import Findings
from labelfix.manifest import Manifest
from labelfix.merging.annotators import annotators
from labelfix.merging.consensus import CONFIRMED, CORRECTED, EMPTIED, TRUSTED, Decision, decide
from labelfix.merging.gathering import Vote, gather_answers, read_answers, rows_of_id
from labelfix.merging.standing import Asked, stands_for
from labelfix.merging.summary import Merged, summarise
from labelfix.origin import record_of, reopen, source_of
from labelfix.rewriting import Edits, check_out, default_out, rewrite
from labelfix.rewriting.edits import KEPT
from labelfix.rundir import RunDir, check_spared

__all__ = ["Merged", "merge"]


def merge(
    findings: Findings | str | Path,
    answers: str | Path | Sequence[str | Path],
    out: str | Path | None = None,
    *,
    manifest: str | Path | None = None,
    images: str | None = None,
    new_classes: Sequence[str] = (),
    set_aside: bool = False,
) -> Merged:
    """Write the manifest with the labels that annotators gave, and say what they found.

    `findings` may be a run directory, `answers` files of any tool that has an exporter. The manifest is written in its
    own format; without answers byte for byte. `manifest` names it where it is not the one that was scanned, `images`
    where its images are. Raises InputError, with nothing written, for answers to unknown rows or with unknown classes,
    unless they are `set_aside`, and UsageError for a bad `out`.
    """
    found = findings if isinstance(findings, Findings) else Findings.read(findings)
    paths = [Path(answers)] if isinstance(answers, str | Path) else [Path(path) for path in answers]
    record = record_of(found)
    source = source_of(record, manifest)
    place = default_out(source) if out is None else Path(out)
    check_out(source, place)
    check_spared([place], paths)
    now = reopen(record, source, images)
    of_run = _positions(found, now)
    queues = {} if found.run is None else remembered(RunDir(found.run).queues)
    shown = None if of_run is None else _shown(found, now, of_run)
    stand = representatives(found)
    rows = np.arange(len(now)) if of_run is None else of_run
    stands = (
        np.flatnonzero((rows >= 0) & (stand[rows.clip(0)] == rows)).tolist()
        if now.annotators is not None
        else ()
    )
    gathered = gather_answers(read_answers(paths), now, queues, set_aside, new_classes, shown, stands)
    given = [now.classes[k] if k >= 0 else None for k in now.labels]
    decisions = decide(gathered.votes, given)
    asked = _asked(queues, found, stand)
    trusted = now.trusted if of_run is None else _trusted(found, now, of_run)
    answered = np.zeros(len(found), bool)
    answered[[rows[one.row] for one in decisions if one.settled and rows[one.row] >= 0]] = True
    left = stands_for(found, trusted, answered, asked)
    decisions, votes, again = _news(decisions, gathered.votes, now)
    rewrite(
        now,
        edits_of(decisions, now, {one.row: left.get(int(rows[one.row])) for one in decisions}),
        place,
    )
    notes = [*gathered.notes, *again, *_moved(source, place, now)]
    if of_run is not None:
        decisions = [replace(one, row=int(of_run[one.row])) for one in decisions if of_run[one.row] >= 0]
        votes = [replace(v, row=int(of_run[v.row])) for v in votes if of_run[v.row] >= 0]
        notes.append(f"{now.source} is not what was scanned: rows are matched by id")
    who = annotators(votes, decisions, found)
    return summarise(str(place), found, trusted, decisions, gathered.open, asked, who, notes)


def edits_of(decisions: Sequence[Decision], manifest: Manifest, left: Mapping[int, float | None]) -> Edits:
    """Return what decisions change: labels, and the columns that say why.

    `left` says of a decision's row how many rows that are left it stands for.
    """
    rows_of = rows_of_id(manifest, [one.row for one in decisions])
    changed = sorted((int(row), one) for one in decisions for row in rows_of[one.row])
    left = _in_rows(left, changed, manifest)
    now = datetime.now(UTC).isoformat(timespec="seconds")
    labels: list[Any] = []
    columns: dict[str, list[Any]] = {
        name: []
        for name in (
            "previous_label", "decision", "annotators", "agreement", "source", "at", "round", "stands_for", "trusted"
        )
    }  # fmt: skip
    round_ = 1 + (0 if manifest.rounds is None else manifest.rounds.last)
    for row, one in changed:
        before = manifest.labels[row]
        previous = manifest.classes[before] if before >= 0 else None
        moved = one.word in TRUSTED and one.label != previous
        labels.append(one.label if moved else None if one.word in EMPTIED else KEPT)
        word = one.word if one.word not in TRUSTED else CORRECTED if moved else CONFIRMED
        values = (previous, word, "; ".join(one.annotators), one.agreement,
                  "; ".join(one.sources), one.at or now, round_ if one.settled else None,
                  left.get(one.row), one.word in TRUSTED)  # fmt: skip
        for held, value in zip(columns.values(), values, strict=True):
            held.append(value)
    return Edits(np.array([row for row, _ in changed], np.int64), labels, columns)


def _in_rows(
    left: Mapping[int, float | None], changed: Sequence[tuple[int, Decision]], manifest: Manifest
) -> Mapping[int, float | None]:
    """Return how many rows, not items, each decision's rows stand for: the next scan counts answers."""
    total = sum(left.get(one.row) or 0.0 for _, one in changed)
    if manifest.annotators is None or not total:
        return left
    open_ = manifest.labels >= 0
    open_[[row for row, _ in changed]] = False
    if manifest.trusted is not None:
        open_ &= ~manifest.trusted
    return {row: None if value is None else value * float(open_.sum()) / total for row, value in left.items()}


def _news(
    decisions: Sequence[Decision], votes: Sequence[Vote], manifest: Manifest
) -> tuple[list[Decision], list[Vote], list[str]]:
    """Leave out what the manifest has been told before: tools export all they have, answers of earlier rounds too.

    Told again, a corrected label would look like a confirmed one.
    """
    if manifest.rounds is None:
        return list(decisions), list(votes), []
    names = [*manifest.classes, None]
    known = {
        one.row
        for one in decisions
        if one.settled
        and manifest.rounds.number[one.row] > 0
        and names[manifest.labels[one.row]] == (one.label if one.word in TRUSTED else None)
    }
    said = f"{len(known):,} rows were answered so before, and stay as they are"
    return (
        [one for one in decisions if one.row not in known],
        [vote for vote in votes if vote.row not in known],
        [said] if known else [],
    )


def _asked(queues: dict[str, pa.Table], findings: Findings, stand: NDArray[np.intp]) -> list[Asked]:
    """Return the queues with the run's own positions, of the rows that `stand` [N] for their ids."""
    ids = findings.table.column("id").combine_chunks()
    found = []
    for table in queues.values():
        rows = pc.index_in(table.column("id"), value_set=ids).to_numpy()
        if not np.isnan(rows.astype(float)).any():
            found.append(Asked(stand[rows.astype(np.int64)], table.column("drawn_with").to_numpy()))
    return found


def _positions(findings: Findings, manifest: Manifest) -> NDArray[np.int64] | None:
    """Return the run's position of each manifest row, -1 for none; None where the manifest is the one scanned.

    Raises InputError where rows cannot be told apart but by their places, which may have changed.
    """
    if manifest.digest == findings.meta.get("manifest"):
        return None
    if "id" not in manifest.columns and not manifest.root:
        raise InputError(
            f"{manifest.source}: is not what was scanned any more, and its rows have no ids to be found by; "
            f"name the manifest as it was with --manifest, or scan again"
        )
    ids = findings.table.column("id").combine_chunks()
    wanted = pa.array(manifest.ids, pa.string())
    if manifest.annotators is not None and "annotator" in findings.table.column_names:
        who = findings.table.column("annotator").combine_chunks().fill_null("")
        named = pa.array(manifest.annotators, pa.string()).fill_null("")
        ids, wanted = (pc.binary_join_element_wise(*pair, "\x00") for pair in ((ids, who), (wanted, named)))
    found = pc.index_in(wanted, value_set=ids).fill_null(-1)
    rows: NDArray[np.int64] = found.to_numpy().astype(np.int64)
    if not (rows >= 0).any():
        numbered = "".join(f" ({note})" for note in manifest.notes if note.startswith("ids: "))
        raise InputError(
            f"{manifest.source}: holds none of the rows that were scanned{numbered}; name another with --manifest"
        )
    return rows


def _trusted(findings: Findings, manifest: Manifest, of_run: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Return which rows of the run [N] carry a trusted label: since the scan, or since an earlier merge."""
    then = trusted_rows(findings)
    trusted = np.zeros(len(findings), bool) if then is None else then.copy()
    if manifest.trusted is not None:
        trusted[of_run[manifest.trusted & (of_run >= 0)]] = True
    return trusted


def _shown(findings: Findings, manifest: Manifest, of_run: NDArray[np.int64]) -> list[str | None]:
    """Return the label of each manifest row [N] as annotators saw it."""
    labels = findings.table.column("label").take(pa.array(of_run.clip(0))).to_pylist()
    now = [manifest.classes[k] if k >= 0 else None for k in manifest.labels]
    return [label if at >= 0 else other for label, at, other in zip(labels, of_run, now, strict=True)]


def _moved(source: str, place: Path, manifest: Manifest) -> list[str]:
    if not manifest.root or Path(source).absolute().parent == place.absolute().parent:
        return []
    return [f"image paths start in {manifest.root}: scan {place} with --images {manifest.root}"]
