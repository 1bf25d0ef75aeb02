"""The data flow, readable in a minute: manifest → features → neighbours → heads → evidence → opinions → findings."""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelfix import plugins, scoring
from labelfix.correctors.interface import Corrector
from labelfix.errors import InconclusiveError, InputError, UsageError
from labelfix.evidence import EvidenceChunk
from labelfix.findings import SCHEMA, Findings
from labelfix.learn import neighbours, probe
from labelfix.learn.features import Features, default_cache, extract
from labelfix.learn.recipe import Recipe
from labelfix.learn.recorder import Recorder
from labelfix.learn.replay import Replay
from labelfix.manifest import Manifest
from labelfix.progress import Progress, Silent
from labelfix.readers import read
from labelfix.readers.arrays import read_array
from labelfix.readers.interface import Columns
from labelfix.rundir import RunDir
from labelfix.scoring import RowFacts

FEWEST_ROWS = 10
VERSIONS = ("labelfix", "torch", "timm", "faiss-cpu", "cleanlab", "numpy", "pyarrow")


def scan(
    source: Manifest | str | Path,
    recipe: Recipe | None = None,
    *,
    correctors: Sequence[str] = ("tmlc", "cleanlab"),
    out: str | Path = "labelfix-run",
    columns: Columns | None = None,
    features: str | None = None,
    pred_probs: str | None = None,
    cache: Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Findings:
    """Judge every label of a manifest; writes a run directory and returns its findings.

    `features` and `pred_probs` name files or columns with the user's own; given probabilities alone, no image is
    read. Features of images are cached in `cache` across runs. Raises LabelfixError; `labelfix.errors` has the kinds.
    """
    recipe, progress, timings = recipe or Recipe(), progress or Silent(), dict[str, float]()
    methods = _methods(correctors)
    with _timed(timings, "read"):
        manifest = source if isinstance(source, Manifest) else _read(str(source), columns or Columns())
        identity = {"manifest": manifest.digest, "recipe": recipe.to_dict(), "correctors": list(methods)}
        identity |= {"features": features, "pred_probs": pred_probs}
    run = RunDir(Path(out))
    record = run.begin(identity, resume)
    if record["finished"]:
        return Findings.read(run.findings)
    run.sweep()
    for sentence in (*(f"{role} column: {name}" for role, name in manifest.columns.items()), *manifest.notes):
        progress.note(sentence)
    manifest.write(run.manifest)

    view = _look(manifest, features, pred_probs, recipe, cache or default_cache(), progress, timings)
    training, facts = _select(manifest, view, recipe)
    evidence = _gather(manifest, view, training, recipe, run, progress, timings)
    facts = _mark(facts, evidence)

    with _timed(timings, "fit"):
        states = scoring.fit(evidence, methods)
        for name, state in states.items():
            state.save(run.state(name))
    recorder = Recorder(len(manifest))
    with _timed(timings, "score"), progress.stage("scores", len(evidence), "rows") as advance:

        def seen(chunk: EvidenceChunk) -> None:
            recorder.add(chunk)
            advance(len(chunk))

        scored = scoring.score(evidence, methods, states, seen)
    with _timed(timings, "write"):
        folds = np.full(len(manifest), -1, np.int32)
        if evidence.folds is not None:
            folds[evidence.rows] = evidence.folds
        shares = evidence.heads.progress.tolist() if evidence.heads is not None else [1.0]
        recorder.write(run.trajectories, manifest.ids, folds, shares)
        slack = states[next(iter(states))].settings.get("rate_slack")
        table, estimate = scoring.tabulate(manifest, scored, facts, evidence.epochs, slack)
        versions = {name: version(name) for name in VERSIONS}
        meta = identity | {"schema": SCHEMA, "classes": list(manifest.classes), "versions": versions}
        findings = Findings(table, meta | {"estimated_errors": estimate})
        findings.write(run.findings)
    statuses, numbers = np.unique(facts.status.astype(str), return_counts=True)
    record |= {
        "source": manifest.source,
        "columns": manifest.columns,
        "notes": list(manifest.notes),
        "estimated_errors": estimate,
        "counts": {"rows": len(manifest), "forwarded": view.forwarded}
        | dict(zip(statuses.tolist(), numbers.tolist(), strict=True)),
        "timings": {stage: round(seconds, 3) for stage, seconds in timings.items()},
        "versions": versions,
        "host": {"machine": platform.machine(), "system": platform.platform(), "python": platform.python_version()},
        "finished": True,
    }
    run.write(record)
    return findings


@dataclass(frozen=True, eq=False)
class _View:
    """What can be seen of the N rows before any label is looked at."""

    keys: NDArray[np.uint8]
    """[N, 16] content hash: of the image, else of the given features or id."""
    features: Features | None
    """[N, d]; None when only probabilities are given."""
    given: NDArray[np.floating[Any]] | None
    """[N, K] the user's probabilities."""
    unreadable: dict[int, str]
    """Manifest position → reason."""
    forwarded: int
    """Images that went through the backbone."""


def _methods(names: Sequence[str]) -> dict[str, Corrector]:
    if not names:
        raise UsageError("no corrector is chosen; name at least one with -c, for instance -c tmlc")
    return {name: plugins.load("correctors", name)() for name in names}


def _read(source: str, columns: Columns) -> Manifest:
    options = {f"{name}_col": getattr(columns, name) for name in ("image", "label", "id", "group", "trusted", "annotator", "split")}
    return read(source, images=columns.root, with_images=columns.with_images, **options)


def _look(
    manifest: Manifest, features: str | None, pred_probs: str | None, recipe: Recipe, cache: Path,
    progress: Progress, timings: dict[str, float],
) -> _View:  # fmt: skip
    """Get features from the user, or from the images; and the user's probabilities."""
    N, given = len(manifest), None
    if pred_probs is not None:
        given = read_array(pred_probs, manifest.source, N, "pred_probs", len(manifest.classes))
    if features is not None:
        own = Features.from_array(read_array(features, manifest.source, N, "features"))
        return _View(_hashes(own.take(np.arange(s, min(s + 8192, N))) for s in range(0, N, 8192)), own, given, {}, 0)
    if given is not None:
        return _View(_hashes([manifest.ids.reshape(-1, 1)]), None, given, {}, 0)
    if manifest.images is None:
        raise InputError(
            f"{manifest.source}: has no images; name the column with --image-col, or give --features or --pred-probs"
        )
    with _timed(timings, "features"):
        found = extract(manifest.images, np.arange(N), recipe, cache, progress)
    timings["features"] -= found.timings["forward"]
    timings["backbone"] = found.timings["forward"]
    return _View(found.keys, found.features, given, found.unreadable, found.forwarded)


def _select(manifest: Manifest, view: _View, recipe: Recipe) -> tuple[NDArray[np.intp], RowFacts]:
    """Return the positions of the rows that can be judged, in canonical order (by content), and why not the others."""
    N = len(manifest)
    status, reason = np.full(N, "scored", object), np.full(N, "", object)
    unlabelled = manifest.labels < 0
    status[unlabelled], reason[unlabelled] = "unlabelled", "the row has no label"
    for row, why in view.unreadable.items():
        status[row], reason[row] = "unreadable", why
    usable = np.flatnonzero(status == "scored")
    counts = np.bincount(manifest.labels[usable], minlength=len(manifest.classes))
    lonely = usable[counts[manifest.labels[usable]] < 2]
    status[lonely], reason[lonely] = "singleton_class", "the only row of its class: nothing to compare it with"
    usable = np.flatnonzero(status == "scored")
    if len(usable) < FEWEST_ROWS or len(np.unique(manifest.labels[usable])) < 2:
        raise InconclusiveError(
            f"{manifest.source or 'the manifest'}: only {len(usable)} of {N} rows can be judged; at least {FEWEST_ROWS} "
            f"readable, labelled rows of two classes with two rows each are needed"
        )
    order = usable[np.lexsort((usable, *view.keys[usable].T[::-1]))]
    nothing = np.zeros(N, bool), np.full(N, -1, np.int64)
    return order, RowFacts(status, reason, *nothing)


def _gather(
    manifest: Manifest, view: _View, rows: NDArray[np.intp], recipe: Recipe, run: RunDir, progress: Progress,
    timings: dict[str, float],
) -> Replay:  # fmt: skip
    """Find neighbours and train the heads, or take those that an interrupted run has left."""
    labels, K = manifest.labels[rows], len(manifest.classes)
    trusted = manifest.trusted[rows] if manifest.trusted is not None else None
    named = f"{manifest.digest}:{len(rows)}"
    if view.features is None:
        return Replay(rows, labels, K, named, given=view.given, trusted=trusted)
    keys, groups = view.keys[rows], None
    if manifest.groups is not None:
        own = manifest.groups[rows]
        _, number = np.unique(own.astype(str), return_inverse=True)
        groups = np.where(own.astype(str) == "", -1, number).astype(np.int32)
    with _timed(timings, "neighbours"):
        if run.neighbours.exists():
            found = neighbours.Neighbours.load(run.neighbours)
        else:
            with progress.stage("neighbours", len(rows), "rows") as advance:
                found = neighbours.find(view.features, rows, keys, groups, recipe.neighbours, recipe.seed)
                advance(len(rows))
            found.save(run.neighbours)
    with _timed(timings, "train"):
        named_by = keys.copy()
        if groups is not None and manifest.groups is not None:
            grouped = groups >= 0
            named_by[grouped] = _hashes([manifest.groups[rows][grouped].reshape(-1, 1)])
        folds = probe.assign_folds(found.component, named_by, recipe.folds)
        if run.heads.exists():
            heads = probe.Heads.load(run.heads)
        else:
            heads = probe.train(view.features, rows, labels, folds, K, recipe, named, progress)
            heads.save(run.heads)
    return Replay(rows, labels, K, named, folds, view.features, heads, found, view.given, trusted)


def _mark(facts: RowFacts, evidence: Replay) -> RowFacts:
    """Carry outliers and sets of copies over to manifest rows."""
    if evidence.neighbours is not None:
        facts.outlier[evidence.rows] = evidence.neighbours.outlier
        facts.duplicate_group[evidence.rows] = evidence.neighbours.copies
    return facts


def _hashes(parts: Any) -> NDArray[np.uint8]:
    """16-byte hashes [n, 16] of the rows of arrays: of their bytes, or of their text."""
    digests = [
        hashlib.blake2b(str(row[0]).encode() if part.dtype == object else row.tobytes(), digest_size=16).digest()
        for part in parts
        for row in part
    ]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16)


@contextmanager
def _timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    timings[stage] = timings.get(stage, 0.0) + time.perf_counter() - began
