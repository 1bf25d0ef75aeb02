"""A saved classifier answers as it did in training, by labelfix and by timm, wherever it is loaded."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from PIL import Image

from labelfix import load_classifier
from labelfix.arrayfile import save_arrays
from labelfix.errors import InputError, UsageError
from labelfix.learn import classifier, saved
from labelfix.learn.recipe import FineTuning, Recipe

CLASSES = ("cat", "dog", "emu")
SIZE = 32
RECIPE = Recipe(
    image_size=SIZE, precision="float32", device="cpu", workers=0, finetune=FineTuning(model="resnet32")
)


def pictures(count: int = 5) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8) for _ in range(count)]


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture(scope="module")
def file(tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("saved") / "soft.safetensors"
    net = classifier.build(RECIPE, len(CLASSES))
    saved.ImageClassifier(net, CLASSES, {"labels": "soft"}, RECIPE).save(path)
    return path


def test_it_is_what_it_was(file):
    net = classifier.build(RECIPE, len(CLASSES))  # the same seed, so the same random weights
    loaded = load_classifier(file, device="cpu")
    assert (loaded.classes, loaded.about, loaded.net.size) == (CLASSES, {"labels": "soft"}, SIZE)
    pixels = torch.from_numpy(np.stack(pictures()))
    with torch.inference_mode():
        expected = torch.softmax(net.logits(net.model.eval(), pixels), dim=1).numpy()
    found = loaded.predict([png(p) for p in pictures()])
    np.testing.assert_allclose(found.p, expected, atol=2e-2)  # bfloat16 where the processor has it
    assert found.labels == [CLASSES[k] for k in found.p.argmax(axis=1)]


def test_timm_reads_the_file_too(file):
    model = timm.create_model("resnet32", num_classes=3, checkpoint_path=str(file)).eval()
    x = (torch.from_numpy(np.stack(pictures())).permute(0, 3, 1, 2) / 255 - 0.5) / 0.25
    with torch.inference_mode():
        expected = torch.softmax(model(x), dim=1).numpy()
    np.testing.assert_allclose(
        load_classifier(file).predict(list(map(png, pictures()))).p, expected, atol=2e-2
    )


def test_files_and_bytes_in_any_order_and_one_that_cannot_be_read_costs_its_own_row(file, tmp_path):
    (tmp_path / "a.png").write_bytes(png(pictures()[0]))
    loaded = load_classifier(file)
    found = loaded.predict([str(tmp_path / "none.png"), tmp_path / "a.png", b"no image", png(pictures()[1])])
    alone = loaded.predict([png(p) for p in pictures(2)])
    np.testing.assert_allclose(found.p[[1, 3]], alone.p, atol=1e-2)
    assert np.isnan(found.p[[0, 2]]).all()
    assert found.labels[0] is None
    assert list(found.unreadable) == [0, 2]
    assert "No such file" in found.unreadable[0]
    assert loaded.predict([]).labels == []


def test_a_head_on_the_stages_of_its_backbone_becomes_one_model_with_it(tmp_path):
    recipe = Recipe(image_size=64, precision="float32", device="cpu", workers=0)
    rng = np.random.default_rng(0)
    weight, bias = (0.05 * rng.normal(size=shape).astype(np.float32) for shape in ((1088, 3), 3))
    path = tmp_path / "probe.safetensors"
    saved.of_head(recipe, weight, bias, CLASSES, {}).save(path)
    loaded = load_classifier(path)
    for found, expected in zip(loaded.head, (weight, bias), strict=True):
        np.testing.assert_array_equal(found, expected)
    from labelfix.learn.backbone import load_backbone

    features = load_backbone(recipe)(np.stack([saved_pixels(p) for p in pictures()])).astype(np.float32)
    expected = saved.softmax(features @ weight + bias)
    np.testing.assert_allclose(loaded.predict(list(map(png, pictures()))).p, expected, atol=3e-2)


def saved_pixels(pixels: np.ndarray) -> np.ndarray:
    from labelfix.learn.images import decode

    return decode(png(pixels), 64)


def test_a_backbone_whose_last_layer_is_none_on_its_features_is_refused():
    recipe = Recipe(backbone="resnet32", image_size=SIZE, device="cpu")
    with pytest.raises(UsageError, match="'resnet32': its last layer is not one linear layer"):
        saved.of_head(recipe, np.zeros((7, 3), np.float32), np.zeros(3, np.float32), CLASSES, {})


def test_a_head_on_features_of_the_users_own(tmp_path):
    weight, bias = np.eye(3, dtype=np.float32), np.zeros(3, np.float32)
    saved.FeatureClassifier(weight, bias, CLASSES, {}).save(tmp_path / "f.safetensors")
    loaded = load_classifier(tmp_path / "f.safetensors")
    assert loaded.predict(np.array([[0, 2, 0], [5, 0, 0]])).labels == ["dog", "cat"]
    with pytest.raises(InputError, match=r"\[rows, 3\] are needed, but these are \[2, 4\]"):
        loaded.predict(np.zeros((2, 4)))


@pytest.mark.parametrize("content", [None, b"rubbish"])
def test_what_is_no_classifier_is_named(content, tmp_path):
    path = tmp_path / "heads.safetensors"
    if content is None:
        save_arrays(path, {"weight": np.zeros(1)}, {"fitted_on": "rows"})
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match=r"heads\.safetensors: .*name a file that `labelfix train` wrote"):
        load_classifier(path)


def test_a_single_image_is_no_list_of_images(file):
    with pytest.raises(TypeError, match="put a single one into brackets"):
        load_classifier(file).predict("cat.png")
