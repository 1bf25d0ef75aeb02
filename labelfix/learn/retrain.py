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
class Lesson:
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


def retrain(lesson: Lesson, progress: Progress) -> tuple[classifier.Classifier, Plan]:
    """Train a model from its checkpoint on, alone or with the processes of torchrun, and say how it was done.

    Models of the same recipe begin with the same weights; with the same rows they see them in the same order, so that
    only their labels make a difference. Raises UsageError for a model that cannot be used or does not converge.
    """
    processes.hand_out(partial(_help, lesson))
    return _train(lesson, progress)


def _help(lesson: Lesson) -> None:
    _train(lesson, Silent())


def _train(lesson: Lesson, progress: Progress) -> tuple[classifier.Classifier, Plan]:
    net = classifier.build(lesson.recipe, lesson.classes)
    plan, rows = Plan.of(lesson.recipe, net.trained), lesson.targets.taught
    most, together = lesson.recipe.finetune.batch_size, processes.count()
    if min(map(len, split(rows, most))) < 2 * together:
        raise UsageError(
            f"training: {len(rows)} rows in batches of {most} are too few for {together} processes, each of which "
            "needs two images a batch; choose a larger --finetune-batch or fewer processes"
        )
    data = Data(np.load(lesson.pixels, mmap_mode="r"), lesson.targets, lesson.classes)
    training = Training(net, plan, lesson.recipe, 0)
    for _ in training.epochs(data, rows, lesson.checkpoint, progress):
        pass
    training.settle(data, rows)
    return replace(net, model=training.asked), plan
