"""A base learner that is a whole network, trained and recorded as in a scan with `--mode finetune`.

The package's own training code, on images of 32 pixels. Each of at most twelve epochs trains on all images and records
them; at about 400 and 1,300 a second on one idle core, and at most `sources.PICTURED` images, that takes eighteen
seconds a task on average, where heads take one.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelfix.learn import classifier
from labelfix.learn.recipe import FineTuning, Recipe
from labelfix.learn.recording import Recording
from labelfix.learn.targets import Targets
from labelfix.learn.training import Data, Plan, Training
from labelfix.trajectories import Ints

SIDE = 32
"""Pixels; of the images of source tasks, too."""


def random_finetuning(rng: np.random.Generator, recipe: Recipe) -> Recipe:
    """Draw what is fine-tuned beside the heads of a recipe: the papers' ResNet-32 from scratch, or the backbone.

    Short and long, with smaller batches and higher rates than usual, since few images make few steps: from a model that
    has hardly learnt to one that knows its labels by heart.
    """
    scratch = bool(rng.random() < 0.5)
    batch = int(rng.choice([16, 32]))
    usual = 0.1 * batch / 128 if scratch else 4 * 5e-4 * batch / 256
    tuning = FineTuning(
        model="resnet32" if scratch else None,
        epochs=int(rng.integers(8, 13) if scratch else rng.integers(3, 11)),
        batch_size=batch,
        learning_rate=usual * float(np.exp(rng.uniform(-0.7, 0.7))),
        augment=bool(rng.random() < 0.8),
    )
    return replace(recipe, mode="finetune", image_size=SIDE, finetune=tuning)


def record(place: Path, pixels: NDArray[np.uint8], labels: Ints, classes: int, recipe: Recipe) -> Recording:
    """Train on pixels [n, SIDE, SIDE, 3] with given labels [n]; files of the recording are made in `place`."""
    model = classifier.build(recipe, classes)
    plan = Plan.of(recipe, model.trained)
    data, everything = Data(pixels, Targets.hard(labels), classes), np.arange(len(labels))
    progress = [epoch / plan.epochs for epoch in plan.recorded]
    recording = Recording.create(place / "in_sample", len(labels), classes, progress, whole_last=False)
    training = Training(model, plan, recipe, 0)
    for epoch in range(plan.epochs):
        training.learn(data, everything, epoch, _silent)
        if epoch + 1 in plan.recorded:
            training.settle(data, everything)
            training.record(data, everything, recording, plan.recorded.index(epoch + 1), _silent)
    return recording


def _silent(_: int) -> None:
    """Report nothing."""
