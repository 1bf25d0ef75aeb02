"""Look-ahead: a few SGD steps that can be differentiated, so that what steers them can be learnt (bi-level training).

An inner loss, which depends on meta parameters (soft labels, weights of rows), moves the model; the outer loss of the
moved model is differentiated through the steps. Exact: second derivatives are taken, none is left out. Memory: the
graph of k forward and backward passes.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Self

import torch
from torch import Tensor, nn

from labelfix.errors import UsageError


@dataclass(frozen=True, eq=False)
class Point:
    """Where training stands: all that a model and SGD carry from step to step, apart from the model's code."""

    parameters: Mapping[str, Tensor]
    """By name. Those that require no gradient are frozen: steps leave them as they are."""
    buffers: Mapping[str, Tensor] = field(default_factory=dict)
    """By name, such as BatchNorm's running statistics. They count as constants: none is part of a graph, so the slope
    of an outer loss in evaluation mode leaves out what flows through them."""
    velocity: Mapping[str, Tensor] = field(default_factory=dict)
    """SGD's momentum buffers by name of parameter; one that is missing starts with the first gradient."""

    @classmethod
    def of(cls, module: nn.Module, optimiser: torch.optim.SGD | None = None) -> Self:
        """Take a module as it stands, with its optimiser's momentum where there is one.

        Parameters and momentum share memory with the module's, but are leaves of their own: no gradient reaches it.
        Buffers are copied. So nothing that is done with the point changes module or optimiser.
        """
        parameters, velocity = {}, {}
        for name, parameter in module.named_parameters():
            parameters[name] = parameter.detach().requires_grad_(parameter.requires_grad)
            moved = optimiser.state[parameter].get("momentum_buffer") if optimiser is not None else None
            if moved is not None:
                velocity[name] = moved.detach()
        return cls(parameters, {name: buffer.clone() for name, buffer in module.named_buffers()}, velocity)

    def run(self, module: nn.Module, *inputs: Tensor) -> Tensor:
        """Return the module's output at this point.

        In training mode BatchNorm writes its statistics into the point's buffers, not into the module's.
        """
        state = (dict(self.parameters), dict(self.buffers))
        return torch.func.functional_call(module, state, inputs)  # type: ignore[no-any-return]  # Any in torch


def sharpness(loss: Callable[[Point], Tensor], start: Point, iterations: int = 20) -> float:
    """Return the size of the largest second derivative of a loss at a point, along any direction: steps of SGD beyond 2
    over it overshoot. By power iteration on products with the Hessian (Pearlmutter 1994), from below."""
    moving = [p for p in start.parameters.values() if p.requires_grad]
    slopes = torch.autograd.grad(loss(start), moving, create_graph=True)
    generator = torch.Generator(device=moving[0].device).manual_seed(0)
    along = [torch.randn(p.shape, generator=generator, device=p.device, dtype=p.dtype) for p in moving]
    found = 0.0
    for _ in range(iterations):
        length = math.sqrt(sum(float(part.square().sum()) for part in along))
        if length == 0.0:  # flat along all that was tried
            break
        unit = [part / length for part in along]
        along = list(torch.autograd.grad(slopes, moving, unit, retain_graph=True))
        found = math.sqrt(sum(float(part.square().sum()) for part in along))
    return found


def look_ahead(
    loss: Callable[[Point, int], Tensor],
    start: Point,
    *,
    steps: int,
    rate: float,
    momentum: float = 0.0,
    weight_decay: float = 0.0,
) -> Point:
    """Return the point after `steps` steps of SGD, through which an outer loss can be differentiated.

    `loss(point, step)` is the inner loss of step 0 … steps − 1. Steps are those of `torch.optim.SGD` with learning rate
    `rate`, without dampening or Nesterov's variant. Gradients flow to whatever the losses depend on, and to the start
    if it is part of a graph. `start` and its buffers stay as they are. Raises UsageError for fewer than one step.
    """
    if steps < 1:
        raise UsageError(f"the look-ahead needs at least one step, but {steps} are asked for")
    point = start
    for step in range(steps):
        # Each forward pass writes into buffers of its own: those of earlier steps may be kept for the backward pass.
        here = replace(
            point, buffers={name: buffer.detach().clone() for name, buffer in point.buffers.items()}
        )
        moving = {name: p for name, p in here.parameters.items() if p.requires_grad}
        slopes: tuple[Tensor | None, ...] = torch.autograd.grad(
            loss(here, step), list(moving.values()), create_graph=True, allow_unused=True
        )
        parameters, velocity = dict(here.parameters), dict(here.velocity)
        for (name, parameter), slope in zip(moving.items(), slopes, strict=True):
            if slope is None:  # not used by this loss: as with torch's optimisers, it does not decay either
                continue
            change = slope + weight_decay * parameter
            if momentum:
                if name in velocity:
                    change = momentum * velocity[name] + change
                velocity[name] = change
            parameters[name] = parameter - rate * change
        point = Point(parameters, {name: b.detach() for name, b in here.buffers.items()}, velocity)
    return point
