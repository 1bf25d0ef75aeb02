"""The look-ahead is SGD, and its gradient is the slope that finite differences find."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from labelfix.errors import UsageError
from labelfix.learn.bilevel import Point, look_ahead, sharpness

ROWS, CLASSES = 12, 3
SGD = {"rate": 0.3, "weight_decay": 0.05}


def mlp() -> tuple[nn.Module, Tensor]:
    return nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, CLASSES)), torch.randn(2, ROWS, 5)


def conv() -> tuple[nn.Module, Tensor]:
    layers = nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.SiLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()
    return nn.Sequential(*layers, nn.Linear(4, CLASSES)), torch.randn(2, ROWS, 1, 6, 6)


@pytest.fixture(params=[mlp, conv])
def case(request) -> tuple[nn.Module, Tensor, Tensor]:
    """A model in double precision, in training mode; support and query inputs [2, n, …]; meta parameters [n, K]."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        module, x = request.param()
        return module.double().train(), x.double(), torch.randn(ROWS, CLASSES, dtype=torch.float64)


def inner(module: nn.Module, x: Tensor, meta: Tensor) -> Callable[[Point, int], Tensor]:
    """Soft labels are the meta parameters' softmax; each step sees its own share of the rows."""
    q = torch.softmax(meta, dim=1)

    def loss(point: Point, step: int) -> Tensor:
        mine = torch.arange(ROWS) % 3 != step
        return functional.cross_entropy(point.run(module, x[mine]), q[mine])

    return loss


def moved(case, meta: Tensor, **choices) -> Point:
    """The model after steps on the support."""
    module, (support, _), _ = case
    return look_ahead(inner(module, support, meta), Point.of(module), **choices, **SGD)


def outer(case, point: Point, constants: dict[str, Tensor] | None) -> Tensor:
    """Loss on the query at a point: by the query's own BatchNorm statistics, or by constant ones."""
    module, (_, query), _ = case
    module.train(constants is None)
    point = point if constants is None else replace(point, buffers=constants)
    value = functional.cross_entropy(point.run(module, query), torch.arange(len(query)) % CLASSES)
    module.train()
    return value


@pytest.mark.parametrize("running", [False, True], ids=["query by its own statistics", "by running ones"])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("steps", [1, 3])
def test_the_gradient_is_that_of_finite_differences(case, steps, momentum, running):
    choices = {"steps": steps, "momentum": momentum}
    meta = case[2].clone().requires_grad_()
    point = moved(case, meta, **choices)
    constants = dict(point.buffers) if running else None
    outer(case, point, constants).backward()
    step, expected = 1e-5, torch.empty(meta.numel(), dtype=torch.float64)
    for at in range(meta.numel()):
        shift = torch.zeros(meta.numel(), dtype=torch.float64)
        shift[at] = step
        up, down = (
            outer(case, moved(case, meta.detach() + s.view_as(meta), **choices), constants)
            for s in (shift, -shift)
        )
        expected[at] = ((up - down) / (2 * step)).detach()
    scale = float(expected.abs().max())
    assert scale > 1e-4
    torch.testing.assert_close(meta.grad.view(-1), expected, rtol=0, atol=1e-6 * scale)


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("steps", [1, 3])
def test_steps_are_those_of_torchs_own_sgd_and_continue_its_momentum(case, steps, momentum):
    module, (support, _), meta = case
    optimiser = torch.optim.SGD(
        module.parameters(), lr=SGD["rate"], momentum=momentum, weight_decay=SGD["weight_decay"]
    )
    loss = inner(module, support, meta)

    def train(count: int) -> None:
        for step in range(count):
            mine = torch.arange(ROWS) % 3 != step
            optimiser.zero_grad()
            functional.cross_entropy(module(support[mine]), torch.softmax(meta, dim=1)[mine]).backward()
            optimiser.step()

    train(2)  # the optimiser has a momentum before we look ahead
    point = look_ahead(loss, Point.of(module, optimiser), steps=steps, momentum=momentum, **SGD)
    train(steps)
    for name, value in (*module.named_parameters(), *module.named_buffers()):
        found = point.parameters[name] if name in point.parameters else point.buffers[name]
        torch.testing.assert_close(found, value, rtol=1e-10, atol=1e-12)


def test_the_model_stays_as_it_is_and_no_buffer_is_part_of_a_graph(case):
    module, (support, query), meta = case
    before = {name: value.clone() for name, value in module.state_dict().items()}
    meta.requires_grad_()
    point = look_ahead(inner(module, support, meta), Point.of(module), steps=3, momentum=0.9, **SGD)
    point.run(module, query).sum().backward()
    assert meta.grad is not None
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name])
    assert all(parameter.grad is None for parameter in module.parameters())
    assert not any(buffer.requires_grad for buffer in point.buffers.values())
    if point.buffers:
        assert point.buffers["1.num_batches_tracked"] == 4  # three steps and the query
        assert not torch.equal(point.buffers["1.running_mean"], module[1].running_mean)


def test_the_start_keeps_its_buffers(case):
    module, (support, _), meta = case
    start = Point.of(module)
    held = {name: buffer.clone() for name, buffer in start.buffers.items()}
    look_ahead(inner(module, support, meta), start, steps=2, **SGD)
    assert all(torch.equal(held[name], buffer) for name, buffer in start.buffers.items())


def test_frozen_and_unused_parameters_do_not_move():
    w = {name: torch.ones(2, dtype=torch.float64) for name in ("used", "frozen", "unused")}
    for name in ("used", "unused"):
        w[name].requires_grad_()
    point = look_ahead(
        lambda p, _: (p.parameters["used"] * p.parameters["frozen"]).sum(), Point(w), steps=2, rate=0.1,
        momentum=0.9, weight_decay=0.5,
    )  # fmt: skip
    for name in ("frozen", "unused"):
        assert torch.equal(point.parameters[name], w[name])
    assert (point.parameters["used"] < 1).all()


def test_gradients_reach_a_start_that_is_part_of_a_graph():
    first = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)
    point = look_ahead(
        lambda p, _: (p.parameters["w"] ** 2).sum(), Point({"w": 3 * first}), steps=2, rate=0.1
    )
    point.parameters["w"].sum().backward()
    assert first.grad.item() == pytest.approx(3 * 0.8**2)  # each step multiplies by 1 − 2 × rate


def test_no_step_is_no_look_ahead():
    with pytest.raises(UsageError, match="at least one step"):
        look_ahead(lambda p, _: p.parameters["w"].sum(), Point({"w": torch.ones(1)}), steps=0, rate=0.1)


def test_the_sharpness_is_the_largest_eigenvalue_of_the_hessian(case):
    module, (support, _), meta = case
    names = [name for name, _ in module.named_parameters()]
    loss = inner(module, support, meta)

    def of(*values: Tensor) -> Tensor:
        return loss(Point(dict(zip(names, values, strict=True)), Point.of(module).buffers), 3)

    weights = tuple(p.detach() for p in module.parameters())
    blocks = torch.autograd.functional.hessian(of, weights)
    sizes = [w.numel() for w in weights]
    whole = torch.cat(
        [torch.cat([part.reshape(a, b) for part, b in zip(row, sizes, strict=True)], dim=1)
         for row, a in zip(blocks, sizes, strict=True)]
    )  # fmt: skip
    expected = float(torch.linalg.eigvalsh(whole).abs().max())
    found = sharpness(lambda point: loss(point, 3), Point.of(module), iterations=200)
    assert found == pytest.approx(expected, rel=1e-3)
    assert sharpness(lambda point: loss(point, 3), Point.of(module)) == pytest.approx(expected, rel=0.1)
