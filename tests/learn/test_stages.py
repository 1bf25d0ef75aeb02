"""Stages: what is read of an EfficientNet, and that other models stay as they are."""

from __future__ import annotations

import numpy as np
import pytest
import timm
import torch

from labelfix.learn import stages


@pytest.fixture(scope="module")
def plain():
    torch.manual_seed(0)
    return timm.create_model("tf_efficientnet_lite0", pretrained=False).eval()


def test_features_are_means_of_the_last_four_stages_and_spreads_of_all_but_the_last(plain):
    x = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    maps = []
    handles = [
        block.register_forward_hook(lambda *seen: maps.append(seen[2].numpy())) for block in plain.blocks
    ]
    with torch.inference_mode():
        plain(x)
        for handle in handles:
            handle.remove()
        found = stages.read(plain)(x).numpy()
    last = maps[-4:]
    expected = [m.mean(axis=(2, 3)) for m in last] + [m.std(axis=(2, 3)) for m in last[:-1]]
    assert [part.shape[1] for part in expected] == [80, 112, 192, 320, 80, 112, 192]
    np.testing.assert_allclose(found, np.concatenate(expected, axis=1), rtol=1e-3, atol=1e-4)


def test_a_classifier_reads_the_features_and_can_be_taken_away(plain):
    read = stages.Stages(plain)
    x = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        features = read(x)
        assert features.shape == (1, read.num_features)
        read.reset_classifier(3)
        torch.testing.assert_close(read(x), read.get_classifier()(features))
        read.reset_classifier(0)
        torch.testing.assert_close(read(x), features)


def test_other_models_are_read_as_they_are():
    model = timm.create_model("test_resnet", num_classes=0)
    assert stages.read(model) is model
