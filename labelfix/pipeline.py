"""The data flow, readable in a minute.

manifest → features → evidence → opinions → findings → report.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from labelfix import plugins, scoring
from labelfix.consensus import write_items
from labelfix.correctors.interface import Corrector
from labelfix.errors import UsageError
from labelfix.evidence import EvidenceChunk
from labelfix.findings import SCHEMA, Findings
from labelfix.gathering import gather
from labelfix.intake import (
    View,
    bring,
    check_machine,
    look,
    mode_notes,
    read_manifest,
    select,
    timed,
)
from labelfix.learn import probe, tuned
from labelfix.learn.backbone import choose_device
from labelfix.learn.cache import default_cache
from labelfix.learn.recipe import Recipe
from labelfix.learn.recorder import Recorder
from labelfix.learn.replay import Replay
from labelfix.manifest import Manifest
from labelfix.progress import Progress, Silent
from labelfix.readers.again import NO_IMAGES
from labelfix.readers.interface import Columns
from labelfix.remembering import remember
from labelfix.reporting.page.writing import write_page
from labelfix.rundir import RunDir
from labelfix.scoring import Opinions, RowFacts
from labelfix.tmlc.level import Level

VERSIONS = ("labelfix", "torch", "timm", "faiss-cpu", "cleanlab", "numpy", "pyarrow")


def scan(
    source: Manifest | str | Path,
    recipe: Recipe | None = None,
    *,
    correctors: Sequence[str] | Mapping[str, Corrector] = ("tmlc", "cleanlab"),
    out: str | Path = "labelfix-run",
    columns: Columns | None = None,
    features: str | None = None,
    pred_probs: str | None = None,
    cache: Path | None = None,
    resume: bool = False,
    report: bool = True,
    progress: Progress | None = None,
) -> Findings:
    """Judge every label of a manifest; writes a run directory and returns its findings.

    The first of the `correctors`, installed ones by name or objects under names of your own, is primary.
    `features` and `pred_probs` name files or columns with the user's own; given probabilities alone, no
    image is read. Features of images are cached in `cache` across runs. With `report` the directory gets report.html.
    Raises LabelfixError; `labelfix.errors` has the kinds.
    """
    recipe, progress, timings = recipe or Recipe(), progress or Silent(), dict[str, float]()
    with timed(timings, "start"):
        methods = _methods(correctors, recipe)
    brings = features is not None or pred_probs is not None
    check_machine(recipe, brings)
    with timed(timings, "read"):
        manifest = (
            source
            if isinstance(source, Manifest)
            else read_manifest(str(source), columns or Columns(), brings)
        )
        brought = bring(manifest, features, pred_probs)
        identity: dict[str, Any] = {
            "manifest": manifest.digest,
            "recipe": {name: value for name, value in recipe.to_dict().items() if name != "workers"},
            "correctors": list(methods),
        }
        identity |= {"features": features, "pred_probs": pred_probs, "brought": brought.digest}
    notes = manifest.notes + brought.notes + mode_notes(recipe)
    run = RunDir(Path(out))
    record = run.begin(identity, resume)
    run.sweep()
    if record["finished"]:
        tuned.drop(run.recorded)  # an interrupt may have left them
        return _finished(run, manifest, record, report, progress)
    for sentence in (*(f"{role} column: {name}" for role, name in manifest.columns.items()), *notes):
        progress.note(sentence)
    with run.withdrawn_on_error():
        manifest.write(run.manifest)
        view = look(manifest, brought, recipe, cache or default_cache(), progress, timings)
        training, facts = select(manifest, view)
        needs = [method.needs for method in methods.values()]
        gathered = gather(manifest, view, training, recipe, needs, run, record, progress, timings)
    evidence, recipe, more = gathered
    notes = (*notes, *more)
    facts = _mark(facts, evidence)

    with timed(timings, "fit"):
        states = scoring.fit(evidence, methods)
        for name, state in states.items():
            state.save(run.state(name))
        remember(run, manifest, view, evidence, methods, states, recipe)
    recorder = Recorder(len(manifest))
    with timed(timings, "score"), progress.stage("scores", len(evidence), "rows") as advance:

        def seen(chunk: EvidenceChunk) -> None:
            recorder.add(chunk)
            advance(len(chunk))

        scored = scoring.score(evidence, methods, states, seen)
    with timed(timings, "write"):
        settings = states[next(iter(states))].settings
        findings = _write(run, manifest, facts, evidence, recorder, scored, settings, identity)
    notes = (*notes, *_taught(settings, progress))
    notes = (*notes, *_weakness(settings, findings.meta["estimated_errors"]["rate"], recipe, progress))
    statuses, numbers = np.unique(facts.status.astype(str), return_counts=True)
    record |= {
        "source": manifest.source,
        "images": manifest.root,
        "directory": str(Path.cwd()),
        "columns": manifest.columns,
        "notes": list(notes),
        "estimated_errors": findings.meta["estimated_errors"],
        "chosen": {"mode": recipe.mode} | _chosen(recipe, view, evidence),
        "counts": {"rows": len(manifest), "forwarded": view.forwarded}
        | dict(zip(statuses.tolist(), numbers.tolist(), strict=True)),
        "timings": {stage: round(seconds, 3) for stage, seconds in timings.items()},
        "versions": findings.meta["versions"],
        "host": {
            "machine": platform.machine(),
            "system": platform.platform(),
            "python": platform.python_version(),
        },
        "finished": True,
        "finished_at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    run.write(record)
    tuned.drop(run.recorded)
    if report:
        _report(run, findings, manifest, record, progress)
    return findings


def _write(
    run: RunDir, manifest: Manifest, facts: RowFacts, evidence: Replay, recorder: Recorder, scored: Opinions,
    settings: Mapping[str, Any], identity: dict[str, Any],
) -> Findings:  # fmt: skip
    """Write trajectories and findings; `settings` are those of the primary corrector's state."""
    folds = np.full(len(manifest), -1, np.int32)
    if evidence.folds is not None:
        folds[evidence.rows] = evidence.folds
    recorder.add_suggested(scored.rows, scored.suggested_loss)
    recorder.write(run.trajectories, manifest.ids, folds, evidence.progress)
    table, estimate = scoring.tabulate(manifest, scored, facts, evidence.epochs, settings)
    meta = identity | {
        "schema": SCHEMA,
        "classes": list(manifest.classes),
        "versions": {name: version(name) for name in VERSIONS},
        "estimated_errors": estimate,
    }
    findings = Findings(table, meta, run.path)
    if manifest.annotators is not None:
        write_items(findings, run.items)
    findings.write(run.findings)
    return findings


def _finished(
    run: RunDir, manifest: Manifest, record: dict[str, Any], report: bool, progress: Progress
) -> Findings:
    findings = Findings.read(run.findings)
    if report and not run.report.exists():
        _report(run, findings, manifest, record, progress)
    return findings


def _report(
    run: RunDir, findings: Findings, manifest: Manifest, record: dict[str, Any], progress: Progress
) -> None:
    """Write report.html and say how long it took; the scan is finished before and stays so whatever happens here."""
    began = time.perf_counter()
    with progress.stage("report", 1, "page") as advance:
        write_page(run.report, findings, record, run.path, manifest.images, no_images=NO_IMAGES)
        advance(1)
    record["timings"] |= {"report": round(time.perf_counter() - began, 3)}
    run.write(record)


def _chosen(recipe: Recipe, view: View, evidence: Replay) -> dict[str, Any]:
    """Say what the recipe left to the data and the machine came to."""
    if view.features is None:
        return {}
    chosen: dict[str, Any] = {
        "backbone": None if view.backbone is None else asdict(view.backbone),
        "device": str(choose_device(recipe)),
    }
    if evidence.heads is not None:
        usual = probe.learning_rate(len(evidence), view.features.shape[1])
        chosen["learning_rate"] = usual if recipe.learning_rate is None else recipe.learning_rate
        chosen["probe_batch"] = probe.batch_size(len(evidence), recipe.probe_batch)
    if evidence.seen is not None:
        chosen["finetune"] = evidence.seen.about["training"]
    return chosen


def _methods(names: Sequence[str] | Mapping[str, Corrector], recipe: Recipe) -> dict[str, Corrector]:
    names = [names] if isinstance(names, str) else names
    if not names:
        raise UsageError("no corrector is chosen; name at least one with -c, for instance -c tmlc")
    methods: dict[str, Corrector] = (
        dict(names)
        if isinstance(names, Mapping)
        else {name: plugins.load("correctors", name)() for name in names}
    )
    for name, method in methods.items():
        if method.needs.required & {"features", "kernel"} and not recipe.trains_heads:
            remedy = "choose another corrector, or leave --finetune-folds out"
            raise UsageError(
                f"corrector {name!r} needs heads on features, and by fold none are trained; {remedy}"
            )
    return methods


def _taught(settings: Mapping[str, Any], progress: Progress) -> tuple[str, ...]:
    """Say so where answers have moved suspicions."""
    if not settings.get("answers"):
        return ()
    note = f"{settings['answers']:,} answers have taught which labels to doubt"
    progress.note(note)
    return (note,)


def _weakness(
    settings: Mapping[str, Any], rate: float, recipe: Recipe, progress: Progress
) -> tuple[str, ...]:
    """Say so where the model reads the images poorly."""
    level = Level.of(settings)
    if not level.is_weak(rate):
        return ()
    tune = "" if recipe.mode == "finetune" else "--mode finetune, "
    remedy = f"try {tune}a larger --image-size or another --backbone"
    if level.is_hopeless(rate):
        note = (
            f"most labels would be wrong, but it is likelier that the model knows next to nothing of these classes, or "
            f"that given probabilities have their columns in another order; the error rate is not to be believed, and "
            f"no label is to be replaced unseen; {remedy}, or bring features that tell the classes apart"
        )
    else:
        note = (
            f"the model knows these classes poorly: heads and neighbours, which read the same features, differ on "
            f"{level.readers_differ:.0%} of the rows; the error rate may well be overestimated, and few labels are "
            f"to be replaced unseen; {remedy}"
        )
    progress.note(note)
    return (note,)


def _mark(facts: RowFacts, evidence: Replay) -> RowFacts:
    """Carry outliers and sets of copies over to manifest rows."""
    if evidence.neighbours is not None:
        facts.outlier[evidence.rows] = evidence.neighbours.outlier
        facts.duplicate_group[evidence.rows] = evidence.neighbours.copies
    return facts
