"""A batch meets a reference: its classes, features and rows become evidence that the reference's states can score."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelfix.coanswers import Items
from labelfix.errors import UsageError
from labelfix.findings import SCHEMA, Findings
from labelfix.intake import View, bring, group_keys, look
from labelfix.learn.known import Met, meet
from labelfix.learn.recipe import FineTuning, Recipe
from labelfix.learn.unseen import Unseen
from labelfix.manifest import Manifest
from labelfix.plugins import load
from labelfix.progress import Progress
from labelfix.reference import Reference
from labelfix.scoring import RowFacts, score, tabulate


def renumbered(manifest: Manifest, classes: tuple[str, ...]) -> Manifest:
    """Return the manifest with its classes numbered as the reference does, and those it does not know after them."""
    union = list(dict.fromkeys([*classes, *manifest.classes]))
    number = np.array([*(union.index(name) for name in manifest.classes), -1], np.int32)
    return replace(manifest, labels=number[manifest.labels], classes=tuple(union))


def recipe_of(reference: Reference, device: str, workers: int | None) -> Recipe:
    """Return the recipe of the reference, with the size and arithmetic that its features were made with."""
    chosen = dict(reference.about["recipe"])
    chosen["finetune"] = FineTuning(**chosen["finetune"])
    backbone = reference.about["backbone"]
    if backbone is not None:
        chosen |= {"image_size": backbone["size"], "precision": backbone["precision"]}
    return Recipe(**chosen | {"device": device, "workers": workers, "mode": "probe"})


def view_of(
    batch: Manifest, reference: Reference, features: str | None, pred_probs: str | None, recipe: Recipe,
    cache: Path, progress: Progress,
) -> View:  # fmt: skip
    """See the batch as the reference's rows were seen; raises UsageError where that cannot be."""
    about = reference.about
    for option, given, held in (
        ("--features", features, about["features"]), ("--pred-probs", pred_probs, about["pred_probs"])
    ):  # fmt: skip
        if (given is None) != (held is None):
            how = "leave it out" if held is None else "give them for the batch too"
            was = "made without" if held is None else "made with"
            raise UsageError(f"{reference.source}: was {was} {option}; {how}")
    known = replace(batch, labels=np.where(batch.labels < len(reference.classes), batch.labels, -1),
                    classes=reference.classes)  # fmt: skip
    brought = bring(known, features, pred_probs)
    if brought.features is not None and reference.known is not None:
        width = len(reference.known.projection.mean)
        if brought.features.shape[1] != width:
            raise UsageError(
                f"{features}: holds {brought.features.shape[1]} numbers a row, but {reference.source} was made with "
                f"{width}; embed the batch with the same model"
            )
    view = look(known, brought, recipe, cache, progress, {})
    now = {} if view.backbone is None else json.loads(json.dumps(asdict(view.backbone)))
    if now and now != (then := about["backbone"] or {}):
        name = next(key for key in {**now, **then} if now.get(key) != then.get(key))
        raise UsageError(
            f"{reference.source}: was made with another backbone ({name} is {then.get(name)}, here {now.get(name)}); "
            f"scan again with this version, or install the one it was made with"
        )
    return view


def select(batch: Manifest, view: View, known: int) -> tuple[NDArray[np.intp], RowFacts]:
    """Return the positions of rows that can be judged by `known` classes, and why not others."""
    N = len(batch)
    status, reason = np.full(N, "scored", object), np.full(N, "", object)
    for rows, name, why in (
        (batch.labels < 0, "unlabelled", "the row has no label"),
        (batch.labels >= known, "unknown_class", "the reference does not know this class"),
    ):
        status[rows], reason[rows] = name, why
    for row, why in view.unreadable.items():
        status[row], reason[row] = "unreadable", why
    facts = RowFacts(status, reason, np.zeros(N, bool), np.full(N, -1, np.int64))
    return np.flatnonzero(status == "scored"), facts


def evidence_of(
    batch: Manifest, view: View, reference: Reference, rows: NDArray[np.intp], facts: RowFacts
) -> tuple[Unseen, Met | None]:
    """Return the evidence of those of the rows [n] that some head has seen nothing of, and where all n stand.

    Marks the others, outliers and copies in `facts`.
    """
    progress = {"in_sample": list[float](), "out_of_fold": reference.progress}
    K = len(reference.classes)
    fitted_on = next(iter(reference.states.values())).fitted_on
    # What others call an item by a class that the reference does not know says nothing of the classes that it does.
    items = Items.of(batch, np.where(batch.labels < K, batch.labels, np.int32(-1)), view.content)
    if reference.known is None or view.features is None:
        labels = batch.labels[rows]
        seen = rows.astype(np.int64)
        return Unseen(seen, labels, K, fitted_on, progress, given=view.given, items=items), None
    met = meet(reference.known, view.features, rows, view.keys[rows], group_keys(batch, rows))
    facts.outlier[rows] = met.neighbours.outlier
    facts.duplicate_group[rows] = met.neighbours.copies
    lost = met.folds < 0
    facts.status[rows[lost]] = "entangled"
    facts.reason[rows[lost]] = (
        "copies or group-mates of it lie in several folds, so that every head has seen one"
    )
    good = np.flatnonzero(~lost)
    seen = rows[good].astype(np.int64)
    known = reference.known
    evidence = Unseen(
        seen, batch.labels[seen], K, fitted_on, progress, view.features, known.heads, met.folds[good],
        met.neighbours.take(good), known.labels, known.reliability, view.given, kernel=known.kernel, items=items,
    )  # fmt: skip
    return evidence, met


def score_batch(
    batch: Manifest,
    evidence: Unseen,
    facts: RowFacts,
    reference: Reference,
    recipe: Recipe,
    progress: Progress,
) -> Findings:
    """Score by the states of the reference, and tabulate as a scan does."""
    methods = {name: load("correctors", name)() for name in reference.states}
    with progress.stage("scores", len(evidence), "rows") as advance:
        scored = score(evidence, methods, reference.states, lambda chunk: advance(len(chunk)))
    primary = next(iter(reference.states.values()))
    # How many rows are flagged is not bounded by the reference's own share: a batch may be bad throughout.
    settings = {name: value for name, value in primary.settings.items() if name != "known_wrong"}
    table, estimate = tabulate(batch, scored, facts, evidence.epochs, settings)
    meta: dict[str, Any] = {
        "schema": SCHEMA, "classes": list(batch.classes), "correctors": list(methods), "manifest": batch.digest,
        "recipe": recipe.to_dict(), "reference": reference.source, "versions": reference.about["versions"],
        "estimated_errors": estimate,
    }  # fmt: skip
    return Findings(table, meta)
