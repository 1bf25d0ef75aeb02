"""Saved classifiers: one safetensors file with weights, classes and transforms, to be loaded and used anywhere.

The tensors of a fine-tuned classifier are timm's own, head included, so that timm reads the file, too:
`timm.create_model(model, num_classes=K, checkpoint_path=file)`. A probe of an EfficientNet is a head on its stages,
which timm does not know. The header holds what an image goes through before.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

from labelfix.arrayfile import load_arrays, save_arrays
from labelfix.errors import ImageUnreadable, InputError, UsageError
from labelfix.learn import classifier, decoding, stages, weights
from labelfix.learn.backbone import choose_device, choose_dtype
from labelfix.learn.images import TRANSFORM, ImageDataset
from labelfix.learn.recipe import FineTuning, Recipe
from labelfix.manifest import Images
from labelfix.trajectories import Floats

REMEDY = "name a file that `labelfix train` wrote, or train again"


@dataclass(frozen=True, eq=False)
class Predictions:
    """What a classifier says of n images or rows of features."""

    classes: tuple[str, ...]
    """[K]"""
    p: Floats
    """[n, K] probabilities; NaN in the rows of images that cannot be read."""
    unreadable: dict[int, str]
    """Row → reason."""

    @property
    def labels(self) -> list[str | None]:
        """[n] the likeliest class; None where the image cannot be read."""
        best = np.where(np.isnan(self.p), -1.0, self.p).argmax(axis=1)
        return [None if row in self.unreadable else self.classes[k] for row, k in enumerate(best.tolist())]


@dataclass(frozen=True, eq=False)
class ImageClassifier:
    """A timm model and what its images go through."""

    net: classifier.Classifier
    """The model on its device."""
    classes: tuple[str, ...]
    """[K]"""
    about: dict[str, Any]
    """What it was trained on, and how; JSON."""
    recipe: Recipe
    """Device, precision, batch size and decoding processes of prediction."""

    @property
    def head(self) -> tuple[Floats, Floats]:
        """Weight [d, K] and bias [K] of the last layer."""
        last = self.net.model.get_classifier()  # type: ignore[operator]  # timm's own
        return last.weight.detach().cpu().numpy().T, last.bias.detach().cpu().numpy()

    def predict(
        self,
        images: Images | Sequence[str | Path | bytes],
        rows: NDArray[np.intp] | None = None,
        advance: Callable[[int], None] = lambda _: None,
    ) -> Predictions:
        """Classify a manifest's images, or files named by path, or encoded images: any that Pillow reads.

        `rows` [n] picks some of them. An image that cannot be read costs only its own row.
        """
        if isinstance(images, str | bytes | Path):
            raise TypeError("predict takes a list of images; put a single one into brackets")
        listed: Images = _Listed(images) if isinstance(images, Sequence) else images
        rows = np.arange(len(listed)) if rows is None else rows
        dataset = ImageDataset(listed, self.net.size, rows)
        p, unreadable, done = np.full((len(rows), len(self.classes)), np.nan, np.float32), dict[int, str](), 0
        if not len(rows):
            return Predictions(self.classes, p, unreadable)
        workers = decoding.worker_count(self.recipe, dataset)
        decoded = decoding.batches(dataset, self.recipe.batch_size, workers)
        model = self.net.model.eval()
        with contextlib.closing(decoded) as batches, torch.inference_mode():
            for batch in batches:  # in order, without those that cannot be read
                bad = np.array([int(row) in batch.reasons for row in batch.seen])
                at = done + np.arange(len(bad))
                unreadable |= {
                    int(i): batch.reasons[int(row)] for i, row in zip(at[bad], batch.seen[bad], strict=True)
                }
                if len(batch.rows):
                    logits = self.net.logits(model, torch.from_numpy(batch.images).to(self.net.device))
                    p[at[~bad]] = torch.softmax(logits, dim=1).cpu().numpy()
                done += len(bad)
                advance(len(bad))
        return Predictions(self.classes, p, unreadable)

    def save(self, path: Path) -> None:
        """Write the file."""
        net = self.net
        held = {name: tensor.detach().cpu().numpy() for name, tensor in net.model.state_dict().items()}
        seen = {"model": _portable(net), "size": net.size, "transform": TRANSFORM}
        seen |= {"precision": self.recipe.precision, "stages": isinstance(net.model, stages.Stages)}
        seen |= {name: getattr(net, name).cpu().numpy().astype(float).tolist() for name in ("mean", "std")}
        save_arrays(path, held, {"kind": "image", "classes": self.classes, "about": self.about} | seen)


@dataclass(frozen=True, eq=False)
class FeatureClassifier:
    """A linear head on features that were computed elsewhere."""

    weight: Floats
    """[d, K]"""
    bias: Floats
    """[K]"""
    classes: tuple[str, ...]
    """[K]"""
    about: dict[str, Any]
    """What it was trained on, and how; JSON."""

    @property
    def head(self) -> tuple[Floats, Floats]:
        """Weight [d, K] and bias [K]."""
        return self.weight, self.bias

    def predict(self, features: ArrayLike) -> Predictions:
        """Classify rows of features [n, d]; raises InputError for another width."""
        x = np.asarray(features, np.float32)
        if x.ndim != 2 or x.shape[1] != len(self.weight):
            raise InputError(
                f"features: [rows, {len(self.weight)}] are needed, but these are {list(x.shape)}"
            )
        return Predictions(self.classes, softmax(x @ self.weight + self.bias), {})

    def save(self, path: Path) -> None:
        """Write the file."""
        header = {"kind": "features", "classes": self.classes, "about": self.about}
        save_arrays(path, {"weight": self.weight, "bias": self.bias}, header)


def load_classifier(path: str | Path, device: str = "auto") -> ImageClassifier | FeatureClassifier:
    """Load what `labelfix train` saved, ready to `predict`. No network is needed.

    Raises InputError for a file that is damaged or no classifier, UsageError for a device that is not there or a model
    that the installed timm does not know.
    """
    path = Path(path)
    arrays, header = load_arrays(path, "classifier", remedy=REMEDY)
    if header.get("kind") not in {"image", "features"}:
        raise InputError(f"{path}: holds no classifier; {REMEDY}")
    classes, about = tuple(header["classes"]), header["about"]
    if header["kind"] == "features":
        return FeatureClassifier(arrays["weight"], arrays["bias"], classes, about)
    if header["transform"] != TRANSFORM:
        raise InputError(
            f"{path}: images were read in another way ({header['transform']}) in training; train again"
        )
    name, size = header["model"], header["size"]
    recipe = Recipe(device=device, image_size=size, precision=header["precision"])
    model = weights.untrained(name, size)
    model = stages.read(model) if header.get("stages") else model
    model.reset_classifier(len(classes))
    try:
        model.load_state_dict({key: torch.from_numpy(array) for key, array in arrays.items()})
    except RuntimeError as error:
        why = " ".join(str(error).split())[:200]
        raise InputError(f"{path}: does not fit the model {name!r} of the installed timm ({why})") from error
    there = choose_device(recipe)
    mean, std = (torch.tensor(header[key], dtype=torch.float32, device=there) for key in ("mean", "std"))
    model = model.to(device=there, memory_format=torch.channels_last).eval()
    net = classifier.Classifier(model, name, True, size, mean, std, there, choose_dtype(recipe, there))
    return ImageClassifier(net, classes, about, recipe)


def of_head(
    recipe: Recipe, weight: Floats, bias: Floats, classes: tuple[str, ...], about: dict[str, Any]
) -> ImageClassifier:
    """Return the recipe's backbone with a linear head [d, K] on its features as one model.

    Raises UsageError for a backbone whose own last layer is not a plain linear one.
    """
    net = classifier.build(replace(recipe, finetune=FineTuning()), len(classes))
    net = replace(net, model=stages.read(net.model))
    model: Any = net.model.eval()
    if isinstance(model, stages.Stages):
        model.reset_classifier(len(classes))
        model.to(net.device)
    last = model.get_classifier()
    refusal = UsageError(
        f"backbone {recipe.backbone!r}: its last layer is not one linear layer on its features, so that the probe "
        "cannot be saved as a timm model; choose another backbone, or --mode finetune"
    )
    if not isinstance(last, nn.Linear) or last.weight.shape != weight.T.shape:
        raise refusal
    with torch.no_grad():
        last.weight.copy_(torch.from_numpy(np.ascontiguousarray(weight.T)))
        last.bias.copy_(torch.from_numpy(bias))
        features = copy.deepcopy(model)
        features.reset_classifier(0)
        example = torch.rand(1, 3, net.size, net.size, generator=torch.Generator().manual_seed(0))
        example = example.to(net.device)
        expected, found = last(features(example)), model(example)
    if not torch.allclose(expected, found, rtol=1e-3, atol=1e-3 * float(expected.abs().max())):
        raise refusal
    return ImageClassifier(net, classes, about, recipe)


def softmax(logits: NDArray[np.floating[Any]]) -> Floats:
    """Return probabilities [n, K]."""
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=1, keepdims=True), np.float32)


def _portable(net: classifier.Classifier) -> str:
    """Return the name that builds the model without a network or a checkpoint."""
    name, _ = weights.split(net.name)
    held: Any = net.model
    return str(held.pretrained_cfg["architecture"]) if ":" in name else name


class _Listed:
    """Files by path, or encoded images, as a manifest's images."""

    def __init__(self, items: Sequence[str | Path | bytes]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)

    def name(self, index: int) -> str:
        item = self.items[index]
        return f"image {index}" if isinstance(item, bytes) else str(item)

    def read(self, index: int) -> bytes:
        item = self.items[index]
        if isinstance(item, bytes):
            return item
        try:
            return Path(item).read_bytes()
        except OSError as error:
            raise ImageUnreadable(error.strerror or str(error)) from error
