"""Retraining: a whole timm model learns from one variant of the labels; nothing is recorded, the model is kept."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from labelfix.errors import UsageError
from labelfix.learn import classifier, processes
from labelfix.learn.recipe import Recipe
from labelfix.learn.targets import Targets
from labelfix.learn.training import Data, Plan, Training, split
from labelfix.progress import Progress, Silent


@dataclass(frozen=True, eq=False)
class Job:
    """What a process must know to train one model; n rows."""

    pixels: Path
    """Images of the rows, decoded."""
    checkpoint: Path
    """The model after its last whole epoch."""
    recipe: Recipe
    """Choices."""
    targets: Targets
    """Labels of the rows; those without one are left out."""
    classes: int
    """K."""


def retrain(job: Job, progress: Progress) -> tuple[classifier.Classifier, Plan]:
    """Train a model from its checkpoint on, alone or with the processes of torchrun, and say how it was done.

    Models of the same recipe begin with the same weights; with the same rows they see them in the same order, so that
    only their labels make a difference. Raises UsageError for a model that cannot be used or does not converge.
    """
    processes.hand_out(partial(_help, job))
    return _train(job, progress)


def _help(job: Job) -> None:
    _train(job, Silent())


def _train(job: Job, progress: Progress) -> tuple[classifier.Classifier, Plan]:
    net = classifier.build(job.recipe, job.classes)
    plan, rows = Plan.of(job.recipe, net.trained), job.targets.taught
    most, together = job.recipe.finetune.batch_size, processes.count()
    if min(map(len, split(rows, most))) < 2 * together:
        raise UsageError(
            f"training: {len(rows)} rows in batches of {most} are too few for {together} processes, each of which "
            "needs two images a batch; choose a larger --finetune-batch or fewer processes"
        )
    data = Data(np.load(job.pixels, mmap_mode="r"), job.targets, job.classes)
    training = Training(net, plan, job.recipe, 0)
    for _ in training.epochs(data, rows, job.checkpoint, progress):
        pass
    training.settle(data, rows)
    return replace(net, model=training.asked), plan
