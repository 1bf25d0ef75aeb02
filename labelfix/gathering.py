"""Gathering: what a scan finds and trains to have evidence, or takes from where an interrupted run has left it.

features → neighbours → folds → heads → (fine-tuned model) → second learner → evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelfix.coanswers import Items, several_images
from labelfix.correctors.interface import Needs
from labelfix.intake import View, answers_of, fold_rows, group_numbers, mode_notes, name_rows, timed
from labelfix.learn import choosing, kernel, neighbours, probe, tuned
from labelfix.learn.features import Features
from labelfix.learn.recipe import Recipe
from labelfix.learn.recording import Recording
from labelfix.learn.replay import Replay
from labelfix.manifest import Manifest
from labelfix.progress import Progress
from labelfix.rundir import RunDir
from labelfix.trajectories import Ints


def gather(
    manifest: Manifest, view: View, rows: NDArray[np.intp], recipe: Recipe, needs: Sequence[Needs], run: RunDir,
    record: dict[str, Any], progress: Progress, timings: dict[str, float],
) -> tuple[Replay, Recipe, tuple[str, ...]]:  # fmt: skip
    """Return the evidence of `rows` [n] of the manifest, in canonical order; `needs` are those of the correctors.

    Also returns the recipe with its mode, and what was noted on the way, such as why the mode was chosen. `record` is
    what run.json says.
    """
    labels, K = manifest.labels[rows], len(manifest.classes)
    told, notes = answers_of(manifest, rows, progress)
    trusted = manifest.trusted[rows] if manifest.trusted is not None else None
    items, more = _items(manifest, view)
    notes += more
    for sentence in more:
        progress.note(sentence)
    named = name_rows(manifest, view, rows)
    if view.features is None:
        alone = Replay(rows, labels, K, named, given=view.given, trusted=trusted, told=told, items=items)
        return alone, replace(recipe, mode="probe"), notes
    found, folds = _relate(manifest, view, rows, recipe, named, run, progress, timings)
    learning = _Learning(view.features, rows, labels, folds, K, named, recipe, run, progress, timings)
    heads = None
    if recipe.mode == "auto":
        heads = learning.heads()
        chosen = learning.choose(heads, found, record, images=view.backbone is not None)
        recipe = replace(recipe, mode=chosen.mode)
        reasons = (chosen.note, *mode_notes(recipe))
        notes += reasons
        for sentence in reasons:
            progress.note(sentence)
    required = frozenset[str]().union(*(need.required for need in needs))
    trained_on = "base model" in required
    seen = unseen = models = None
    if recipe.mode == "finetune":
        seen, unseen = learning.fine_tune(manifest, recipe, trained_on)
        if trained_on and not recipe.trains_heads:
            models = tuned.Tuned(run.recorded, recipe, K, rows, folds)
    heads = heads or learning.heads() if recipe.trains_heads else None
    wanted = required.union(*(need.optional for need in needs))
    second = learning.second(heads) if heads is not None and "kernel" in wanted else None
    evidence = rows, labels, K, named, folds, view.features, heads, found, view.given, trusted
    return Replay(*evidence, seen, unseen, models, told, second, items), recipe, notes


def _items(manifest: Manifest, view: View) -> tuple[Items | None, tuple[str, ...]]:
    """Return which rows are answers about the same item, if they are answers at all, and what is to be said of them."""
    if manifest.annotators is None:
        return None, ()
    ids, who = (len({*column.tolist()} - {""}) for column in (manifest.ids, manifest.annotators))
    notes = [f"{len(manifest):,} answers about {ids:,} items by {who:,} annotators"]
    odd = [] if view.content is None else several_images(manifest, view.content)
    if odd:
        named = ", ".join(map(repr, odd[:3]))
        notes.append(
            f"{len(odd):,} ids name more than one image ({named}): answers about different images are not weighed "
            f"against each other; give every image an id of its own"
        )
    return Items.of(manifest, content=view.content), tuple(notes)


def _relate(
    manifest: Manifest, view: View, rows: NDArray[np.intp], recipe: Recipe, named: str, run: RunDir,
    progress: Progress, timings: dict[str, float],
) -> tuple[neighbours.Neighbours, Ints]:  # fmt: skip
    """Return neighbours and folds [n]."""
    assert view.features is not None
    keys, groups = view.keys[rows], group_numbers(manifest, rows)
    with timed(timings, "neighbours"):
        found = neighbours.Neighbours.load(run.neighbours) if run.neighbours.exists() else None
        if found is None or found.fitted_on != named:
            with progress.stage("neighbours", len(rows), "rows") as advance:
                choice = recipe.neighbours, recipe.seed, named
                found = neighbours.find(view.features, rows, keys, groups, *choice)
                advance(len(rows))
        folds = fold_rows(manifest, rows, keys, found.component, recipe.folds)
        found.save(run.neighbours)
    return found, folds


@dataclass(frozen=True, eq=False)
class _Learning:
    """What all learners of one run have in common; n rows in canonical order."""

    features: Features
    """By manifest position."""
    rows: NDArray[np.intp]
    """[n] manifest positions."""
    labels: Ints
    """[n]"""
    folds: Ints
    """[n]"""
    classes: int
    """K."""
    named: str
    """Names the rows."""
    recipe: Recipe
    """As the user gave it."""
    run: RunDir
    """Where everything is kept."""
    progress: Progress
    """Is told."""
    timings: dict[str, float]
    """Are added to."""

    def heads(self) -> probe.Heads:
        """Return the linear heads."""
        path = self.run.heads
        with timed(self.timings, "train"):
            heads = probe.Heads.load(path) if path.exists() else None
            if heads is None or heads.fitted_on != self.named:
                what = self.features, self.rows, self.labels, self.folds, self.classes
                heads = probe.train(*what, self.recipe, self.named, self.progress)
                heads.save(path)
        return heads

    def choose(
        self, heads: probe.Heads, found: neighbours.Neighbours, record: dict[str, Any], images: bool
    ) -> choosing.Choice:
        """Choose the mode; measured times are never twice the same, so that an interrupted run keeps its choice."""
        with timed(self.timings, "choose"):
            if "mode_choice" not in record:
                read = self.features, self.rows, self.labels, self.folds, heads, found, self.classes
                record["mode_choice"] = choosing.choose(self.recipe, *read, images=images).to_dict()
                self.run.write(record)
        return choosing.Choice(**record["mode_choice"])

    def fine_tune(
        self, manifest: Manifest, recipe: Recipe, keeps: bool
    ) -> tuple[Recording | None, Recording | None]:
        """Return what a fine-tuned model said, in sample and out of fold; it `keeps` the models of folds."""
        from labelfix.learn import finetune

        assert manifest.images is not None  # else there were no features
        with timed(self.timings, "finetune"):
            by_fold = None if recipe.trains_heads else self.folds
            what = manifest.images, self.rows, self.labels, by_fold, self.classes
            return finetune.fine_tune(*what, recipe, self.named, self.run, self.progress, keeps=keeps)

    def second(self, heads: probe.Heads) -> kernel.Kernel:
        """Return the kernel regression."""
        path = self.run.kernel
        with timed(self.timings, "kernel"):
            fitted = kernel.Kernel.load(path) if path.exists() else None
            if fitted is None or fitted.fitted_on != self.named:
                what = self.features, self.rows, self.labels, self.folds
                fitted = kernel.fit(*what, heads, self.progress)
                fitted.save(path)
        return fitted
