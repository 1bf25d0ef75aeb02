"""The recipe of TMLC-Net (Li 2025, arXiv 2502.07721) as its text allows: four scalars, an LSTM, bi-level training.

NNP: category- and global-normalised loss, prediction entropy and normalised loss order of each row and recorded epoch.
TSE: an LSTM of 64 units over 16 resampled steps, of which the last state counts. SD: the paper's C-way output cannot
name the right class from four scalars, nor be carried to another number of classes; so an MLP gives the trust w in the
given label, and q = w · onehot(given) + (1 − w) · p̄ without the given class, where p̄ averages probabilities over
epochs. Training needs no truth: the base model looks ahead on soft labels of support rows, and the trust net is moved
by the loss of that model on the given labels of held-out query rows. The base model is the one whose out-of-fold
trajectories are read: a linear head on frozen features, or, fine-tuned by fold, a whole model (`learn.tuned`).

The paper leaves open and we chose: statistics of the whole training set instead of the mini-batch, NLO, the decoder's
width, the smoothing, the split, rates and numbers of steps.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from typing import Any, Protocol, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from labelfix.errors import UsageError
from labelfix.evidence import EvidenceChunk, LinearBase
from labelfix.learn.bilevel import Point, look_ahead, sharpness
from labelfix.learn.spacing import evenly
from labelfix.learn.tuned import young
from labelfix.tmlc.perception import GRID, percentile, resample
from labelfix.trajectories import FLOOR, Floats, Ints, Trajectories

STEPS = 16
"""Of relative time, that the LSTM reads."""
SHRINK = 10.0
"""Class statistics of n rows are mixed with the global ones as n : 10."""
BATCH = 4096
"""Rows the LSTM reads at once in scoring."""


@dataclass(frozen=True)
class PaperRecipe:
    """Choices of the training; raises UsageError for those with which nothing can be learnt."""

    support: float = 0.8
    """Share of a meta step's rows whose soft labels move the head; the given labels of the others judge the move."""
    meta_rate: float = 1e-3
    """Adam's, of the trust net."""
    meta_steps: int = 100
    """Each with a split, fold and recorded epoch of its own."""
    rows: int = 512
    """Of a meta step, support and query together, of heads on features."""
    images: int = 128
    """The same of a fine-tuned model; a meta step takes about five passes over them."""
    inner_steps: int = 1
    """Of the head's look-ahead."""
    inner_rate: float = 1.0
    """Of the look-ahead, in units of 1 / L, L the largest curvature of the loss: beyond 2 it overshoots, and a planted
    error was trusted most."""
    smoothing: float = 0.1
    """Of the query's given labels, and of the support's soft labels alike."""
    normalised: bool = True
    """Whether NNP compares losses with those of other rows; without it the net reads them as they are (Table V)."""
    seed: int = 0
    """Of initialisation and split."""

    def __post_init__(self) -> None:
        if not 0.0 < self.support < 1.0:
            raise UsageError(
                f"tmlc-paper: the support share is {self.support:g}, but must lie between 0 and 1; {IDENTITY}"
            )
        if self.inner_steps < 1:
            raise UsageError(
                f"tmlc-paper: the look-ahead has {self.inner_steps} steps, but needs one; {IDENTITY}"
            )


IDENTITY = (
    "without a look-ahead that is judged on held-out query rows, soft labels are compared with the given labels they "
    "were made from, trusting every given label is then the best answer, and suspicion says nothing"
)


@dataclass(frozen=True, eq=False)
class PaperNorms:
    """Statistics of the loss over the fitted rows, at each of E recorded epochs, for K classes."""

    centre: Floats
    """[E, K + 1] median: of each given class, shrunk; the last column is of all."""
    scale: Floats
    """[E, K + 1] 1.4826 × median absolute deviation + 1e-3, likewise."""
    order: Floats
    """[E, GRID] quantiles, for the normalised loss order."""

    @classmethod
    def fit(cls, block: Trajectories, labels: Ints, classes: int) -> Self:
        """Fit on rows with given labels [n]."""
        loss = block.loss  # [n, E]
        centre = np.repeat(np.median(loss, axis=0)[:, None], classes + 1, axis=1)
        scale = np.repeat(_deviation(loss, centre[:, -1])[:, None], classes + 1, axis=1)
        for k in range(classes):
            mine = loss[labels == k]
            if len(mine):
                own, median = len(mine) / (len(mine) + SHRINK), np.median(mine, axis=0)
                centre[:, k] += own * (median - centre[:, k])
                scale[:, k] += own * (_deviation(mine, median) - scale[:, k])
        order = np.quantile(loss, np.linspace(0, 1, GRID), axis=0).T
        return cls(*(a.astype(np.float32) for a in (centre, scale, order)))

    @classmethod
    def off(cls, epochs: int, classes: int) -> Self:
        """Return what leaves losses as they are: no statistics, and an order that is the share of the largest loss."""
        whole = np.ones((epochs, classes + 1), np.float32)
        largest = np.linspace(0.0, -FLOOR, GRID, dtype=np.float32)
        return cls(0 * whole, whole, np.repeat(largest[None], epochs, axis=0))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Flatten for a State."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    def scalars(self, block: Trajectories, labels: Ints) -> Floats:
        """Return CNL, GNL, entropy and loss order of rows [n, STEPS, 4], each within about ±1."""
        loss = block.loss
        general = (loss - self.centre[:, -1]) / self.scale[:, -1]
        category = (loss - self.centre[:, labels].T) / self.scale[:, labels].T
        order = percentile(loss, np.broadcast_to(self.order, (len(loss), *self.order.shape)))
        four = [category.clip(-5, 5) / 5, general.clip(-5, 5) / 5, block.entropy, order]
        stacked = np.stack([np.asarray(one, np.float32) for one in four], axis=-1)
        return resample(stacked, STEPS)


def _deviation(loss: Floats, median: NDArray[Any]) -> NDArray[Any]:
    return np.asarray(1.4826 * np.median(np.abs(loss - median), axis=0) + 1e-3)


class TrustNet(nn.Module):
    """Scalars [n, STEPS, 4] → log-odds [n] that the given label is to be trusted."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(4, 64, batch_first=True)
        self.decoder = nn.Sequential(nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
        for parameter in self.decoder[
            -1
        ].parameters():  # equal trust at first: only evidence makes a difference
            nn.init.zeros_(parameter)

    def forward(self, scalars: Tensor) -> Tensor:
        """Only the last state is decoded."""
        _, (state, _) = self.lstm(scalars)
        return self.decoder(state[0])[:, 0]  # type: ignore[no-any-return]  # torch.nn is loosely typed

    def log_odds(self, scalars: Floats) -> Floats:
        """Return the forward pass of many rows [n], in batches."""
        with torch.inference_mode():
            parts = [self(torch.from_numpy(scalars[s : s + BATCH])) for s in range(0, len(scalars), BATCH)]
        return torch.cat(parts).numpy()


def others(block: Trajectories) -> Floats:
    """Return p̄ without the given class [n, C]: of the candidates, the given one 0; the rest to 1 is of no candidate."""
    p = np.exp(block.log_p).mean(axis=1)  # [n, C]
    rest = np.maximum(1.0 - p[:, :1], p[:, 1:].sum(axis=1, keepdims=True))
    p[:, 0] = 0.0
    return np.asarray(p / np.maximum(rest, 1e-9), np.float32)


@dataclass(frozen=True, eq=False)
class Practice:
    """The target's rows as training reads them."""

    scalars: Tensor
    """[n, STEPS, 4]"""
    labels: Tensor
    """[n] given."""
    candidates: Tensor
    """[n, C]"""
    others: Tensor
    """[n, C] p̄ without the given class."""
    rows: NDArray[np.int64]
    """[n] positions in the manifest."""
    folds: Ints
    """[n]"""
    classes: int
    """K."""

    def soft_labels(self, net: TrustNet, at: NDArray[np.intp]) -> Tensor:
        """Return q [m, K] of some rows."""
        trust = torch.sigmoid(net(self.scalars[at]))[:, None]
        p = self.others[at]
        unlisted = self.classes - p.shape[1]
        rest = (1.0 - p.sum(dim=1, keepdim=True)).clamp(min=0.0) if unlisted else p.new_zeros(len(p), 1)
        wide = (rest / max(unlisted, 1)).expand(-1, self.classes).scatter(1, self.candidates[at], p)
        return (1.0 - trust) * wide + trust * self.given(at)

    def given(self, at: NDArray[np.intp]) -> Tensor:
        """Return the given labels of some rows, one-hot [m, K]."""
        return nn.functional.one_hot(self.labels[at], self.classes).float()


def smooth(q: Tensor, smoothing: float) -> Tensor:
    """Mix soft labels [n, K] with the uniform distribution."""
    return (1.0 - smoothing) * q + smoothing / q.shape[1]


def soft_cross_entropy(logits: Tensor, q: Tensor) -> Tensor:
    """Return the mean over rows of −Σ q log softmax(logits); the KL to q plus a constant."""
    return -(q * torch.log_softmax(logits, dim=1)).sum(dim=1).mean()


class Base(Protocol):
    """A base model that can look ahead. Rows [n] are positions in the manifest."""

    def fold(self, rows: NDArray[np.int64]) -> Ints:
        """Return the fold [n] of each row."""
        ...

    def inputs(self, rows: NDArray[np.int64]) -> Tensor:
        """Return what the model reads of them [n, …]."""
        ...

    def start(self, epoch: int, fold: int) -> Point:
        """Return the model that has not seen a fold, at a recorded epoch."""
        ...

    def logits(self, point: Point, inputs: Tensor) -> Tensor:
        """Return the logits [n, K] of the model at a point."""
        ...


@dataclass(frozen=True, eq=False)
class Head:
    """Heads on features as a base model."""

    heads: LinearBase
    """Of the scan."""

    def fold(self, rows: NDArray[np.int64]) -> Ints:
        """Return the fold [n]."""
        return self.heads.fold(rows)

    def inputs(self, rows: NDArray[np.int64]) -> Tensor:
        """Return standardised features [n, d]."""
        return torch.from_numpy(self.heads.features(rows))

    def start(self, epoch: int, fold: int) -> Point:
        """Return weight [d, K] and bias [K]."""
        weight, bias = (torch.from_numpy(a).requires_grad_() for a in self.heads.head(epoch, fold))
        return Point({"weight": weight, "bias": bias})

    def logits(self, point: Point, inputs: Tensor) -> Tensor:
        """Return the product [n, K]."""
        return torch.addmm(point.parameters["bias"], inputs, point.parameters["weight"])


def practise_on(sample: EvidenceChunk, block: Trajectories, base: Base, norms: PaperNorms) -> Practice:
    """Prepare rows, and one of their blocks, for training."""
    return Practice(
        torch.from_numpy(norms.scalars(block, sample.labels)), torch.from_numpy(sample.labels.astype(np.int64)),
        torch.from_numpy(sample.candidates.astype(np.int64)), torch.from_numpy(others(block)), sample.rows,
        base.fold(sample.rows), sample.classes,
    )  # fmt: skip


def fit(data: Practice, base: Base, epochs: int, recipe: PaperRecipe) -> TrustNet:
    """Train the trust net on the target, without truth; E = `epochs` are recorded. `recipe` refuses what is futile.

    Young models look ahead, see `learn.tuned.YOUNG`. With fine-tuned ones a meta step reads `recipe.images` rows.
    """
    rng = np.random.default_rng(recipe.seed)
    if isinstance(base, Head):
        some = evenly(len(data.rows), recipe.rows)
        steepest = curvature(base.inputs(data.rows[some]))
    else:
        recipe = replace(recipe, rows=recipe.images)
        steepest = steepness(data, base, young(epochs), recipe)
    rate = recipe.inner_rate / steepest

    def objective(net: TrustNet) -> Tensor:
        return look_ahead_loss(net, data, base, int(rng.integers(young(epochs))), rate, rng, recipe)

    return optimise(objective, recipe)


def curvature(x: Tensor) -> float:
    """Return an upper bound of the second derivatives of softmax regression on rows [n, d]: half the largest
    eigenvalue of their second moments, the constant column of the bias included."""
    wide = torch.cat([x, torch.ones(len(x), 1)], dim=1)
    return float(torch.linalg.matrix_norm(wide, 2)) ** 2 / len(x) / 2


def steepness(data: Practice, base: Base, epochs: int, recipe: PaperRecipe) -> float:
    """Return the largest second derivative of a support's loss at any of the first recorded epochs, for one fold."""
    fold, support, _ = split(data.folds, recipe, np.random.default_rng(recipe.seed))
    x, q = base.inputs(data.rows[support]), smooth(data.given(support), recipe.smoothing)

    def loss(point: Point) -> Tensor:
        return soft_cross_entropy(base.logits(point, x), q.to(x.device))

    return max(sharpness(loss, base.start(epoch, fold)) for epoch in range(epochs))


def optimise(objective: Callable[[TrustNet], Tensor], recipe: PaperRecipe) -> TrustNet:
    """Minimise an objective, drawn anew at each meta step: Adam, gradients clipped to norm 1."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)
        net = TrustNet()
    adam = torch.optim.Adam(net.parameters(), lr=recipe.meta_rate)
    for _ in range(recipe.meta_steps):
        adam.zero_grad()
        objective(net).backward()  # type: ignore[no-untyped-call]  # torch's own
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        adam.step()
    return net.eval()


def look_ahead_loss(
    net: TrustNet, data: Practice, base: Base, epoch: int, rate: float, rng: np.random.Generator,
    recipe: PaperRecipe,
) -> Tensor:  # fmt: skip
    """Return the outer loss of one meta step: that of the base model on the query, after its look-ahead on the support.

    The model is that of a random fold at `epoch`; the query lies inside the fold, so the model has seen neither these
    rows nor their groups and copies, and the support outside.
    """
    fold, support, query = split(data.folds, recipe, rng)
    x = base.inputs(data.rows[support])
    # Smoothed as the query is: else distrust would pay for making the model less sure, on right labels most of all.
    q = smooth(data.soft_labels(net, support), recipe.smoothing).to(x.device)
    ahead = look_ahead(
        lambda point, _: soft_cross_entropy(base.logits(point, x), q), base.start(epoch, fold),
        steps=recipe.inner_steps, rate=rate,
    )  # fmt: skip
    asked = base.logits(ahead, base.inputs(data.rows[query]))
    return soft_cross_entropy(asked, smooth(data.given(query), recipe.smoothing).to(asked.device))


def split(
    folds: Ints, recipe: PaperRecipe, rng: np.random.Generator
) -> tuple[int, NDArray[np.intp], NDArray[np.intp]]:
    """Draw a fold, support rows outside it and query rows inside, in the recipe's shares, at most `recipe.rows`."""
    fold = int(rng.choice(np.unique(folds)))
    inside, outside = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
    total = min(recipe.rows, len(outside) / recipe.support, len(inside) / (1.0 - recipe.support))
    supporting = max(1, round(total * recipe.support))
    asking = max(1, round(total * (1.0 - recipe.support)))
    return fold, rng.choice(outside, supporting, replace=False), rng.choice(inside, asking, replace=False)
