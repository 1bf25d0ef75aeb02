"""Classifier: the timm model that is fine-tuned, from trained or random weights, and how it reads pixels."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from labelfix.errors import UsageError
from labelfix.learn import weights
from labelfix.learn.backbone import DEFAULT_SIZE, choose_device, choose_dtype, normalise
from labelfix.learn.recipe import DEFAULT_BACKBONE, Recipe


@dataclass(frozen=True, eq=False)
class Classifier:
    """A model with K outputs on its device, channels-last."""

    model: nn.Module
    """Normalised pixels → logits [b, K]."""
    name: str
    """As timm calls it, or with its checkpoint."""
    trained: bool
    """From trained weights, but for the last layer."""
    size: int
    """Side of the square it sees, pixels."""
    mean: torch.Tensor
    """[3] per channel, of pixels in 0 … 1."""
    std: torch.Tensor
    """[3]"""
    device: torch.device
    """Where it is."""
    dtype: torch.dtype
    """Of matrix products; weights are float32."""

    def logits(self, model: nn.Module, pixels: torch.Tensor) -> torch.Tensor:
        """Return float32 logits [b, K] of uint8 pixels [b, S, S, 3] on the device, by the model or what wraps it."""
        half = self.dtype == torch.bfloat16
        with torch.autocast(self.device.type, torch.bfloat16, enabled=half):
            found: torch.Tensor = model(normalise(pixels, self.mean, self.std))
        return found.float()


def build(recipe: Recipe, classes: int) -> Classifier:
    """Build the model that a recipe fine-tunes; random weights are drawn from its seed.

    Raises UsageError for an unknown name or device, weights that do not fit, cannot be read or fetched, and a
    model that classifies no image of this size.
    """
    spec = recipe.finetune.model or recipe.backbone
    name, checkpoint = weights.split(spec)
    config = None if ":" in name else weights.configuration(name)
    if recipe.finetune.scratch and checkpoint is not None:
        raise UsageError(f"model {spec!r} names trained weights, but is to start from scratch; choose one")
    packaged = name == DEFAULT_BACKBONE and checkpoint is None
    known = packaged or checkpoint is not None or config is None or bool(config.has_weights)
    trained = known and not recipe.finetune.scratch
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        if not trained:
            model = weights.untrained(name, recipe.image_size)
        elif checkpoint is not None:
            model = weights.from_checkpoint(name, checkpoint, recipe.image_size)
        else:
            model = weights.default_model() if packaged else weights.from_hub(name, recipe.image_size)
        model.reset_classifier(classes)
    held = model.pretrained_cfg
    size = recipe.image_size or (DEFAULT_SIZE if packaged else held["input_size"][-1])
    _try(model, name, size, classes)
    device = choose_device(recipe)
    if str(device) == "cuda":  # threads do not share the current device
        device = torch.device("cuda", torch.cuda.current_device())
    model = model.to(device=device, memory_format=torch.channels_last)
    mean, std = (torch.tensor(held[name], device=device) for name in ("mean", "std"))
    return Classifier(model, spec, trained, size, mean, std, device, choose_dtype(recipe, device))


def _try(model: Any, name: str, size: int, classes: int) -> None:
    """Raise UsageError when the model does not classify images of this size."""
    try:
        with torch.inference_mode():
            shape = tuple(model.eval()(torch.zeros(1, 3, size, size)).shape)
    except (RuntimeError, AssertionError, ValueError) as error:
        raise UsageError(f"model {name!r} cannot see images of {size} pixels: {error}") from error
    if shape != (1, classes):
        raise UsageError(
            f"model {name!r} gives {list(shape)} for an image, not {classes} logits; choose another"
        )
