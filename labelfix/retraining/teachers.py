"""Teachers: how a variant of the labels becomes a saved classifier, and what saved classifiers say of held-out rows."""

from __future__ import annotations

import contextlib
import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from labelfix.errors import ImageUnreadable, InputError
from labelfix.intake import Brought, View, look
from labelfix.learn import classifier, probe, saved
from labelfix.learn.images import KEY_BYTES, content_key
from labelfix.learn.pixels import write_pixels
from labelfix.learn.recipe import Recipe
from labelfix.learn.retrain import Job, retrain
from labelfix.learn.targets import Targets
from labelfix.manifest import Images, Manifest
from labelfix.progress import Progress
from labelfix.retraining.evaluating import HeldOut
from labelfix.trajectories import Floats

Rows = NDArray[np.intp]
CHUNK = 8192
KEY = np.dtype(f"S{KEY_BYTES}")


class Answers(NamedTuple):
    """What saved classifiers say of the m held-out rows that have a known label."""

    p: dict[str, Floats]
    """[m, K] by name; NaN where an image cannot be read."""
    unreadable: int
    """Of the m rows."""
    taught_too: int
    """Rows whose image, or features, are among those learnt from, to the byte."""


class Teacher(Protocol):
    """One way to train; all variants of the labels are of the same n rows."""

    def teach(self, targets: Targets, file: Path, about: dict[str, Any]) -> None:
        """Train on a variant and save what comes of it; `about` goes into the file."""
        ...

    def answer(self, files: dict[str, Path], held: HeldOut, theirs: Brought) -> Answers:
        """Ask saved classifiers about the held-out rows; `theirs` are the features that the user brought for them."""
        ...

    def finish(self) -> None:
        """Remove what only training needed."""
        ...


@dataclass(eq=False)
class Prober:
    """Trains linear heads on the features of a frozen backbone, or on the user's own."""

    manifest: Manifest
    rows: Rows
    brought: Brought
    classes: tuple[str, ...]
    recipe: Recipe
    place: Path
    cache: Path
    progress: Progress

    def teach(self, targets: Targets, file: Path, about: dict[str, Any]) -> None:
        """Train a head; with the backbone it is saved as one timm model."""
        view, K = self._view, len(self.classes)
        self._check(view)
        assert view.features is not None  # else there was nothing to train on
        taught = targets.taught
        what = view.features, self.rows[taught], [targets.of(taught)], K, self.recipe, about["trained_on"]
        weight, bias = probe.train_variants(*what, self.progress).out_of_fold(0)
        if self.brought.features is not None:
            saved.FeatureClassifier(weight, bias, self.classes, about).save(file)
        else:
            saved.of_head(self.recipe, weight, bias, self.classes, about).save(file)

    def answer(self, files: dict[str, Path], held: HeldOut, theirs: Brought) -> Answers:
        """Compute features once, for all classifiers."""
        view = look(held.manifest, theirs, self.recipe, self.cache, self.progress, {})
        assert view.features is not None
        readable = ~np.isin(held.rows, list(view.unreadable))
        p = {}
        for name, file in files.items():
            weight, bias = saved.load_classifier(file, self.recipe.device).head
            if view.features.shape[1] != len(weight):
                found = f"{view.features.shape[1]} numbers a row, but those trained on have {len(weight)}"
                raise InputError(
                    f"{held.manifest.source}: the features have {found}; make both in the same way"
                )
            p[name] = np.full((len(held.rows), len(self.classes)), np.nan, np.float32)
            for start in range(0, len(held.rows), CHUNK):
                at = slice(start, start + CHUNK)
                x = view.features.single(held.rows[at])
                p[name][at] = saved.softmax(x @ weight + bias)
            p[name][~readable] = np.nan
        asked, taught = view.keys[held.rows[readable]], self._view.keys[self.rows]
        also = np.isin(asked.view(KEY), taught.view(KEY))
        return Answers(p, int((~readable).sum()), int(also.sum()))

    def finish(self) -> None:
        """Nothing was written."""

    @cached_property
    def _view(self) -> View:
        return look(self.manifest, self.brought, self.recipe, self.cache, self.progress, {})

    def _check(self, view: View) -> None:
        gone = np.intersect1d(self.rows, np.fromiter(view.unreadable, np.intp, len(view.unreadable)))
        if len(gone) and self.manifest.images is not None:
            row = int(gone[0])
            raise InputError(
                f"{self.manifest.images.name(row)}: was changed since the scan ({view.unreadable[row]}); scan again"
            )


@dataclass(eq=False)
class FineTuner:
    """Trains a whole timm model on pixels that are decoded once for all variants."""

    manifest: Manifest
    rows: Rows
    brought: Brought
    classes: tuple[str, ...]
    recipe: Recipe
    place: Path
    cache: Path
    progress: Progress

    def teach(self, targets: Targets, file: Path, about: dict[str, Any]) -> None:
        """Train a model from the last checkpoint on."""
        work = self.place / "training" / about["trained_on"]
        work.mkdir(parents=True, exist_ok=True)
        pixels, checkpoint = self._pixels().absolute(), (work / "checkpoint.pt").absolute()
        job = Job(pixels, checkpoint, self.recipe, targets, len(self.classes))
        net, plan = retrain(job, self.progress)
        about = about | {"plan": vars(plan), "weights": "trained" if net.trained else "from scratch"}
        saved.ImageClassifier(net, self.classes, about, self.recipe).save(file)
        shutil.rmtree(work)

    def answer(self, files: dict[str, Path], held: HeldOut, theirs: Brought) -> Answers:  # noqa: ARG002 (Protocol)
        """Decode and ask for each classifier in turn, so that one model is held at a time."""
        images = held.manifest.images
        assert images is not None
        assert self.manifest.images is not None
        p, unreadable = {}, dict[int, str]()
        for name, file in files.items():
            net = saved.load_classifier(file, self.recipe.device)
            assert isinstance(net, saved.ImageClassifier)  # whoever fine-tunes has images
            net = replace(net, recipe=self.recipe)  # with as many workers as were asked for
            with self.progress.stage(f"evaluate {name}", len(held.rows), "images") as advance:
                said = net.predict(images, held.rows, advance)
            p[name], unreadable = said.p, said.unreadable
        with self.progress.stage("compare", len(self.rows) + len(held.rows), "images") as advance:
            taught, asked = _keys(self.manifest.images, self.rows, advance), _keys(images, held.rows, advance)
        return Answers(p, len(unreadable), int(np.isin(asked, taught[taught != b""]).sum()))

    def finish(self) -> None:
        """Remove the pixels."""
        shutil.rmtree(self.place / "training", ignore_errors=True)

    def _pixels(self) -> Path:
        """Decode the rows' images, unless an interrupted training has."""
        images = self.manifest.images
        assert images is not None
        size = classifier.build(self.recipe, len(self.classes)).size
        named = hashlib.blake2b(
            self.rows.tobytes() + f"{self.manifest.digest} {size}".encode(), digest_size=8
        )
        path = self.place / "training" / f"pixels-{named.hexdigest()}.npy"
        if not path.exists():
            with self.progress.stage("pixels", len(self.rows), "images") as advance:
                write_pixels(path, images, self.rows, size, self.recipe, advance)
        return path


def _keys(images: Images, rows: Rows, advance: Callable[[int], None]) -> NDArray[np.bytes_]:
    """Return the content keys of images [n]; empty where one cannot be read."""
    keys = np.zeros(len(rows), KEY)
    for i, row in enumerate(rows.tolist()):
        with contextlib.suppress(ImageUnreadable):
            keys[i] = content_key(images.read(row))
        advance(1)
    return keys
