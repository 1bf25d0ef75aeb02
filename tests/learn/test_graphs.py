"""Training by replayed steps is training: the same weights, the same draws. Needs a GPU."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from labelfix.learn import classifier
from labelfix.learn.graphs import Graphs, Step
from labelfix.learn.recipe import FineTuning, Recipe
from labelfix.learn.targets import Targets
from labelfix.learn.training import Data, Plan, Training

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="steps are recorded on a GPU alone")

ROWS, CLASSES, SIZE = 45, 3, 32


def recipe(**choices: object) -> Recipe:
    tuning = FineTuning(model="resnet32", epochs=3, batch_size=16, **choices)
    return Recipe(mode="finetune", image_size=SIZE, precision="float32", device="cuda", finetune=tuning)


def data() -> Data:
    rng = np.random.default_rng(0)
    labels = (np.arange(ROWS) % CLASSES).astype(np.int32)
    pixels = rng.integers(0, 90, (ROWS, SIZE, SIZE, 3)) + 80 * np.eye(3, dtype=int)[labels][:, None, None]
    return Data(pixels.astype(np.uint8), Targets.hard(labels), CLASSES)


def trained(chosen: Recipe, graphs: bool) -> dict[str, torch.Tensor]:
    net = classifier.build(chosen, CLASSES)
    training = Training(net, Plan.of(chosen, net.trained), chosen, 0)
    assert isinstance(training.step, Graphs)
    if not graphs:
        training.step = training.step.plain
    for epoch in range(3):
        training.learn(data(), np.arange(ROWS), epoch, lambda _: None)
    return training.model.state_dict()


@pytest.fixture(autouse=True)
def _exact():
    held = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    yield
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = held


@pytest.mark.parametrize("optimiser", ["sgd", "adamw"])
def test_replayed_steps_end_where_plain_ones_do(optimiser):
    replayed, plain = (trained(recipe(optimiser=optimiser), graphs) for graphs in (True, False))
    for name, value in plain.items():
        torch.testing.assert_close(replayed[name], value, rtol=2e-3, atol=2e-3, msg=name)


def test_recording_leaves_weights_statistics_and_random_states():
    net, step = built()
    before = {name: value.clone() for name, value in net.model.state_dict().items()}
    state = torch.cuda.get_rng_state()
    graphs = Graphs(net.model, step)
    assert all(graphs.record(*batch(images), images) for images in (16, 15))
    assert torch.equal(torch.cuda.get_rng_state(), state)
    for name, value in net.model.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_model_that_cannot_be_recorded_is_run_as_it_is():
    net, _ = built()

    def asks(pixels, wanted, whole):
        loss = net.logits(net.model, pixels).square().sum()
        loss.backward()
        return loss.detach() if float(loss) > 0 else loss  # the processor waits for the answer

    graphs = Graphs(net.model, asks)
    assert not graphs.record(*batch(16), 16)
    assert float(graphs(*batch(16), 16)) > 0
    assert all(float(p.grad.abs().sum()) >= 0 for p in net.model.parameters())  # the device still works


def built() -> tuple[classifier.Classifier, Step]:
    chosen = recipe()
    net = classifier.build(chosen, CLASSES)
    net.model.train()
    training = Training(net, Plan.of(chosen, net.trained), chosen, 0)
    assert isinstance(training.step, Graphs)
    return net, training.step.plain


def batch(images: int) -> tuple[torch.Tensor, torch.Tensor]:
    pixels = torch.zeros((images, SIZE, SIZE, 3), dtype=torch.uint8, device="cuda")
    return pixels, torch.full((images, CLASSES), 1 / CLASSES, device="cuda")
