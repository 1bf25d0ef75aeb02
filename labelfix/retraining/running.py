"""Training: the labels of a finished run, given or corrected, become classifiers that are saved and measured.

findings → variants of the labels → a classifier each → held-out rows → table.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelfix.arrayfile import load_arrays
from labelfix.errors import InputError, UsageError
from labelfix.findings import Findings
from labelfix.intake import Brought, bring, check_machine
from labelfix.learn.cache import default_cache
from labelfix.learn.recipe import Recipe
from labelfix.learn.saved import REMEDY
from labelfix.learn.targets import Targets
from labelfix.manifest import Manifest
from labelfix.origin import reopen
from labelfix.progress import Progress, Silent
from labelfix.readers import read
from labelfix.readers.again import seen_from
from labelfix.readers.storage import is_url
from labelfix.retraining.evaluating import HeldOut
from labelfix.retraining.results import Results, Row
from labelfix.retraining.teachers import FineTuner, Prober, Teacher
from labelfix.retraining.variants import choose, labels_of
from labelfix.rundir import RunDir, output_error

TAUGHT = ("scored", "singleton_class")
"""Rows of these statuses have a label and an image."""


def train(
    run: str | Path,
    *,
    labels: Sequence[str] = ("soft",),
    recipe: Recipe | None = None,
    out: str | Path | None = None,
    evaluate: Manifest | str | Path | None = None,
    truth: str | None = None,
    features: str | None = None,
    manifest: Manifest | None = None,
    cache: Path | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Results:
    """Train a classifier on each variant of a run's labels, save them, and evaluate them on held-out rows.

    `labels`: any of given, cleanlab-pruned, pruned, fixed, soft, or all. `recipe` is that of the scan if none is given;
    its mode says whether heads on the backbone's features are trained, or a whole model. `out` is a directory,
    RUN/trained by default; a classifier is the file LABELS.safetensors in it (`labelfix.load_classifier`), and
    results.json holds the table. `evaluate` is a manifest whose labels are right, those of the column `truth` where it
    is a path; `features` brings its features, where the run had features of the user's own. `manifest` is what was
    scanned; None: it is read again. With `resume` classifiers that are there already are kept, and a training that was
    interrupted goes on. Raises LabelfixError; `labelfix.errors` has the kinds.
    """
    directory, progress = RunDir(Path(run)), progress or Silent()
    record = _finished(directory)
    findings, recipe = Findings.read(directory.findings), recipe or scanned_with(record)
    if recipe.mode == "auto":
        raise UsageError("recipe: mode is 'auto', but what is trained must be said: probe or finetune")
    names = choose(labels, findings)
    check_machine(recipe, brings=record["brought"] is not None)
    place = Path(out) if out is not None else directory.path / "trained"
    files = {name: place / f"{name}.safetensors" for name in names}
    _refuse_existing(files, place, resume)
    manifest = manifest or reopen(record)
    brought = _as_scanned(manifest, record, directory.path)
    held = theirs = None
    if evaluate is not None:
        held = _held_out(evaluate, truth, findings.classes, features, own=brought.features is not None)
        theirs = bring(held.manifest, features, None)

    rows = np.flatnonzero(np.isin(findings.column("status").astype(str), TAUGHT))
    variants = {name: labels_of(name, findings, rows) for name in names}
    kind: type[Prober | FineTuner] = Prober if recipe.mode == "probe" else FineTuner
    what = manifest, rows, brought, findings.classes, recipe
    teacher: Teacher = kind(*what, place, cache or default_cache(), progress)
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(place, error) from error
    done: list[Row] = []
    for name, targets in variants.items():
        began, taught = time.perf_counter(), len(targets.taught)
        lesson = _name_lesson(manifest, rows, targets, recipe)
        if not _kept(files[name], lesson):
            about = {"labels": name, "trained_on": lesson, "rows": taught, "recipe": recipe.to_dict()}
            teacher.teach(targets, files[name], about)
        done.append(Row(name, taught, str(files[name]), round(time.perf_counter() - began, 3)))
    counts = None
    if held is not None and theirs is not None:
        answers = teacher.answer(files, held, theirs)
        counts = held.counts(answers.unreadable, answers.taught_too)
        done = [replace(row, evaluation=held.judge(answers.p[row.labels])) for row in done]
    teacher.finish()
    results = Results(
        str(directory.path), str(place), recipe.mode, findings.classes, len(rows), tuple(done),
        None if held is None else held.manifest.source, counts,
    )  # fmt: skip
    results.write(place / "results.json")
    return results


def scanned_with(record: dict[str, Any]) -> Recipe:
    """Return the recipe of a finished run, with the mode that was chosen where it was left open."""
    recipe = Recipe.from_dict(record["recipe"])
    return replace(recipe, mode=record["chosen"].get("mode", recipe.mode))


def _finished(directory: RunDir) -> dict[str, Any]:
    record = directory.read()
    if not record.get("finished"):
        remedy = "continue it with `labelfix scan … --resume`"
        raise UsageError(f"{directory.path}: the scan is not finished; {remedy}")
    return record


def _as_scanned(manifest: Manifest, record: dict[str, Any], run: Path) -> Brought:
    """Bring the evidence that the run had of the user; raises InputError where anything was changed since."""
    if manifest.digest != record["manifest"]:
        where = manifest.source or "the manifest"
        raise InputError(f"{where}: is not what {run} was scanned from, or was changed since; scan again")
    features, pred_probs = (_from_here(record, name) for name in ("features", "pred_probs"))
    brought = bring(manifest, features, pred_probs)
    if brought.digest != record["brought"]:
        files = " or ".join(filter(None, (features, pred_probs)))
        raise InputError(f"{files}: was changed since the scan; scan again")
    if brought.keys is not None and brought.features is None:
        raise UsageError(f"{run}: was scanned by probabilities alone, so that there is nothing to train on")
    return brought


def _from_here(record: dict[str, Any], name: str) -> str | None:
    """Return the file or the column that a run was given, a file as it is found from here."""
    there = seen_from(record, name)
    is_file = bool(there) and (is_url(there) or Path(there).is_file())
    return there if is_file else record[name]


def _held_out(
    evaluate: Manifest | str | Path,
    truth: str | None,
    classes: tuple[str, ...],
    features: str | None,
    own: bool,
) -> HeldOut:
    """Read the held-out rows; `own` says that the run's features are the user's."""
    if own != (features is not None):
        what = (
            "features of your own, so name those of the held-out rows with" if own else "images, so leave out"
        )
        raise UsageError(f"the run is of {what} --evaluate-features")
    if not isinstance(evaluate, Manifest):
        evaluate = read(evaluate, label_col=truth, with_images=not own, min_classes=1)
    if evaluate.images is None and not own:
        raise InputError(f"{evaluate.source or 'the held-out manifest'}: has no images to classify")
    return HeldOut.of(evaluate, classes)


def _refuse_existing(files: dict[str, Path], place: Path, resume: bool) -> None:
    there = [path.name for path in files.values() if path.exists()]
    if place.is_file():
        raise UsageError(f"{place}: is a file, but the output must be a directory; choose another -o")
    if there and not resume:
        raise UsageError(
            f"{place}: holds {', '.join(there)}; add --resume to keep what is there, or choose another -o"
        )


def _kept(file: Path, lesson: str) -> bool:
    """Say whether a file is there; raises UsageError when it was trained on something else."""
    if not file.exists():
        return False
    if load_arrays(file, "classifier", (), REMEDY)[1].get("about", {}).get("trained_on") != lesson:
        raise UsageError(
            f"{file}: was trained on other findings or with other choices; delete it or choose another -o"
        )
    return True


def _name_lesson(manifest: Manifest, rows: NDArray[np.intp], targets: Targets, recipe: Recipe) -> str:
    """Name what makes two trainings the same: rows [n], their labels, choices."""
    choices = sorted((name, value) for name, value in recipe.to_dict().items() if name != "workers")
    digest = hashlib.blake2b(repr((manifest.digest, choices)).encode(), digest_size=16)
    for array in (rows, targets.classes, targets.p, targets.rest):
        digest.update(b"" if array is None else np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()
