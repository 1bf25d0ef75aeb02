"""Backbone: a frozen timm model with trained weights that turns pixels into features.

Torch and timm are imported when they are needed. What names a backbone in the cache (`identify`) is
known without building it, except for hub weights, which are named by their values.
"""

from __future__ import annotations

import copy
import hashlib
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from labelfix.errors import UsageError
from labelfix.learn import weights
from labelfix.learn.images import TRANSFORM
from labelfix.learn.recipe import DEFAULT_BACKBONE, Recipe

if TYPE_CHECKING:
    import torch
    from torch import nn

DEFAULT_SIZE = 128
"""Pixels: at half the side a quarter of the time, and the features find wrong labels about as well."""
READING = "stages/1"
"""What features are read from: the stages of an EfficientNet, the pooled output of any other model; and a version."""
_PIECE = 32  # images at a time on a processor: the activations stay in its cache (a third faster than 64)
_LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True)
class Identity:
    """What features depend on besides the image."""

    backbone: str
    """As in the recipe, without the path of a checkpoint."""
    weights: str
    """Hash of the weights file, or of the weights themselves where they came from the hub."""
    size: int
    """Side of the square, pixels."""
    mean: tuple[float, ...]
    """Per channel, of pixels in 0 … 1."""
    std: tuple[float, ...]
    """Per channel."""
    precision: str
    """bfloat16 or float32."""
    transform: str = TRANSFORM
    """From file to pixels."""
    reading: str = READING
    """From the model to features."""

    @property
    def key(self) -> str:
        """Name of the cache directory: 32 hexadecimal digits."""
        return hashlib.blake2b(repr(sorted(asdict(self).items())).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, eq=False)
class Backbone:
    """A model in eval mode, ready to be called."""

    model: nn.Module
    """Ends in features; frozen, channels-last, BatchNorm folded where that changes nothing."""
    identity: Identity
    """Name, weights digest, size, mean, std, precision, transform, reading."""
    width: int
    """d, features per image."""
    device: torch.device
    """Where it is."""
    piece: int
    """Images per forward pass; shorter batches are padded, so that a feature's bytes never depend on how
    many images came with it."""

    @property
    def size(self) -> int:
        """Side of the square it sees, pixels."""
        return self.identity.size

    def __call__(self, images: NDArray[np.uint8]) -> NDArray[np.float16]:
        """Return features [n, d] of uint8 pixels [n, size, size, 3]; beyond ±65504 they are cut off."""
        import torch

        features = np.empty((len(images), self.width), dtype=np.float16)
        dtype = getattr(torch, self.identity.precision)
        mean, std = (torch.tensor(v, device=self.device) for v in (self.identity.mean, self.identity.std))
        with torch.inference_mode():
            for start in range(0, len(images), self.piece):
                part = torch.zeros(self.piece, self.size, self.size, 3, dtype=torch.uint8)
                count = min(self.piece, len(images) - start)
                part.numpy()[:count] = images[start : start + count]
                seen = normalise(part.to(self.device), mean, std).to(dtype)
                out = self.model(seen)[:count].float().clamp_(-_LARGEST, _LARGEST)
                features[start : start + count] = out.cpu().numpy()
        return features


def normalise(pixels: torch.Tensor, mean: torch.Tensor, std: torch.Tensor) -> torch.Tensor:
    """Return what models read [n, 3, S, S], channels-last, of uint8 pixels [n, S, S, 3]; mean and std are [3]."""
    size = pixels.shape[2]
    lines = pixels.flatten(2).float()  # [n, S, S · 3]: whole lines are six times faster
    scaled = lines.sub_(mean.repeat(size) * 255).mul_(1 / (std.repeat(size) * 255))
    return scaled.view(pixels.shape).permute(0, 3, 1, 2)


def identify(recipe: Recipe) -> Identity | None:
    """Name the backbone without building it; None where only loaded weights can tell (hub weights).

    Raises UsageError for an unknown name, device or file.
    """
    device = choose_device(recipe)
    name, checkpoint = weights.split(recipe.backbone)
    if name == DEFAULT_BACKBONE and checkpoint is None:
        size, mean, std = DEFAULT_SIZE, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
        path = weights.default_file()
    elif checkpoint is not None:
        config = weights.configuration(name)
        size, mean, std = config.input_size[-1], tuple(config.mean), tuple(config.std)
        path = checkpoint
    else:
        return None
    precision = str(choose_dtype(recipe, device)).removeprefix("torch.")
    return Identity(name, weights.file_digest(path), recipe.image_size or size, mean, std, precision)


def load_backbone(recipe: Recipe) -> Backbone:
    """Build the recipe's backbone with its trained weights.

    Raises UsageError for an unknown name or device, weights that do not fit, cannot be read or
    cannot be fetched; never returns a random network.
    """
    import torch

    from labelfix.learn import stages

    device = choose_device(recipe)
    dtype = choose_dtype(recipe, device)
    identity = identify(recipe)
    name, checkpoint = weights.split(recipe.backbone)
    if identity is None:
        model = weights.from_hub(name, recipe.image_size)
        config = model.pretrained_cfg
        identity = Identity(
            name,
            weights.model_digest(model),
            recipe.image_size or config["input_size"][-1],
            tuple(config["mean"]),
            tuple(config["std"]),
            str(dtype).removeprefix("torch."),
        )
    elif checkpoint is not None:
        model = weights.from_checkpoint(name, checkpoint, recipe.image_size)
    else:
        model = weights.default_model()
    model = stages.read(model).eval().requires_grad_(requires_grad=False)
    example = torch.rand(1, 3, identity.size, identity.size, generator=torch.Generator().manual_seed(0))
    try:
        with torch.inference_mode():
            width = model(example).shape[-1]
    except (RuntimeError, AssertionError, ValueError) as error:
        raise UsageError(f"backbone {name!r} cannot see images of {identity.size} pixels: {error}") from error
    folded: Any = fold_batch_norm(model, example)
    model = folded.to(device=device, dtype=dtype, memory_format=torch.channels_last)
    piece = recipe.batch_size if device.type != "cpu" else min(recipe.batch_size, _PIECE)
    return Backbone(model, identity, width, device, piece)


def choose_device(recipe: Recipe) -> torch.device:
    """Return the device a recipe means; raises UsageError when it is unknown or not there."""
    import torch

    if recipe.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(recipe.device)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:  # torch's ways to say "not here"
        known = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        here = ", ".join(["auto", *known])
        raise UsageError(f"device {recipe.device!r} cannot be used; here there are: {here}") from error
    return device


def choose_dtype(recipe: Recipe, device: torch.device) -> torch.dtype:
    """Return the arithmetic a recipe means on this device."""
    import torch

    cpu: Any = torch.backends.mkldnn
    if recipe.precision != "auto":
        chosen: torch.dtype = getattr(torch, recipe.precision)
        return chosen
    if device.type == "cpu":
        native = cpu.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()  # noqa: SLF001 (no public question)
        fast = native and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())  # noqa: SLF001 (same)
    else:
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if fast else torch.float32


def fold_batch_norm(model: nn.Module, example: torch.Tensor) -> nn.Module:
    """Fold each BatchNorm into the convolution before it: in bfloat16 a third faster, and more exact.

    Pairs are found by following `example` [1, 3, S, S] through the model. Returns the model unchanged when
    the folded one answers differently, for instance because something else reads the convolution too.
    """
    import torch
    from torch import nn
    from torch.nn.utils.fusion import fuse_conv_bn_weights

    folded = copy.deepcopy(model)
    made: dict[int, nn.Conv2d] = {}
    pairs: list[tuple[nn.Conv2d, str]] = []
    alive: list[torch.Tensor] = []  # an id is a tensor's name only while the tensor lives

    def leaves(module: nn.Module, _: Any, output: torch.Tensor) -> None:
        assert isinstance(module, nn.Conv2d)
        made[id(output)] = module
        alive.append(output)

    def enters(name: str, inputs: tuple[torch.Tensor, ...]) -> None:
        if id(inputs[0]) in made:
            pairs.append((made[id(inputs[0])], name))

    for name, module in folded.named_modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(leaves)
        elif isinstance(module, nn.BatchNorm2d):
            module.register_forward_pre_hook(lambda _, inputs, name=name: enters(name, inputs))
    with torch.no_grad():
        before = folded(example)
        for conv, name in pairs:
            norm = folded.get_submodule(name)
            assert isinstance(norm, nn.BatchNorm2d)
            if norm.running_mean is None or norm.running_var is None:
                return model
            conv.weight, conv.bias = fuse_conv_bn_weights(
                conv.weight, conv.bias, norm.running_mean, norm.running_var, norm.eps, norm.weight, norm.bias
            )  # fmt: skip
            parent, _, own = name.rpartition(".")
            setattr(folded.get_submodule(parent), own, getattr(norm, "act", nn.Identity()))
        for module in folded.modules():
            module._forward_hooks.clear()  # noqa: SLF001 (the handles are many)
            module._forward_pre_hooks.clear()  # noqa: SLF001
        after = folded.requires_grad_(requires_grad=False)(example)
    same = torch.allclose(before, after, rtol=1e-3, atol=1e-4 * float(before.abs().max()))
    return folded if pairs and same else model
