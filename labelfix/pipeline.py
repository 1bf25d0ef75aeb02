"""The data flow, readable in a minute.

manifest → features → neighbours → heads → evidence → opinions → findings.
"""

from __future__ import annotations

import hashlib
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
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
from labelfix.learn.backbone import Identity, choose_device
from labelfix.learn.cache import default_cache
from labelfix.learn.features import Features, extract
from labelfix.learn.recipe import Recipe
from labelfix.learn.recorder import Recorder
from labelfix.learn.replay import Replay
from labelfix.manifest import Manifest
from labelfix.progress import Progress, Silent
from labelfix.readers import read
from labelfix.readers.arrays import order_remark, read_array
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

    `features` and `pred_probs` name files or columns with the user's own; given probabilities alone, no
    image is read. Features of images are cached in `cache` across runs. Raises LabelfixError;
    `labelfix.errors` has the kinds.
    """
    recipe, progress, timings = recipe or Recipe(), progress or Silent(), dict[str, float]()
    methods = _methods(correctors)
    _check_machine(recipe)
    with _timed(timings, "read"):
        manifest = source if isinstance(source, Manifest) else _read(str(source), columns or Columns())
        brought = _bring(manifest, features, pred_probs)
        identity: dict[str, Any] = {
            "manifest": manifest.digest,
            "recipe": {name: value for name, value in recipe.to_dict().items() if name != "workers"},
            "correctors": list(methods),
        }
        identity |= {"features": features, "pred_probs": pred_probs, "brought": brought.digest}
    notes = manifest.notes + brought.notes
    run = RunDir(Path(out))
    record = run.begin(identity, resume)
    if record["finished"]:
        return Findings.read(run.findings)
    run.sweep()
    for sentence in (*(f"{role} column: {name}" for role, name in manifest.columns.items()), *notes):
        progress.note(sentence)
    with run.withdrawn_on_error():
        manifest.write(run.manifest)
        view = _look(manifest, brought, recipe, cache or default_cache(), progress, timings)
        training, facts = _select(manifest, view)
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
        "notes": list(notes),
        "estimated_errors": estimate,
        "chosen": _chosen(recipe, view, len(training)),
        "counts": {"rows": len(manifest), "forwarded": view.forwarded}
        | dict(zip(statuses.tolist(), numbers.tolist(), strict=True)),
        "timings": {stage: round(seconds, 3) for stage, seconds in timings.items()},
        "versions": versions,
        "host": {
            "machine": platform.machine(),
            "system": platform.platform(),
            "python": platform.python_version(),
        },
        "finished": True,
    }
    run.write(record)
    return findings


def _chosen(recipe: Recipe, view: _View, rows: int) -> dict[str, Any]:
    """Say what the recipe left to the data and the machine came to."""
    if view.features is None:
        return {}
    usual = probe.learning_rate(rows, view.features.shape[1])
    return {
        "backbone": None if view.backbone is None else asdict(view.backbone),
        "device": str(choose_device(recipe)),
        "learning_rate": usual if recipe.learning_rate is None else recipe.learning_rate,
        "probe_batch": probe.batch_size(rows, recipe.probe_batch),
    }


@dataclass(frozen=True, eq=False)
class _Brought:
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
    forwarded: int = 0
    """Images that went through the backbone."""
    backbone: Identity | None = None
    """The backbone that saw them."""


def _methods(names: Sequence[str]) -> dict[str, Corrector]:
    names = [names] if isinstance(names, str) else names
    if not names:
        raise UsageError("no corrector is chosen; name at least one with -c, for instance -c tmlc")
    return {name: plugins.load("correctors", name)() for name in names}


def _read(source: str, columns: Columns) -> Manifest:
    options = {
        f"{name}_col": getattr(columns, name)
        for name in ("image", "label", "id", "group", "trusted", "annotator", "split")
    }
    return read(source, images=columns.root, with_images=columns.with_images, **options)


def _check_machine(recipe: Recipe) -> None:
    """Raise UsageError for what would fail only after minutes of work."""
    if not 0 <= recipe.seed < 2**31 - 1:
        raise UsageError(f"recipe: seed is {recipe.seed}, but must lie in 0 … {2**31 - 2}")
    if recipe.device != "auto":
        choose_device(recipe)


def _bring(manifest: Manifest, features: str | None, pred_probs: str | None) -> _Brought:
    """Read what the user has computed elsewhere."""
    N, given, own, keys = len(manifest), None, None, None
    digest, notes = hashlib.blake2b(digest_size=16), tuple[str, ...]()
    if pred_probs is not None:
        given = read_array(pred_probs, manifest.source, N, "pred_probs", len(manifest.classes))
        notes = tuple(filter(None, [order_remark(given, manifest.labels, manifest.classes)]))
        keys = _hashes([manifest.ids.reshape(-1, 1)])
        for s in range(0, N, 8192):
            digest.update(np.ascontiguousarray(given[s : s + 8192]).data)
    if features is not None:
        own = Features.from_array(read_array(features, manifest.source, N, "features"))
        keys = _hashes(own.take(np.arange(s, min(s + 8192, N))) for s in range(0, N, 8192))
        digest.update(keys.data)
    return _Brought(own, given, keys, notes, None if keys is None else digest.hexdigest())


def _look(
    manifest: Manifest, brought: _Brought, recipe: Recipe, cache: Path, progress: Progress,
    timings: dict[str, float],
) -> _View:  # fmt: skip
    """Take the user's evidence, or get features from the images."""
    if brought.keys is not None:
        return _View(brought.keys, brought.features, brought.probabilities, {})
    if manifest.images is None:
        remedy = "name the column with --image-col, or give --features or --pred-probs"
        raise InputError(f"{manifest.source}: has no images; {remedy}")
    with _timed(timings, "features"):
        found = extract(manifest.images, np.arange(len(manifest)), recipe, cache, progress)
    timings["features"] -= found.timings["forward"]
    timings["backbone"] = found.timings["forward"]
    return _View(found.keys, found.features, None, found.unreadable, found.forwarded, found.identity)


def _select(manifest: Manifest, view: _View) -> tuple[NDArray[np.intp], RowFacts]:
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
        raise InconclusiveError(
            f"{manifest.source or 'the manifest'}: only {len(usable)} of {N} rows can be judged; at least "
            f"{FEWEST_ROWS} readable, labelled rows of two classes with two rows each are needed"
        )
    # Copies come in the order of their ids, so that neither the manifest's order nor class names matter.
    by = [_hashes([manifest.ids[usable].reshape(-1, 1)]), view.keys[usable]]
    order = usable[np.lexsort((usable, *(half for key in by for half in key.view(">u8").T[::-1])))]
    nothing = np.zeros(N, bool), np.full(N, -1, np.int64)
    return order, RowFacts(status, reason, *nothing)


def _gather(
    manifest: Manifest, view: _View, rows: NDArray[np.intp], recipe: Recipe, run: RunDir, progress: Progress,
    timings: dict[str, float],
) -> Replay:  # fmt: skip
    """Find neighbours and train the heads, or take those that an interrupted run has left."""
    labels, K = manifest.labels[rows], len(manifest.classes)
    trusted = manifest.trusted[rows] if manifest.trusted is not None else None
    seen = hashlib.blake2b(view.keys[rows].tobytes(), digest_size=8).hexdigest()
    named = f"{manifest.digest}:{len(rows)}:{seen}"
    if view.features is None:
        return Replay(rows, labels, K, named, given=view.given, trusted=trusted)
    keys, groups = view.keys[rows], None
    if manifest.groups is not None:
        own = manifest.groups[rows]
        _, number = np.unique(own.astype(str), return_inverse=True)
        groups = np.where(own.astype(str) == "", -1, number).astype(np.int32)
    with _timed(timings, "neighbours"):
        found = neighbours.Neighbours.load(run.neighbours) if run.neighbours.exists() else None
        if found is None or found.fitted_on != named:
            with progress.stage("neighbours", len(rows), "rows") as advance:
                choice = recipe.neighbours, recipe.seed, named
                found = neighbours.find(view.features, rows, keys, groups, *choice)
                advance(len(rows))
        named_by = keys.copy()
        if groups is not None and manifest.groups is not None:
            grouped = groups >= 0
            named_by[grouped] = _hashes([manifest.groups[rows][grouped].reshape(-1, 1)])
        folds = probe.assign_folds(found.component, named_by, recipe.folds)
        if len(np.unique(folds)) < 2:
            raise InconclusiveError(_one_fold(manifest, groups))
        found.save(run.neighbours)
    with _timed(timings, "train"):
        heads = probe.Heads.load(run.heads) if run.heads.exists() else None
        if heads is None or heads.fitted_on != named:
            heads = probe.train(view.features, rows, labels, folds, K, recipe, named, progress)
            heads.save(run.heads)
    return Replay(rows, labels, K, named, folds, view.features, heads, found, view.given, trusted)


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


def _mark(facts: RowFacts, evidence: Replay) -> RowFacts:
    """Carry outliers and sets of copies over to manifest rows."""
    if evidence.neighbours is not None:
        facts.outlier[evidence.rows] = evidence.neighbours.outlier
        facts.duplicate_group[evidence.rows] = evidence.neighbours.copies
    return facts


def _hashes(parts: Any) -> NDArray[np.uint8]:
    """16-byte hashes [n, 16] of the rows of arrays: of their bytes, or of their text."""
    digests = []
    for part in parts:
        texts = part.dtype == object
        for row in part:
            data = str(row[0]).encode() if texts else row.tobytes()
            digests.append(hashlib.blake2b(data, digest_size=16).digest())
    return np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16)


@contextmanager
def _timed(timings: dict[str, float], stage: str) -> Iterator[None]:
    began = time.perf_counter()
    yield
    timings[stage] = timings.get(stage, 0.0) + time.perf_counter() - began
