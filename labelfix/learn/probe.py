"""The probe: K-fold linear heads on frozen features, trained together, with a checkpoint per recorded epoch.

Work for N rows, width d, F folds, K classes: N × d × F·K × 4 multiply-adds an epoch (forward and gradient).
Heads in half precision take E × F × (d + 1) × K × 2 bytes: 1.3 MB for 10 classes, 128 MB for 1,000.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from labelfix.arrayfile import load_arrays, save_arrays
from labelfix.learn.backbone import choose_device, choose_dtype
from labelfix.learn.recipe import Recipe
from labelfix.learn.spacing import evenly
from labelfix.learn.targets import Targets
from labelfix.progress import Progress
from labelfix.trajectories import Floats, Ints

if TYPE_CHECKING:
    import torch

    from labelfix.learn.features import Features

HELD_BYTES = 512 << 20
"""Standardised features are kept in memory up to this size."""
BELIEVED = 0.5
"""How far heads believe, before they have seen any features, that a class is as common as its labels: the share of its
log prior that the bias begins at. At 0, heads call rows of rare classes right too readily, since a bias moves by a few
learning rates only; at 1, wrong labels that make a class look common are believed too (benchmarks' LOG.md)."""
HELD = ("weight", "bias", "mean", "scale", "progress")
"""Arrays in the file of heads."""


@dataclass(frozen=True, eq=False)
class Heads:
    """Checkpoints of the fold heads; head f saw every training row that is not in fold f."""

    weight: NDArray[np.float16]
    """[E, F, d, K] on standardised features."""
    bias: Floats
    """[E, F, K]"""
    mean: Floats
    """[d] of the training rows' features."""
    scale: Floats
    """[d] their standard deviation, floored."""
    progress: Floats
    """[E] share of training done at each checkpoint, in (0, 1]."""
    fitted_on: str
    """Digest and count of the training rows."""

    @property
    def epochs(self) -> int:
        """E."""
        return int(self.weight.shape[0])

    @property
    def folds(self) -> int:
        """F."""
        return int(self.weight.shape[1])

    @property
    def classes(self) -> int:
        """K."""
        return int(self.weight.shape[3])

    def out_of_fold(self, fold: int) -> tuple[Floats, Floats]:
        """Return weight [d, E·K] and bias [E·K] of the head that did not see this fold."""
        return self._flat(self.weight[:, fold].astype(np.float32), self.bias[:, fold])

    def in_sample(self, fold: int) -> tuple[Floats, Floats]:
        """Return weight [d, E·K] and bias [E·K] of the mean of the heads that saw this fold."""
        others = [f for f in range(self.folds) if f != fold]
        weight = np.zeros(self.weight[:, 0].shape, np.float32)
        for f in others:
            weight += self.weight[:, f]
        return self._flat(weight / np.float32(len(others)), self.bias[:, others].mean(axis=1))

    def _flat(self, weight: Floats, bias: Floats) -> tuple[Floats, Floats]:
        width = weight.shape[1]
        flat = weight.transpose(1, 0, 2).reshape(width, -1) / self.scale[:, None]
        return flat, bias.reshape(-1) - self.mean @ flat

    def save(self, path: Path) -> None:
        """Write one safetensors file."""
        save_arrays(path, {name: getattr(self, name) for name in HELD}, {"fitted_on": self.fitted_on})

    @classmethod
    def load(cls, path: Path) -> Heads:
        """Read what `save` wrote; raises InputError when the file is damaged."""
        arrays, header = load_arrays(path, "heads", HELD)
        return cls(**arrays, fitted_on=header["fitted_on"])


def assign_folds(component: Ints, keys: NDArray[np.uint8], folds: int) -> Ints:
    """Return the fold [n] of each row: a hash of its component, named by the smallest key in it.

    `keys` [n, 16] is the hash of the row's group, or else of its content, so a row that comes back later
    meets the head that did not see it.
    """
    number = keys[:, :8].copy().view(">u8")[:, 0].astype(np.uint64)
    smallest = np.full(int(component.max(initial=-1)) + 1, np.iinfo(np.uint64).max, np.uint64)
    np.minimum.at(smallest, component, number)
    # The leading bits order the keys, so the minimum of many is biased there: the fold comes from mixed bits.
    mixed = smallest * np.uint64(0x9E3779B97F4A7C15)
    return ((mixed >> np.uint64(33)) % np.uint64(folds)).astype(np.int32)[component]


def train(
    features: Features, rows: NDArray[np.intp], labels: Ints, folds: Ints, classes: int, recipe: Recipe,
    fitted_on: str, progress: Progress,
) -> Heads:  # fmt: skip
    """Train the heads on the given feature rows [n], labels [n] and folds [n], all in canonical order."""
    import torch

    device, F = choose_device(recipe), recipe.folds
    shares = [np.bincount(labels[folds != fold], minlength=classes) for fold in range(F)]
    target = torch.from_numpy(labels.astype(np.int64)).to(device)
    teaches = torch.from_numpy((folds[:, None] != np.arange(F)).astype(np.float32)).to(device)  # [n, F]
    minus_one = -torch.ones(1, 1, 1, device=device)

    def residual(p: torch.Tensor, picked: NDArray[np.intp]) -> None:
        at = torch.from_numpy(picked).to(device)
        given = target.index_select(0, at)[:, None, None].expand(-1, F, 1)
        p.scatter_add_(2, given, minus_one.expand_as(given))
        p *= teaches.index_select(0, at)[:, :, None] / len(picked)

    return _descend(features, rows, _priors(shares), residual, recipe, fitted_on, progress)


def train_variants(
    features: Features, rows: NDArray[np.intp], variants: Sequence[Targets], classes: int, recipe: Recipe,
    fitted_on: str, progress: Progress,
) -> Heads:  # fmt: skip
    """Train a head on each variant of the labels of the same rows [n]: each is a "fold", with one checkpoint."""
    import torch

    device = choose_device(recipe)

    def residual(p: torch.Tensor, picked: NDArray[np.intp]) -> None:
        dense = np.stack([variant.dense(picked, classes) for variant in variants], axis=1)  # [b, V, K]
        wanted = torch.from_numpy(dense).to(device)
        p.mul_(wanted.sum(dim=2, keepdim=True)).sub_(wanted).div_(len(picked))

    recipe = replace(recipe, checkpoints=1)
    priors = _priors([variant.counts(classes) for variant in variants])
    return _descend(features, rows, priors, residual, recipe, fitted_on, progress)


def _priors(counts: Sequence[NDArray[np.number]]) -> Floats:
    """Return the bias [F, K] that heads begin at, of how many rows [K] of each class they are taught.

    What classes differ by is drawn towards nothing as far as chance explains it (DerSimonian & Laird 1986): a fold that
    holds many rows of a class leaves its head few of it, and they would all look wrong where classes are even.
    """
    seen = np.stack(counts).astype(np.float64) + 0.5
    total = seen.sum(axis=1, keepdims=True)  # the weight of a logarithm is its count
    off = np.log(seen) - (seen * np.log(seen)).sum(axis=1, keepdims=True) / total
    excess = (seen * off**2).sum(axis=1, keepdims=True) - (seen.shape[1] - 1)
    between = np.maximum(excess, 0.0) / np.maximum(total - (seen**2).sum(axis=1, keepdims=True) / total, 1e-9)
    return np.asarray(BELIEVED * off * between / (between + 1.0 / seen), np.float32)


def _descend(
    features: Features, rows: NDArray[np.intp], priors: Floats,
    residual: Callable[[torch.Tensor, NDArray[np.intp]], None], recipe: Recipe, fitted_on: str, progress: Progress,
) -> Heads:  # fmt: skip
    """Train heads together: AdamW with a cosine schedule after a short warm-up, on standardised features.

    They begin at the bias `priors` [F, K], which a short training hardly moves.
    Weights are kept in float32; products with features are taken in the recipe's precision. `residual` turns
    probabilities [b, heads, K] of the rows at positions [b] into the loss's slopes by their logits, in place.
    """
    import torch

    from labelfix.learn.descent import AdamW

    device = choose_device(recipe)
    dtype = choose_dtype(recipe, device)
    count, width, (F, K) = len(rows), features.shape[1], priors.shape
    mean, scale = _standardisation(features, rows)
    centre, spread = torch.from_numpy(mean).to(device), torch.from_numpy(scale).to(device)
    generator = torch.Generator().manual_seed(recipe.seed)
    batch = batch_size(count, recipe.probe_batch)
    peak = recipe.learning_rate if recipe.learning_rate is not None else learning_rate(count, width)
    steps_an_epoch = -(-count // batch)
    total = steps_an_epoch * recipe.epochs
    stops = recorded_steps(total, recipe.checkpoints)

    def standardised(positions: NDArray[np.intp]) -> torch.Tensor:
        taken = torch.from_numpy(features.take(rows[positions])).to(device).float()
        return taken.sub_(centre).div_(spread).to(dtype)

    held = None  # small sets are converted once, not in every epoch
    if count * width * dtype.itemsize <= HELD_BYTES:
        held = torch.empty(count, width, device=device, dtype=dtype)
        for start in range(0, count, 2048):
            held[start : start + 2048] = standardised(np.arange(start, min(start + 2048, count)))

    # One weight matrix for all heads (d, F·K); the gradient of softmax regression is written down, not recorded.
    weight, bias = torch.zeros(width, F * K, device=device), torch.tensor(priors.ravel(), device=device)
    descent = AdamW((weight, bias), (recipe.weight_decay, 0.0), betas=(0.9, 0.99))
    held_weight = np.empty((len(stops), F, width, K), np.float16)
    held_bias = np.empty((len(stops), F, K), np.float32)
    step = 0
    with progress.stage("train", total, "steps") as advance:
        for _ in range(recipe.epochs):
            order = torch.randperm(count, generator=generator).numpy()
            for start in range(0, count, batch):
                picked = np.sort(order[start : start + batch])  # ascending: kinder to memory-mapped features
                at = torch.from_numpy(picked).to(device)
                x = standardised(picked) if held is None else held.index_select(0, at)
                logits = (x @ weight.to(dtype)).float().add_(bias)
                slope = logits.view(-1, F, K)  # softmax by hand: torch's is slow with few classes
                slope = slope.sub_(slope.amax(dim=2, keepdim=True)).exp_()
                slope /= slope.sum(dim=2, keepdim=True)
                residual(slope, picked)
                slope = slope.view(-1, F * K)
                step += 1
                slopes = (x.T @ slope.to(dtype)).float(), slope.sum(dim=0)
                descent.step(slopes, peak * schedule_share(step, total))
                if step in stops:
                    kept = stops.index(step)
                    half = weight.view(width, F, K).permute(1, 0, 2).clamp(-6e4, 6e4).half()
                    held_weight[kept], held_bias[kept] = half.cpu().numpy(), bias.view(F, K).cpu().numpy()
                advance(1)
    shares = np.array(stops, np.float32) / np.float32(total)
    return Heads(held_weight, held_bias, mean, scale, shares, fitted_on)


def batch_size(rows: int, most: int) -> int:
    """Return rows a step: about 64 steps an epoch for small sets, `most` for large ones."""
    return int(min(most, max(16, 2 ** int(np.log2(max(rows // 64, 1))))))


def learning_rate(rows: int, width: int) -> float:
    """Return the peak rate: 1e-3 from 40 rows a feature on, less with fewer: heads would learn errors by heart."""
    return 1e-3 * float(np.clip(np.sqrt(rows / (40.0 * width)), 0.2, 1.0))


def recorded_steps(total: int, checkpoints: int) -> list[int]:
    """Return the steps after which a checkpoint is kept: denser early, where clean labels are learnt first."""
    share = (np.arange(1, checkpoints + 1) / checkpoints) ** 1.5
    return sorted({max(1, round(float(s) * total)) for s in share})


def schedule_share(step: int, total: int, warm_up: float = 0.05) -> float:
    """Return the share of the peak rate at a step, 1 … total: linear warm-up for a share of them, then a cosine."""
    warm = max(1, int(total * warm_up))
    if step <= warm:
        return step / warm
    return float(0.5 * (1.0 + np.cos(np.pi * (step - warm) / max(1, total - warm))))


def _standardisation(features: Features, rows: NDArray[np.intp]) -> tuple[Floats, Floats]:
    """Mean and standard deviation [d] of at most 32,768 evenly spaced rows."""
    some = rows[evenly(len(rows), 32768)]
    total, squares = np.zeros(features.shape[1]), np.zeros(features.shape[1])
    for start in range(0, len(some), 4096):
        piece = features.single(some[start : start + 4096])
        if not start:
            first = piece.mean(axis=0)  # near the mean, squares of single precision are exact enough
        piece -= first
        total += piece.sum(axis=0)
        squares += np.einsum("nd,nd->d", piece, piece)
    mean = total / len(some)
    scale = np.sqrt(np.maximum(squares / len(some) - mean**2, 0.0))
    mean += first
    floor = 1e-3 * max(float(np.median(scale)), 1e-6)
    return mean.astype(np.float32), np.maximum(scale, floor).astype(np.float32)
