"""The CIFAR ResNet of the papers is a timm model like any other."""

from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from labelfix.errors import UsageError
from labelfix.learn import weights
from labelfix.learn.backbone import load_backbone
from labelfix.learn.recipe import Recipe


@pytest.fixture
def model() -> nn.Module:
    weights.configuration("resnet32")  # makes the name known
    return timm.create_model("resnet32", num_classes=10).eval()


def test_it_has_as_many_layers_and_weights_as_the_paper_says(model):
    layers = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    assert len(layers) == 32
    assert sum(p.numel() for p in model.parameters()) == 464_154  # 0.46 million, Table 6


def test_it_answers_like_every_timm_model(model):
    x = torch.rand(2, 3, 32, 32)
    features = model.forward_features(x)
    assert features.shape == (2, 64, 8, 8)
    assert torch.equal(model.forward_head(features), model(x))
    assert model(x).shape == (2, 10)
    assert model.get_classifier().in_features == model.num_features == 64
    pooled = model.forward_head(features, pre_logits=True)
    model.reset_classifier(0)
    assert torch.equal(model(x), pooled)
    model.reset_classifier(3)
    assert model(x).shape == (2, 3)


def test_the_shortcut_drops_every_second_pixel_and_adds_channels_of_zeros(model):
    block = model.stages[1][0]
    nn.init.zeros_(block.norm2.weight)
    x = torch.rand(2, 16, 8, 8)
    out = block(x)
    assert out.shape == (2, 32, 4, 4)
    assert torch.equal(out[:, 8:24], x[:, :, ::2, ::2])
    assert not out[:, :8].any()
    assert not out[:, 24:].any()


def test_it_sees_images_of_other_sizes(model):
    assert model(torch.rand(1, 3, 64, 64)).shape == (1, 10)


def test_without_trained_weights_it_is_no_backbone():
    with pytest.raises(UsageError, match="backbone 'resnet32': timm has no trained weights for it"):
        load_backbone(Recipe("resnet32"))
