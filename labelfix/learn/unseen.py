"""Unseen rows: a batch that came later, seen through what a reference keeps of its training rows.

A row meets the one head that saw neither it nor a copy or group-mate of it, and its neighbours are training rows. Work
for a row: one multiplication a checkpoint, and what the second learner takes (`kernel`).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from labelfix.answers import NOTHING, Told
from labelfix.coanswers import Items
from labelfix.evidence import EvidenceChunk, LinearBase
from labelfix.learn import neighbours
from labelfix.learn.backbone import choose_device, choose_dtype
from labelfix.learn.kernel import Kernel
from labelfix.learn.neighbours import Neighbours
from labelfix.learn.probe import Heads
from labelfix.learn.recipe import Recipe
from labelfix.learn.replay import CHUNK_FLOATS, CHUNK_ROWS, Replay, likeliest, log_softmax
from labelfix.learn.spacing import evenly
from labelfix.trajectories import FLOOR, Floats, Ints, belief, summarise

if TYPE_CHECKING:
    from labelfix.learn.features import Features

BELIEVED_ROWS = 2048
"""Training rows whose labels all heads look at together: their features stay in the processor's cache."""

USUAL, DIRECTIONS, QUANTILES = 8192, 16, 257
"""Training rows, projected directions and quantiles that say what features are usual."""


@dataclass(eq=False)
class Unseen:
    """Evidence of n unseen rows, for `scoring.score`: no in-sample block, and nothing to fit on."""

    rows: NDArray[np.int64]
    """[n] manifest position of each."""
    labels: Ints
    """[n] given class, numbered as the reference does."""
    classes: int
    """K of the reference."""
    fitted_on: str
    """Names the reference's rows."""
    progress: dict[str, list[float]]
    """Share of training done at each recorded epoch, by block."""
    features: Features | None = None
    """By manifest position."""
    heads: Heads | None = None
    """Of the reference; None where only probabilities are given, as are the next four."""
    folds: Ints | None = None
    """[n] whose head judges each row."""
    neighbours: Neighbours | None = None
    """[n] training rows that vote on each."""
    voters: Ints | None = None
    """[m] labels of the training rows."""
    reliability: Floats | None = None
    """[F, m] how far the head that judges a fold believes each of them."""
    given: NDArray[np.floating] | None = None
    """[N, K] the user's own probabilities, by manifest position; they take the place of the heads'."""
    base: LinearBase | None = None
    """Nothing is trained on unseen rows."""
    told: Told = NOTHING
    """What annotators said of the reference is in the states that were fitted there."""
    tuned: None = None
    """Nor do whole models look at them."""
    kernel: Kernel | None = None
    """Of the reference."""
    items: Items | None = None
    """Who gave the labels, by manifest position."""

    @property
    def epochs(self) -> int:
        """E."""
        return len(self.progress["out_of_fold"])

    @property
    def present(self) -> frozenset[str]:
        """Kinds of evidence that are there."""
        kinds = {"trajectories", "out_of_fold"}
        kinds |= {"kernel"} if self.kernel is not None else set()
        kinds |= {"annotators"} if self.items is not None else set()
        return frozenset(kinds | ({"neighbours"} if self.neighbours is not None else set()))

    def __len__(self) -> int:
        return len(self.rows)

    def answered(self) -> None:
        """Nobody was asked about unseen rows."""

    def sample(self, rows: int, asked: bool = False) -> EvidenceChunk:  # noqa: ARG002 (Protocol)
        """Return the first chunk's rows, at most this many: nothing is fitted on unseen rows."""
        first = next(self.chunks())
        return first.take(np.arange(min(rows, len(first))))

    def chunks(self) -> Iterator[EvidenceChunk]:
        """Yield all rows, fold by fold."""
        size = max(1, min(CHUNK_ROWS, CHUNK_FLOATS // (self.epochs * self.classes)))
        if self.heads is None or self.folds is None or self.features is None:
            for start in range(0, len(self), size):
                at = np.arange(start, min(start + size, len(self)))
                p = self._given_at(at)
                yield self._chunk(at, np.log(np.maximum(p, np.exp(FLOOR)))[:, None, :], p, 0)
            return
        for fold in np.unique(self.folds):
            weight, bias = self.heads.out_of_fold(int(fold))
            members = np.flatnonzero(self.folds == fold)
            for start in range(0, len(members), size):
                at = members[start : start + size]
                x = self.features.single(self.rows[at])
                log_p = log_softmax((x @ weight + bias).reshape(len(at), -1, self.classes))
                p = np.exp(log_p[:, -1]) if self.given is None else self._given_at(at)
                chunk = self._chunk(at, log_p, p, int(fold))
                if self.kernel is not None:
                    chunk = replace(chunk, kernel=self.kernel.scores(x, int(fold), chunk.candidates))
                yield chunk

    def _given_at(self, at: NDArray[np.intp]) -> Floats:
        assert self.given is not None
        return self.given[self.rows[at]].astype(np.float32)

    def _chunk(self, at: NDArray[np.intp], log_p: Floats, p: Floats, fold: int) -> EvidenceChunk:
        labels, named = self.labels[at], None
        if self.neighbours is not None and self.voters is not None:
            index = self.neighbours.index[at]
            named = np.where(index >= 0, self.voters[index], -1)
        others = None if self.items is None else self.items.beside(self.rows[at])
        candidates = likeliest(labels, np.exp(log_p).mean(axis=1), named, others)
        votes = reliable = None
        if self.neighbours is not None and self.voters is not None and self.reliability is not None:
            votes, reliable = self.neighbours.votes(self.voters, self.reliability[fold], at, candidates)
        block = summarise(log_p, candidates)
        told = None, block, p, votes, reliable
        return EvidenceChunk(self.rows[at], labels, self.classes, candidates, *told, others=others)


def blind_reliability(
    heads: Heads, features: Features, rows: NDArray[np.intp], labels: Ints, trusted: NDArray[np.bool_] | None,
    recipe: Recipe,
) -> Floats:  # fmt: skip
    """Return how far the head that judges each fold believes the labels of training rows [F, n], 0 … 1.

    A row's neighbours must not be believed by a head that saw the row's own label, or training rows would look better
    supported than unseen ones. A trusted label is believed. This is the most multiplications after training, n × d ×
    F·E·K, and a belief bears the recipe's precision.
    """
    import torch

    device = choose_device(recipe)
    dtype = choose_dtype(recipe, device)
    F, E, K = heads.folds, heads.epochs, heads.classes
    believed = np.empty((F, len(rows)), np.float32)
    size = max(1, min(BELIEVED_ROWS, CHUNK_FLOATS // (F * E * K)))
    centre, spread = (torch.from_numpy(each).to(device) for each in (heads.mean, heads.scale))
    weight = torch.from_numpy(heads.weight).to(device, dtype).permute(2, 1, 0, 3).reshape(-1, F * E * K)
    bias = torch.from_numpy(heads.bias).to(device).transpose(0, 1).reshape(-1)
    given = torch.from_numpy(labels.astype(np.int64)).to(device)
    for start in range(0, len(rows), size):
        at = slice(start, start + size)
        x = torch.from_numpy(features.take(rows[at])).to(device).float().sub_(centre).div_(spread)
        scores = (x.to(dtype) @ weight).float().add_(bias).view(-1, F, E, K)
        own = given[at, None, None, None].expand(-1, F, E, 1)
        label = scores.gather(3, own)[..., 0]
        rival = scores.scatter_(3, own, -torch.inf).amax(dim=3)
        believed[:, at] = belief((label - rival).mean(dim=2).T.cpu().numpy())
    return believed if trusted is None else np.where(trusted, np.float32(1.0), believed)


def as_if_unseen(evidence: Replay, reliability: Floats | None, count: int) -> tuple[Unseen, NDArray[np.intp]]:
    """Return at most `count` training rows as unseen ones, and their positions, evenly spaced by content hash."""
    picked = evenly(len(evidence), count)
    rows, labels = evidence.rows[picked].astype(np.int64), evidence.labels[picked]
    named = rows, labels, evidence.classes, evidence.fitted_on, evidence.progress
    brought: dict[str, Any] = {"given": evidence.given, "items": evidence.items}
    if evidence.heads is None or evidence.folds is None or evidence.neighbours is None:
        return Unseen(*named, **brought), picked
    near = evidence.neighbours.take(picked)
    seen = Unseen(
        *named, evidence.features, evidence.heads, evidence.folds[picked], near, evidence.labels, reliability,
        kernel=evidence.kernel, **brought,
    )  # fmt: skip
    return seen, picked


def surroundings(found: Neighbours, features: Features, rows: NDArray[np.intp]) -> tuple[Floats, float]:
    """Return what is usual among training rows [n], the rows of `features` that `found` is about.

    Quantiles [D, Q] of the leading projected directions, and the fence beyond which a distance is an outlier's.
    """
    some = evenly(len(rows), USUAL)
    vectors, explained = found.projection.project(features, rows[some])
    kept = found.index[some] >= 0
    distance = neighbours.outlier_distance(found.similarity[some], kept, explained)
    quantiles = np.quantile(vectors[:, :DIRECTIONS], np.linspace(0.0, 1.0, QUANTILES), axis=0)
    return quantiles.T.astype(np.float32), neighbours.outlier_fence(distance, kept)
