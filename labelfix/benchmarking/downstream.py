"""Downstream: what a classifier trained on repaired labels is worth on rows whose labels are true.

One linear probe for each variant of the labels, with the scan's recipe but without folds. All variants are trained
together, as blocks of one matrix: 4 · rows · width · classes · variants multiply-adds an epoch. The rows they are
tested on took no part in the scan.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from labelfix.learn import probe
from labelfix.learn.backbone import choose_device
from labelfix.learn.features import Features
from labelfix.learn.recipe import Recipe

COLUMNS = 512
"""Classes times variants trained at once, at most (or one variant): bounds memory."""


@dataclass(frozen=True, eq=False)
class Labels:
    """One variant of the labels of n rows."""

    classes: NDArray[np.int32]
    """[n, S] classes of each row's label."""
    p: NDArray[np.float32]
    """[n, S] their shares; a row of zeros takes no part."""

    @classmethod
    def hard(cls, labels: NDArray[np.int32], kept: NDArray[np.bool_] | None = None) -> Labels:
        """One class a row [n], −1 or not `kept` [n] = left out."""
        p = labels >= 0 if kept is None else (labels >= 0) & kept
        return cls(np.maximum(labels, 0)[:, None], p[:, None].astype(np.float32))

    @classmethod
    def soft(cls, classes: NDArray[np.int32], p: NDArray[np.float32]) -> Labels:
        """Listed classes [n, S] with probabilities, scaled to sum to 1."""
        return cls(classes, p / np.maximum(p.sum(axis=1, keepdims=True), 1e-9))


def accuracies(
    features: Features, rows: NDArray[np.intp], variants: Mapping[str, Labels], held: NDArray[np.intp],
    truth: NDArray[np.int32], classes: int, recipe: Recipe,
) -> dict[str, float]:  # fmt: skip
    """Return the accuracy on the rows `held` [m] with `truth` [m] of a probe trained on each variant of `rows` [n]."""
    names, each = list(variants), max(1, COLUMNS // classes)
    found = dict[str, float]()
    for start in range(0, len(names), each):
        some = names[start : start + each]
        chosen = [variants[name] for name in some]
        predicted = _predict(features, rows, chosen, held, classes, recipe)  # [m, V]
        found |= dict(zip(some, (predicted == truth[:, None]).mean(axis=0).tolist(), strict=True))
    return found


def _predict(
    features: Features, rows: NDArray[np.intp], variants: list[Labels], held: NDArray[np.intp], K: int,
    recipe: Recipe,
) -> NDArray[np.int64]:  # fmt: skip
    """Train the probes and return the class [m, V] that each gives the held-out rows."""
    device, V, width, count = choose_device(recipe), len(variants), features.shape[1], len(rows)
    x = torch.from_numpy(features.take(rows)).to(device).float()
    mean, scale = x.mean(dim=0), x.std(dim=0)
    scale = scale.clamp(min=1e-3 * max(float(scale.median()), 1e-6))
    x.sub_(mean).div_(scale)

    weight, bias = torch.zeros(width, V * K, device=device), torch.zeros(V * K, device=device)
    groups = [
        {"params": [weight], "weight_decay": recipe.weight_decay},
        {"params": [bias], "weight_decay": 0.0},
    ]
    peak = recipe.learning_rate if recipe.learning_rate is not None else probe.learning_rate(count, width)
    optimiser = torch.optim.AdamW(groups, lr=peak, betas=(0.9, 0.99), fused=True)
    batch = probe.batch_size(count, recipe.probe_batch)
    total = math.ceil(count / batch) * recipe.epochs
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda done: probe.schedule_share(done + 1, total)
    )
    generator = torch.Generator().manual_seed(recipe.seed)
    for _ in range(recipe.epochs):
        order = torch.randperm(count, generator=generator).numpy()
        for start in range(0, count, batch):
            picked = order[start : start + batch]
            some = x[torch.from_numpy(picked).to(device)]
            wanted = torch.from_numpy(_dense(variants, picked, K)).to(device)  # [b, V, K]
            p = torch.softmax(torch.addmm(bias, some, weight).view(-1, V, K), dim=2)
            residual = (p * wanted.sum(dim=2, keepdim=True) - wanted).view(-1, V * K) / len(picked)
            weight.grad, bias.grad = some.T @ residual, residual.sum(dim=0)
            optimiser.step()
            schedule.step()
    predicted = np.empty((len(held), V), np.int64)
    for start in range(0, len(held), 8192):
        tested = torch.from_numpy(features.take(held[start : start + 8192])).to(device).float()
        logits = torch.addmm(bias, (tested - mean) / scale, weight).view(-1, V, K)
        predicted[start : start + 8192] = logits.argmax(dim=2).cpu().numpy()
    return predicted


def _dense(variants: list[Labels], picked: NDArray[np.intp], K: int) -> NDArray[np.float32]:
    """Return the labels of some rows as distributions [b, V, K]."""
    out = np.zeros((len(picked), len(variants), K), np.float32)
    at = np.arange(len(picked))[:, None]
    for v, variant in enumerate(variants):
        np.add.at(out[:, v], (at, variant.classes[picked]), variant.p[picked])
    return out
