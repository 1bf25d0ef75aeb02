"""Fine-tune mode: a whole timm model is trained on the given labels while a recorder looks on.

One model learns from all rows and its trajectories are the in-sample block; what is out of sample then comes from
heads on frozen features. By fold, each model learns from all rows but a fold's: it is asked about that fold, which is
the out-of-fold block, and about the fold before, which it has learnt from: that is the in-sample block.

While it trains, `finetune/` in the run directory holds pixels, recordings and, after every epoch, a checkpoint.
Afterwards the recordings move to `recorded/` and the rest goes.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from labelfix.errors import UsageError
from labelfix.learn import classifier, processes, tuned
from labelfix.learn.pixels import write_pixels
from labelfix.learn.recipe import Recipe
from labelfix.learn.recording import Recording
from labelfix.learn.targets import Targets
from labelfix.learn.training import Data, Plan, Training, load_checkpoint, split
from labelfix.manifest import Images
from labelfix.progress import Progress, Silent
from labelfix.rundir import RunDir, writing
from labelfix.trajectories import Ints

Rows = NDArray[np.intp]
IN_SAMPLE, OUT_OF_FOLD = "in_sample", "out_of_fold"


@dataclass(frozen=True, eq=False)
class Job:
    """What a process must know to do its part; n rows in canonical order."""

    place: Path
    """Directory that all processes see."""
    recipe: Recipe
    """Choices."""
    labels: Ints
    """[n] given class."""
    folds: Ints | None
    """[n] fold of each row; None: one model learns from all rows."""
    classes: int
    """K."""
    keeps: bool
    """Whether young models and the pixels stay for correctors that train on them."""

    @property
    def pixels(self) -> Path:
        """Images, decoded; the last file to be made before training begins."""
        return self.place / "pixels.npy"

    @property
    def recorded(self) -> Path:
        """Recordings."""
        return self.place / "recorded"

    @property
    def checkpoint(self) -> Path:
        """The model after its last whole epoch."""
        return self.place / "checkpoint.pt"


@dataclass(frozen=True, eq=False)
class Turn:
    """One model: rows that it learns from, and rows that it is asked about by recording."""

    learnt: Rows
    asked: dict[str, Rows]


def fine_tune(
    images: Images, rows: Rows, labels: Ints, folds: Ints | None, classes: int, recipe: Recipe, fitted_on: str,
    run: RunDir, progress: Progress, keeps: bool = False,
) -> tuple[Recording, Recording | None]:  # fmt: skip
    """Train on the images at `rows` [n] with given labels [n], or take what an interrupted run has recorded.

    Returns what was recorded of models that learnt from the row, and of models that did not: these are trained
    where `folds` [n] asks for a model a fold; with `keeps` what `tuned.Tuned` reads of them stays, too. Raises
    UsageError for a model that cannot be used or does not converge.
    """
    place = run.finetune.absolute()
    if _fitted_on(run.recorded) != fitted_on:
        shutil.rmtree(run.recorded, ignore_errors=True)
        job = Job(place, recipe, labels, folds, classes, keeps and folds is not None)
        if not job.pixels.exists() or _fitted_on(job.recorded) != fitted_on:
            shutil.rmtree(place, ignore_errors=True)
            _prepare(job, images, rows, fitted_on, progress)
        processes.hand_out(partial(carry_out, job))
        carry_out(job, progress)
        if job.keeps:
            tuned.keep(job.recorded, job.pixels)
        job.recorded.replace(run.recorded)
    shutil.rmtree(place, ignore_errors=True)
    there = {name: Recording.open(run.recorded / name) for name in _names(folds)}
    return there[IN_SAMPLE], there.get(OUT_OF_FOLD)


def carry_out(job: Job, progress: Progress | None = None) -> None:
    """Do this process's part of a job, from the last checkpoint on. All processes meet after every epoch."""
    recipe, progress = job.recipe, progress or Silent()
    data = Data(np.load(job.pixels, mmap_mode="r"), Targets.hard(job.labels), job.classes)
    recordings = {name: Recording.open(job.recorded / name, writable=True) for name in _names(job.folds)}
    held = load_checkpoint(job.checkpoint)
    for number, turn in enumerate(turns(job.folds, len(job.labels))):
        if held is not None and number < held["number"]:
            continue
        model = classifier.build(recipe, job.classes)
        plan = Plan.of(recipe, model.trained)
        training = Training(model, plan, recipe, number)
        for epoch in training.epochs(data, turn.learnt, job.checkpoint, progress):
            if epoch not in plan.recorded:
                continue
            training.settle(data, turn.learnt)
            at = plan.recorded.index(epoch)
            if job.keeps and at < tuned.young(len(plan.recorded)) and processes.rank() == 0:
                assert job.folds is not None  # else nothing is kept
                path = tuned.kept(job.recorded, int(np.unique(job.folds)[number]), at)
                path.parent.mkdir(exist_ok=True)
                with writing(path) as temporary:
                    torch.save(training.asked.state_dict(), temporary)
            asked = sum(map(len, turn.asked.values()))
            with progress.stage(f"record {epoch}/{plan.epochs}", asked, "images") as advance:
                for block, rows in turn.asked.items():
                    training.record(data, rows, recordings[block], at, advance)


def turns(folds: Ints | None, rows: int) -> list[Turn]:
    """Return the models to train, for rows [n] with folds [n] or without."""
    if folds is None:
        return [Turn(np.arange(rows), {IN_SAMPLE: np.arange(rows)})]
    present = np.unique(folds)
    return [
        Turn(
            np.flatnonzero(folds != fold),
            {OUT_OF_FOLD: np.flatnonzero(folds == fold), IN_SAMPLE: np.flatnonzero(folds == before)},
        )
        for fold, before in zip(present, np.roll(present, 1), strict=True)
    ]


def _prepare(job: Job, images: Images, rows: Rows, fitted_on: str, progress: Progress) -> None:
    """Make recordings and pixels; refuse what cannot be trained."""
    model = classifier.build(job.recipe, job.classes)
    plan = Plan.of(job.recipe, model.trained)
    together, most = processes.count(), job.recipe.finetune.batch_size
    smallest = min(len(batch) for turn in turns(job.folds, len(rows)) for batch in split(turn.learnt, most))
    if smallest < 2 * together:
        raise UsageError(
            f"fine-tuning: {smallest} images in the smallest batch, {together} processes at work, and each needs two "
            "images; choose a larger --finetune-batch or fewer processes, or scan more images"
        )
    progress_at = [epoch / plan.epochs for epoch in plan.recorded]
    about = {"fitted_on": fitted_on, "training": _describe(model, plan)}
    for name in _names(job.folds):
        whole_last = name == OUT_OF_FOLD
        Recording.create(job.recorded / name, len(rows), job.classes, progress_at, whole_last, **about)
    with progress.stage("pixels", len(rows), "images") as advance:
        write_pixels(job.pixels, images, rows, model.size, job.recipe, advance)


def _describe(model: classifier.Classifier, plan: Plan) -> dict[str, Any]:
    """Say what the recipe left open came to."""
    return {
        "model": model.name,
        "weights": "trained" if model.trained else "from scratch",
        "image_size": model.size,
        "device": str(model.device),
        "precision": str(model.dtype).removeprefix("torch."),
        "processes": processes.count(),
    } | asdict(plan)


def _names(folds: Ints | None) -> tuple[str, ...]:
    return (IN_SAMPLE,) if folds is None else (IN_SAMPLE, OUT_OF_FOLD)


def _fitted_on(recorded: Path) -> str | None:
    """Return which rows recordings are of; None where there are none."""
    there = recorded / IN_SAMPLE
    return Recording.open(there).about["fitted_on"] if there.exists() else None
