"""Trials: which rows carry which given labels, what the truth is, and the evidence all methods share.

Only the truth of held-out rows and of metrics is kept apart; classes, rows, their order, folds and neighbours come
from the given labels and the content alone, so that a trial with a column of real labels is what a scan of that
column would see.
"""

from __future__ import annotations

import time
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelfix.coanswers import Items
from labelfix.errors import InputError, UsageError, nearest
from labelfix.intake import View, bring, fold_rows, group_numbers, look, name_rows, read_manifest, select
from labelfix.learn import kernel, neighbours, probe
from labelfix.learn.noise import FAMILIES
from labelfix.learn.recipe import Recipe
from labelfix.learn.replay import Replay
from labelfix.manifest import Manifest
from labelfix.metatraining import Source
from labelfix.progress import Progress
from labelfix.readers.interface import Columns
from labelfix.trajectories import Floats, Ints

HELD_OUT = 5
"""One row in so many is held out to test downstream classifiers on."""


@dataclass(frozen=True)
class Noise:
    """Injected noise."""

    family: str
    """One of `noise.FAMILIES`."""
    rate: float
    """Wanted share of wrong labels, 0 … 1."""

    @classmethod
    def parse(cls, spec: str) -> Noise:
        """Read `family:rate`; raises UsageError."""
        family, _, number = spec.partition(":")
        if family not in FAMILIES:
            raise UsageError(f"--noise {spec}: unknown family {family!r}; {nearest(family, FAMILIES)}")
        try:
            rate = float(number)
        except ValueError:
            rate = -1.0
        if not 0 <= rate <= 1:
            what = f"{number!r} is no rate" if number else "has no rate"
            raise UsageError(f"--noise {spec}: {what}; write {family}:RATE with a rate in 0 … 1, like 0.1")
        return cls(family, rate)


@dataclass(frozen=True, eq=False)
class Trial:
    """n rows with given labels, in canonical order."""

    data: str
    """Name of the data set."""
    noise: str
    """Column of given labels, or family of the noise."""
    wanted: float | None
    """Rate asked for; None for a column."""
    seed: int
    """Of the noise, of the heads and of whatever else is drawn."""
    rows: NDArray[np.intp]
    """[n] manifest positions."""
    given: Ints
    """[n] given class."""
    classes: tuple[str, ...]
    """[K] classes of the given labels: all that methods know of."""

    def manifest(self, of: Manifest) -> Manifest:
        """Return these rows alone, as if they were all there is; nothing is known to be right."""
        return Manifest(of.ids[self.rows], self.given, self.classes, None, source=of.source)


@dataclass(eq=False)
class DataSet:
    """One manifest whose labels are true, and what was seen of its N rows."""

    name: str
    """File name without directory and ending."""
    manifest: Manifest
    """Its labels are the truth."""
    view: View
    """Features, or the user's probabilities."""
    given: dict[str, Manifest]
    """The same rows with each column of real labels."""
    held: NDArray[np.bool_]
    """[N] rows that take no part in any scan."""
    seconds: dict[str, float]
    """By stage."""
    _related: dict[bytes, tuple[neighbours.Neighbours, Ints]] = field(default_factory=dict)

    def truth(self, classes: tuple[str, ...]) -> tuple[Ints, int]:
        """Return the truth [N] numbered by the given labels' classes, then by those only it knows, and how many."""
        union = list(dict.fromkeys([*classes, *self.manifest.classes]))
        number = np.array([*(union.index(name) for name in self.manifest.classes), -1], np.int32)
        return number[self.manifest.labels], len(union)

    def labelled(self, column: str, seed: int) -> Trial:
        """Return the trial of one column of real labels."""
        manifest = self._without_held(self.given[column])
        rows, _ = select(manifest, self.view)
        return Trial(self.name, column, None, seed, rows, manifest.labels[rows], manifest.classes)

    def corrupted(self, noise: Noise, seed: int, seen: Floats | None = None) -> Trial:
        """Return a trial with noise injected into the truth; it depends on content, noise and seed only.

        `seen` [N, d] is what the noise goes by, if not the features.
        """
        assert self.view.features is not None  # refused for probabilities
        manifest = self._without_held(self.manifest)
        rows, _ = select(manifest, self.view)
        true = manifest.labels[rows]
        given = true.copy()
        if noise.rate > 0:
            x = self.view.features.single(rows) if seen is None else seen[rows]
            rng = np.random.default_rng([seed, zlib.crc32(noise.family.encode()), round(noise.rate * 1e6)])
            given = FAMILIES[noise.family](x, true, len(manifest.classes), noise.rate, rng).astype(np.int32)
        return Trial(self.name, noise.family, noise.rate, seed, rows, given, manifest.classes)

    def evidence(self, trial: Trial, recipe: Recipe, progress: Progress) -> Replay:
        """Train both learners on the trial's labels; neighbours and folds are found once for the same rows."""
        rows, K = trial.rows, len(trial.classes)
        named = name_rows(self.manifest, self.view, rows)
        labels = np.full(len(self.manifest), -1, np.int32)
        labels[rows] = trial.given
        items = Items.of(replace(self.manifest, trusted=None), labels, self.view.content)
        if self.view.features is None:
            return Replay(rows, trial.given, K, named, given=self.view.given, items=items)
        key = rows.tobytes()
        if key not in self._related:
            began = time.perf_counter()
            self._related = {key: self._relate(rows, named, recipe)}  # the last ones only: they are large
            self.seconds["neighbours"] = self.seconds.get("neighbours", 0.0) + time.perf_counter() - began
        found, folds = self._related[key]
        recipe = replace(recipe, seed=trial.seed)
        heads = probe.train(self.view.features, rows, trial.given, folds, K, recipe, named, progress)
        second = kernel.fit(self.view.features, rows, trial.given, folds, heads, progress)
        learnt = folds, self.view.features, heads, found
        return Replay(rows, trial.given, K, named, *learnt, self.view.given, kernel=second, items=items)

    def _relate(
        self, rows: NDArray[np.intp], named: str, recipe: Recipe
    ) -> tuple[neighbours.Neighbours, Ints]:
        assert self.view.features is not None
        keys, groups = self.view.keys[rows], group_numbers(self.manifest, rows)
        choice = recipe.neighbours, recipe.seed, named
        found = neighbours.find(self.view.features, rows, keys, groups, *choice)
        return found, fold_rows(self.manifest, rows, keys, found.component, recipe.folds)

    def _without_held(self, manifest: Manifest) -> Manifest:
        return replace(manifest, labels=np.where(self.held, np.int32(-1), manifest.labels))


def load(
    spec: str, truth: str | None, labels: Sequence[str], columns: Columns, features: str | None,
    pred_probs: str | None, hold_out: bool, recipe: Recipe, cache: Path, progress: Progress,
) -> DataSet:  # fmt: skip
    """Read a manifest (`FILE`, `FILE:TRUTH` or `FILE@EMBEDDINGS:TRUTH`) and see its rows.

    Raises UsageError without a truth column, InputError for a missing one.
    """
    source = Source.parse(spec)
    truth, features = source.label or truth, source.features or features
    if truth is None:
        raise UsageError(f"{spec}: which column is true? name it with --truth, or write {source.file}:COLUMN")
    brings = features is not None or pred_probs is not None
    manifest = _read(source.file, truth, columns, with_images=not brings)
    given = {column: _read(source.file, column, columns, with_images=False) for column in labels}
    for column, other in given.items():
        progress.note(f"{source.name}: {other.columns.get('label', column)} against {truth}")
    seconds = dict[str, float]()
    # Probabilities have a column for each class of the labels that they were made from.
    owner = next(iter(given.values())) if pred_probs is not None and given else manifest
    brought = bring(owner, features, pred_probs)
    for sentence in (*manifest.notes, *brought.notes):
        progress.note(f"{source.name}: {sentence}")
    view = look(manifest, brought, recipe, cache, progress, seconds)
    held = np.zeros(len(manifest), bool)
    if hold_out and view.features is not None:
        held = held_out(manifest, view)
    return DataSet(source.name, manifest, view, given, held, seconds)


def held_out(manifest: Manifest, view: View) -> NDArray[np.bool_]:
    """Return a fifth of the rows [N], by a hash of their content (not the bytes that name the fold).

    A group stays whole, unless the groups are so few that this leaves no fair share; equal images are together,
    near-duplicates may be parted.
    """
    number = view.keys[:, 8:].copy().view(">u8")[:, 0].astype(np.uint64)
    alone = _fifth(number)
    groups = group_numbers(manifest, np.arange(len(manifest)))
    if groups is not None:
        grouped = groups >= 0
        smallest = np.full(int(groups.max(initial=0)) + 1, np.iinfo(np.uint64).max, np.uint64)
        np.minimum.at(smallest, groups[grouped], number[grouped])
        number[grouped] = smallest[groups[grouped]]
    found = _fifth(number)
    return found if 0.1 <= found.mean() <= 0.4 else alone


def _fifth(number: NDArray[np.uint64]) -> NDArray[np.bool_]:
    mixed = number * np.uint64(0x9E3779B97F4A7C15)  # the least of many numbers is biased in its leading bits
    return np.asarray((mixed >> np.uint64(33)) % np.uint64(HELD_OUT) == 0)


def sniffed(spec: str, truth: str | None, columns: Columns) -> str:
    """Return the column that a scan would take for given labels; raises UsageError when it is the true one."""
    source = Source.parse(spec)
    found = read_manifest(source.file, replace(columns, with_images=False)).columns.get("label")
    if found is None or found == (source.label or truth):
        raise UsageError(
            f"{spec}: which labels are to be judged? name their column with --label, or inject wrong ones with "
            f"--noise FAMILY:RATE"
        )
    return found


def _read(file: str, label: str, columns: Columns, with_images: bool) -> Manifest:
    chosen: dict[str, Any] = {"label": label, "with_images": with_images}
    manifest = read_manifest(file, replace(columns, **chosen))
    if manifest.columns.get("label") != label:
        found = manifest.columns.get("label", "the folders")
        raise InputError(
            f"{file}: its labels come from {found}, so there is no column {label!r}; benchmarks need a table "
            f"with a column of true labels"
        )
    return manifest
