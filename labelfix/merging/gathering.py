"""Gathering: files of any tool become answers, and each answer finds its row, or is a problem that is named."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from labelfix import plugins
from labelfix.errors import ImageUnreadable, InputError, nearest
from labelfix.exporters.answers import Answer, special_words
from labelfix.exporters.queue import fingerprint
from labelfix.manifest import Manifest

SHOWN = 5
"""So many problems are spelled out."""


@dataclass(frozen=True)
class Vote:
    """What one annotator said of one row, checked."""

    row: int
    """Manifest position; that which stands for its id where several rows have it."""
    says: str | None
    """A class; None for a special word or an open answer."""
    special: str
    """One of SPECIAL, or "" """
    annotator: str
    """Who; answers without a name are told apart by file."""
    at: str
    """When; "" where the tool does not say."""
    source: str
    """File, and queue where known."""
    queue: str
    """Name of the queue; ""."""


@dataclass(frozen=True)
class Gathered:
    """All answers of a merge."""

    votes: list[Vote]
    """One for each row and annotator, the last one given."""
    open: int
    """Tasks that came back without an answer, and have none by another annotator."""
    notes: tuple[str, ...]
    """What was noticed."""


def read_answers(paths: Sequence[Path]) -> list[Answer]:
    """Read files with the exporter that recognises each; raises InputError."""
    names = plugins.names("exporters")
    exporters = [plugins.load("exporters", name)() for name in names]
    asked = [exporter for exporter in exporters if getattr(exporter, "takes_queue", False)]
    answers: list[Answer] = []
    for path in paths:
        if not path.exists():
            raise InputError(
                f"{path}: there is no such file or directory; name what the annotation tool exported"
            )
        reader = next((one for one in asked if one.recognises(path)), None)
        if reader is None:
            raise InputError(
                f"{path}: is no export of a tool that is known here ({', '.join(names)}); export it as one of these, "
                f"or as CSV with the columns id and answer"
            )
        answers += reader.answers(path)
    return answers


def gather_answers(
    answers: Sequence[Answer],
    manifest: Manifest,
    queues: dict[str, pa.Table],
    set_aside: bool = False,
    new_classes: Sequence[str] = (),
    shown: Sequence[str | None] | None = None,
    standing: Sequence[int] = (),
) -> Gathered:
    """Find the row and the meaning of each answer. `shown` [N] are the labels that annotators saw, if not today's.

    Of several rows with one id, that which is among the `standing` ones stands for all.

    Raises InputError for unknown rows and words, unless these answers are `set_aside`. An answer to another image
    than the row has now is always left out, and said so.
    """
    places = Places(manifest, queues, standing)
    words: dict[str, tuple[str | None, str]] = {
        name: (name, "") for name in (*manifest.classes, *new_classes)
    }
    words |= {
        word: (None, meaning)
        for word, meaning in special_words(manifest.classes).items()
        if word not in words
    }
    loose = {word.strip().casefold(): found for word, found in reversed(words.items())}
    problems: list[str] = []
    votes: dict[tuple[int, str], Vote] = {}
    asked, twice, older = set[int](), 0, 0
    for answer in answers:
        row = places.find(answer)
        if row is None:
            problems.append(places.unknown(answer))
            continue
        asked.add(row)
        says: tuple[str | None, str] | None
        # Several labels may be given to an item of several answers: the one that was shown is right.
        if answer.keeps and (manifest.annotators is None or answer.says is None):
            kept = _given(manifest, row) if shown is None else shown[row]
            says = None if kept is None else (kept, "")
        elif answer.says is None:
            continue
        else:
            says = words.get(answer.says) or loose.get(answer.says.strip().casefold())
        if says is None:
            problems.append(
                f"{answer.where} says {answer.says!r}, which is no class; {nearest(str(answer.says), words)}"
            )
            continue
        older += bool(answer.queue) and answer.queue not in queues
        file = answer.where.partition(": ")[0]
        source = Path(file).name + (f" ({answer.queue})" if answer.queue else "")
        vote = Vote(row, *says, answer.annotator or file, answer.at, source, answer.queue)
        key = (row, vote.annotator)
        before = votes.get(key)
        if manifest.annotators is not None and before is not None and before.at == vote.at:
            if (before.says, before.special) != (vote.says, vote.special):
                problems.append(
                    f"{answer.where} says {vote.says or vote.special!r} of {str(manifest.ids[row])!r}, and another "
                    f"answer says {before.says or before.special!r}: an item has one right label"
                )
            continue
        twice += before is not None
        if key not in votes or vote.at >= votes[key].at:
            votes[key] = vote
    notes = _refuse_or_note(problems, set_aside)
    changed = places.changed({row for row, _ in votes})
    if changed:
        votes = {key: vote for key, vote in votes.items() if vote.row not in changed}
        ids = ", ".join(repr(str(manifest.ids[row])) for row in sorted(changed)[:SHOWN])
        notes.append(
            f"{len(changed):,} answers are about another image than their row has now, and left out: {ids}"
        )
    if twice:
        notes.append(f"{twice:,} answers came twice from the same annotator: the latest counts")
    if older:
        notes.append(
            f"{older:,} answers come from a queue of another run: taken, but not used for the estimate"
        )
    answered = {row for row, _ in votes}
    return Gathered(list(votes.values()), len(asked - answered - changed), tuple(notes))


def _given(manifest: Manifest, row: int) -> str | None:
    label = manifest.labels[row]
    return manifest.classes[label] if label >= 0 else None


def _refuse_or_note(problems: list[str], set_aside: bool) -> list[str]:
    if not problems:
        return []
    more = f"; and {len(problems) - SHOWN} more" if len(problems) > SHOWN else ""
    shown = "; ".join(problems[:SHOWN]) + more
    if not set_aside:
        remedy = "mend these answers, add a class with --new-class, or leave them out with --set-aside"
        raise InputError(f"{shown}. Nothing is written; {remedy}")
    return [f"{len(problems):,} answers are set aside: {shown}"]


class Places:
    """Where in the manifest the rows are that answers name."""

    def __init__(self, manifest: Manifest, queues: dict[str, pa.Table], standing: Sequence[int] = ()) -> None:
        self.manifest = manifest
        self._by_id: dict[str, int] = {}
        for position in range(len(manifest) - 1, -1, -1):
            self._by_id[str(manifest.ids[position])] = position
        self._by_id |= {str(manifest.ids[position]): position for position in standing}
        self._by_task = {
            f"{name}-{number:07d}": id_
            for name, table in queues.items()
            for number, id_ in enumerate(table.column("id").to_pylist(), 1)
        }
        self._hashes: dict[str, str] = {}
        for table in queues.values():
            pairs = zip(table.column("id").to_pylist(), table.column("image_hash").to_pylist(), strict=True)
            self._hashes |= {id_: print_ for id_, print_ in pairs if print_ is not None}
        self._by_image: dict[str, int] | None = None

    def find(self, answer: Answer) -> int | None:
        """Return the manifest position; None for a row that there is not."""
        if answer.id is not None:
            return self._by_id.get(answer.id)
        if answer.task in self._by_task:
            return self._by_id.get(self._by_task[answer.task])
        if answer.image is None:
            return None
        if self._by_image is None:
            self._by_image = {name: i for i, name in enumerate(self.manifest.image_names or [])}
        return self._by_image.get(answer.image)

    def unknown(self, answer: Answer) -> str:
        """Say that an answer's row is not in the manifest."""
        name = answer.id if answer.id is not None else answer.image or answer.task
        close = nearest(str(name), self._by_id) if len(self._by_id) < 100_000 else "look at the column of ids"
        hint = close.partition("known: ")[0].strip() or "is it of another data set?"
        return f"{answer.where} is about {name!r}, which {self.manifest.source} does not hold; {hint}"

    def changed(self, rows: set[int]) -> set[int]:
        """Return those of the rows whose image is another than the annotators saw, where that can be known."""
        images, found = self.manifest.images, set[int]()
        for row in rows if images is not None else ():
            expected = self._hashes.get(str(self.manifest.ids[row]))
            if expected is None:
                continue
            try:
                if fingerprint(images.read(row)) != expected:  # type: ignore[union-attr]  # none without images
                    found.add(row)
            except ImageUnreadable:  # it is not here now: nobody can tell
                continue
        return found


def rows_of_id(manifest: Manifest, rows: Sequence[int]) -> dict[int, NDArray[np.int64]]:
    """Return for each of these rows all rows with its id: several where a row is one annotator's answer."""
    if manifest.annotators is None:
        return {row: np.array([row], np.int64) for row in rows}
    codes: Any = pa.array(manifest.ids).dictionary_encode().indices.to_numpy()
    order = np.argsort(codes, kind="stable")
    ranks = codes[order]
    low, high = (
        np.searchsorted(ranks, codes[list(rows)]),
        np.searchsorted(ranks, codes[list(rows)], side="right"),
    )
    return {row: np.sort(order[a:b]) for row, a, b in zip(rows, low, high, strict=True)}
