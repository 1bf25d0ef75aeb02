"""Tuned models in the loop: fine-tuned by fold, as they were in their first recorded epochs, for bi-level training.

While a corrector may ask for them, `recorded/` also holds the decoded images and the models of the first third of the
recorded epochs, one a fold, each of which has not seen the fold's rows. They go when the scan is finished.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from labelfix.learn.recipe import Recipe
from labelfix.trajectories import Ints

if TYPE_CHECKING:
    from torch import Tensor, nn

    from labelfix.learn.bilevel import Point
    from labelfix.learn.classifier import Classifier

YOUNG = 3
"""One … of the recorded epochs is young. Older models have learnt their labels by heart: any step that makes them less
sure helps on rows that they have not seen, so that distrust pays on right labels, too (measured with heads on flowers
with 20 % errors: trust in right labels .003)."""


def young(epochs: int) -> int:
    """Return how many of E recorded epochs are young."""
    return max(1, epochs // YOUNG)


def keep(recorded: Path, pixels: Path) -> None:
    """Put the decoded images beside the models; they also stay where they are, in case of an interrupt."""
    there = recorded / "pixels.npy"
    there.unlink(missing_ok=True)
    try:
        there.hardlink_to(pixels)
    except OSError:  # no such links here
        shutil.copyfile(pixels, there)


def kept(recorded: Path, fold: int, epoch: int) -> Path:
    """Return where the model that has not seen a fold is, as it was at a recorded epoch counted from 0."""
    return recorded / "models" / f"fold{fold}-epoch{epoch}.pt"


def drop(recorded: Path) -> None:
    """Remove images and models."""
    shutil.rmtree(recorded / "models", ignore_errors=True)
    (recorded / "pixels.npy").unlink(missing_ok=True)


@dataclass(eq=False)
class Tuned:
    """The base model of fine-tuning by fold, for correctors that train on it; n rows in canonical order."""

    recorded: Path
    """Images and models."""
    recipe: Recipe
    """Of the scan."""
    classes: int
    """K."""
    rows: NDArray[np.int64]
    """[n] manifest position of each row."""
    folds: Ints
    """[n]"""

    @cached_property
    def _net(self) -> Classifier:
        from labelfix.learn import classifier

        return classifier.build(self.recipe, self.classes)

    @cached_property
    def _pixels(self) -> NDArray[np.uint8]:
        found: NDArray[np.uint8] = np.load(self.recorded / "pixels.npy", mmap_mode="r")
        return found

    def _at(self, rows: NDArray[np.int64]) -> NDArray[np.intp]:
        order = np.argsort(self.rows)
        return order[np.searchsorted(self.rows, rows, sorter=order)]

    def fold(self, rows: NDArray[np.int64]) -> Ints:
        """Return the fold [n] of rows by manifest position."""
        return self.folds[self._at(rows)]

    def inputs(self, rows: NDArray[np.int64]) -> Tensor:
        """Return what the model reads of rows by manifest position [n, 3, S, S]: the images, not augmented."""
        import torch

        from labelfix.learn.backbone import normalise

        net, at = self._net, self._at(rows)
        return normalise(torch.from_numpy(np.asarray(self._pixels[at])).to(net.device), net.mean, net.std)

    def start(self, epoch: int, fold: int) -> Point:
        """Return the model that has not seen the fold, at a young recorded epoch; valid until the next is asked for."""
        import torch

        from labelfix.learn.bilevel import Point

        model = self._net.model
        model.load_state_dict(torch.load(kept(self.recorded, fold, epoch), "cpu", weights_only=True))
        return Point.of(model)

    def logits(self, point: Point, inputs: Tensor) -> Tensor:
        """Return logits [n, K], in training mode: BatchNorm normalises by the rows that come together.

        In single precision: second derivatives of half-precision arithmetic are too coarse.
        """
        model: nn.Module = self._net.model.train()
        return point.run(model, inputs)
