"""Intake: a source and the user's own evidence become rows that can be judged, with features and content keys.

Everything before the first head is trained: what to read, what can be seen of each row, which rows have a label
that others can be compared with, in which order and in which fold.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelfix.answers import NOTHING, Told
from labelfix.errors import InconclusiveError, InputError, UsageError
from labelfix.learn import probe
from labelfix.learn.backbone import Identity, choose_device
from labelfix.learn.features import Features, extract
from labelfix.learn.recipe import Recipe
from labelfix.learn.spacing import evenly
from labelfix.manifest import Manifest
from labelfix.progress import Progress
from labelfix.readers import read
from labelfix.readers.arrays import order_remark, read_array
from labelfix.readers.interface import Columns
from labelfix.scoring import RowFacts

FEWEST_ROWS = 10
SAMPLED, SMALLEST, LARGEST = 8_192, 1e-3, 65_504.0
"""Rows of given features that are looked at, and how far from 0 their farthest value must lie and may: half precision
rounds what is much smaller away, and ends there."""
LATER = ("faiss", "scipy.linalg", "scipy.sparse.csgraph", "cleanlab.filter")
"""Libraries of the stages after the backbone."""


@dataclass(frozen=True, eq=False)
class Brought:
    """The user's own evidence of the N rows."""

    features: Features | None
    """[N, d]"""
    probabilities: NDArray[np.floating[Any]] | None
    """[N, K]"""
    keys: NDArray[np.uint8] | None
    """[N, 16] hash of each row's features, or of its id with probabilities only; None for images."""
    notes: tuple[str, ...]
    """What was noticed about it."""
    digest: str | None
    """Names the values; None for images, whose content has keys of its own."""


@dataclass(frozen=True, eq=False)
class View:
    """What can be seen of the N rows before any label is looked at."""

    keys: NDArray[np.uint8]
    """[N, 16] content hash: of the image, else of the given features or id."""
    features: Features | None
    """[N, d]; None when only probabilities are given."""
    given: NDArray[np.floating[Any]] | None
    """[N, K] the user's probabilities."""
    unreadable: dict[int, str]
    """Manifest position → reason."""
    forwarded: int = 0
    """Images that went through the backbone."""
    backbone: Identity | None = None
    """The backbone that saw them."""

    @property
    def content(self) -> NDArray[np.uint8] | None:
        """Hashes of the images [N, 16]; None where the user brought what is known of them."""
        return None if self.backbone is None else self.keys


def read_manifest(source: str, columns: Columns, brings: bool = False) -> Manifest:
    """Read a source with the columns that the user chose; one who `brings` evidence needs no images."""
    options = {
        f"{name}_col": getattr(columns, name)
        for name in ("image", "label", "id", "group", "trusted", "annotator", "split")
    }
    return read(source, images=columns.root, with_images=columns.with_images and not brings, **options)


def check_machine(recipe: Recipe, brings: bool = False) -> None:
    """Raise UsageError for what would fail only after minutes of work; `brings` says that no image is read."""
    if not 0 <= recipe.seed < 2**31 - 1:
        raise UsageError(f"recipe: seed is {recipe.seed}, but must lie in 0 … {2**31 - 2}")
    if recipe.device != "auto":
        choose_device(recipe)
    if recipe.mode != "probe":
        if brings and recipe.mode == "auto":
            return
        if brings:
            remedy = "leave --features and --pred-probs out, or choose --mode probe"
            raise UsageError(f"--mode finetune trains on images, but evidence of your own is given; {remedy}")
        from labelfix.learn import classifier

        classifier.build(recipe, 2)


def mode_notes(recipe: Recipe) -> tuple[str, ...]:
    """Say whose probabilities are out of sample, where that is not plain."""
    if recipe.mode != "finetune":
        return ()
    if recipe.trains_heads:
        whose = f"heads on frozen features of {recipe.backbone}, trained without the row's fold"
    else:
        whose = f"models fine-tuned {recipe.folds} times, each without one fold"
    return (f"out-of-sample probabilities, which cleanlab gets, are those of {whose}",)


def bring(manifest: Manifest, features: str | None, pred_probs: str | None) -> Brought:
    """Read what the user has computed elsewhere."""
    N, given, own, keys = len(manifest), None, None, None
    digest, notes = hashlib.blake2b(digest_size=16), tuple[str, ...]()
    if pred_probs is not None:
        given = read_array(pred_probs, manifest.source, N, "pred_probs", len(manifest.classes))
        notes = tuple(filter(None, [order_remark(given, manifest.labels, manifest.classes)]))
        keys = text_hashes(manifest.ids)
        for s in range(0, N, 8192):
            digest.update(np.ascontiguousarray(given[s : s + 8192]).data)
    if features is not None:
        values = read_array(features, manifest.source, N, "features")
        largest = float(np.abs(values[evenly(N, SAMPLED)]).max(initial=0.0))
        if 0.0 < largest < SMALLEST or largest > LARGEST:
            small = largest < SMALLEST
            what = (
                f"none of their values is farther from 0 than {largest:.1g}"
                if small
                else f"one is ±{largest:.3g}"
            )
            remedy = f"scale them {'up' if small else 'down'}"
            raise InputError(f"{features}: the features do not fit into float16, {what}; {remedy}")
        own = Features.from_array(values)
        keys = hashes(own.take(np.arange(s, min(s + 8192, N))) for s in range(0, N, 8192))
        digest.update(keys.data)
    return Brought(own, given, keys, notes, None if keys is None else digest.hexdigest())


def look(
    manifest: Manifest, brought: Brought, recipe: Recipe, cache: Path, progress: Progress,
    timings: dict[str, float],
) -> View:  # fmt: skip
    """Take the user's evidence, or get features from the images."""
    if brought.keys is not None:
        return View(brought.keys, brought.features, brought.probabilities, {})
    if manifest.images is None:
        remedy = "name the column with --image-col, or give --features or --pred-probs"
        raise InputError(f"{manifest.source}: has no images; {remedy}")
    with timed(timings, "features"):
        found = extract(manifest.images, np.arange(len(manifest)), recipe, cache, progress, LATER)
    timings["features"] -= found.timings["forward"]
    timings["backbone"] = found.timings["forward"]
    return View(found.keys, found.features, None, found.unreadable, found.forwarded, found.identity)


def select(manifest: Manifest, view: View) -> tuple[NDArray[np.intp], RowFacts]:
    """Return the positions of rows that can be judged, in canonical (content) order, and why not others."""
    N = len(manifest)
    status, reason = np.full(N, "scored", object), np.full(N, "", object)
    unlabelled = manifest.labels < 0
    status[unlabelled], reason[unlabelled] = "unlabelled", "the row has no label"
    for row, why in view.unreadable.items():
        status[row], reason[row] = "unreadable", why
    usable = np.flatnonzero(status == "scored")
    counts = np.bincount(manifest.labels[usable], minlength=len(manifest.classes))
    lonely = usable[counts[manifest.labels[usable]] < 2]
    status[lonely] = "singleton_class"
    reason[lonely] = "the only row of its class: nothing to compare it with"
    usable = np.flatnonzero(status == "scored")
    if len(usable) < FEWEST_ROWS or len(np.unique(manifest.labels[usable])) < 2:
        alone = set(manifest.labels[usable].tolist())
        of_one = f", all of class {manifest.classes[alone.pop()]!r}" if len(alone) == 1 else ""
        raise InconclusiveError(
            f"{manifest.source or 'the manifest'}: only {len(usable)} of {N} rows can be judged{of_one}; at least "
            f"{FEWEST_ROWS} readable, labelled rows of two classes with two rows each are needed"
        )
    # Copies come in the order of their ids, and answers about one item in that of their annotators, so that neither the
    # manifest's order nor class names matter.
    who = [] if manifest.annotators is None else [text_hashes(manifest.annotators[usable])]
    by = [*who, text_hashes(manifest.ids[usable]), view.keys[usable]]
    order = usable[np.lexsort((usable, *(half for key in by for half in key.view(">u8").T[::-1])))]
    nothing = np.zeros(N, bool), np.full(N, -1, np.int64)
    return order, RowFacts(status, reason, *nothing)


def answers_of(
    manifest: Manifest, rows: NDArray[np.intp], progress: Progress
) -> tuple[Told, tuple[str, ...]]:
    """Return what earlier answers say of these rows, trusted ones aside, and what was noted."""
    if manifest.rounds is None:
        return NOTHING, ()
    left = len(rows) - (0 if manifest.trusted is None else int(manifest.trusted[rows].sum()))
    here = np.isin(np.arange(len(manifest)), rows)
    verdicts = manifest.rounds.verdicts(np.where(here, manifest.labels, np.int32(-1)))
    audit, notes = None, []
    lost = int(((manifest.rounds.number > 0) & (manifest.rounds.previous < 0) & here).sum())
    if lost:
        notes.append(
            f"{lost:,} answered rows do not say which class they had before: nothing is learnt from them"
        )
    if (manifest.rounds.stands_for > 0).any():
        audit = manifest.rounds.about(left)
        about = "" if audit is not None else "are about other rows than most that are left, and do not "
        notes.append(f"answers to rows drawn at random {about}count in the estimated error rate")
    for note in notes:
        progress.note(note)
    return Told(audit, manifest.rounds.mended(left), verdicts), tuple(notes)


def name_rows(manifest: Manifest, view: View, rows: NDArray[np.intp]) -> str:
    """Return digest and count of these rows, and what saw them: what every fitted state repeats."""
    seen = hashlib.blake2b(view.keys[rows].tobytes(), digest_size=8)
    seen.update(b"" if view.backbone is None else view.backbone.key.encode())
    return f"{manifest.digest}:{len(rows)}:{seen.hexdigest()}"


def group_numbers(manifest: Manifest, rows: NDArray[np.intp]) -> NDArray[np.int32] | None:
    """Return the group of each of these rows [n], -1 where it is on its own; None without groups."""
    if manifest.groups is None:
        return None
    import pyarrow as pa

    named = pa.array(manifest.groups[rows], pa.string()).dictionary_encode()
    number = named.indices.to_numpy()
    alone = named.dictionary.index("").as_py()
    return np.where(number == alone, -1, number).astype(np.int32)


def fold_rows(
    manifest: Manifest, rows: NDArray[np.intp], keys: NDArray[np.uint8], component: NDArray[np.int32],
    folds: int,
) -> NDArray[np.int32]:  # fmt: skip
    """Return the fold of each of these rows [n], by group or else by content; raises InconclusiveError for one fold."""
    named = group_keys(manifest, rows)
    found = probe.assign_folds(component, np.where(named.any(axis=1, keepdims=True), named, keys), folds)
    if len(np.unique(found)) < 2:
        raise InconclusiveError(_one_fold(manifest, group_numbers(manifest, rows)))
    return found


def group_keys(manifest: Manifest, rows: NDArray[np.intp]) -> NDArray[np.uint8]:
    """Return a hash of the group of each of these rows [n, 16]; zeros where it is on its own."""
    named = np.zeros((len(rows), 16), np.uint8)
    groups = group_numbers(manifest, rows)
    if groups is not None and manifest.groups is not None:
        named[groups >= 0] = text_hashes(manifest.groups[rows][groups >= 0])
    return named


def _one_fold(manifest: Manifest, groups: NDArray[np.int32] | None) -> str:
    """Say why no head can be trained without the rows it is to judge."""
    where = manifest.source or "the manifest"
    if groups is None:
        return f"{where}: all rows are copies of each other, so that no label can be compared with another's"
    column = manifest.columns.get("group", "group")
    return (
        f"{where}: column {column!r} puts the rows into too few groups ({len(np.unique(groups))}), which all "
        f"fall into one fold; choose a finer --group-col"
    )


def hashes(parts: Iterable[NDArray[Any]]) -> NDArray[np.uint8]:
    """16-byte hashes [n, 16] of the rows of arrays, by their bytes."""
    return _hashed(row.tobytes() for part in parts for row in part)


def text_hashes(texts: NDArray[np.object_]) -> NDArray[np.uint8]:
    """16-byte hashes [n, 16] of texts [n]; each text is looked at once."""
    import pyarrow as pa

    each = pa.array(texts, pa.string()).fill_null("").dictionary_encode()
    known, at = _hashed(map(str.encode, each.dictionary.to_pylist())), np.asarray(each.indices, np.intp)
    return known[at]


def _hashed(values: Iterable[bytes]) -> NDArray[np.uint8]:
    digests = b"".join(hashlib.blake2b(value, digest_size=16).digest() for value in values)
    return np.frombuffer(digests, np.uint8).reshape(-1, 16)


@contextmanager
def timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    """Add the seconds spent inside to those of a stage."""
    began = time.perf_counter()
    yield
    timings[stage] = timings.get(stage, 0.0) + time.perf_counter() - began
