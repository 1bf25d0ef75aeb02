"""Unseen rows: a batch that came later, seen through what a reference keeps of its training rows.

A row meets the one head that saw neither it nor a copy or group-mate of it, and its neighbours are training rows. Work
for n rows against N: n × N × 128 multiply-adds for neighbours, exact, and one multiplication a checkpoint.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from labelfix.answers import NOTHING, Told
from labelfix.evidence import EvidenceChunk, LinearBase
from labelfix.learn import neighbours, probe
from labelfix.learn.backbone import choose_device, choose_dtype
from labelfix.learn.neighbours import Neighbours, Projection
from labelfix.learn.probe import Heads
from labelfix.learn.recipe import Recipe
from labelfix.learn.replay import CHUNK_FLOATS, CHUNK_ROWS, Replay, likeliest, log_softmax
from labelfix.trajectories import FLOOR, Floats, Ints, belief, summarise

if TYPE_CHECKING:
    from labelfix.learn.features import Features

PIECE = 100_000
"""Training rows whose vectors are unpacked at a time."""

BELIEVED_ROWS = 2048
"""Training rows whose labels all heads look at together: their features stay in the processor's cache."""

USUAL, DIRECTIONS, QUANTILES = 8192, 16, 257
"""Training rows, projected directions and quantiles that say what features are usual."""

Keys = NDArray[np.uint8]
Pairs = tuple[NDArray[np.intp], NDArray[np.intp]]


@dataclass(frozen=True, eq=False)
class Known:
    """What is kept of n training rows, in canonical order, to look at unseen ones."""

    keys: Keys
    """[n, 16] content hashes."""
    groups: Keys
    """[n, 16] hash of each row's group; zeros where it has none."""
    folds: Ints
    """[n]"""
    labels: Ints
    """[n] given class."""
    component: Ints
    """[n] rows of one component (group or copies) share a fold."""
    reliability: Floats
    """[F, n] how far the head that judges a fold believes each label, 0 … 1."""
    around: Floats
    """[n] distance that is usual around each row, for the rule that says what is a copy."""
    vectors: NDArray[np.int8]
    """[n, w] projected rows, in steps of `step`."""
    step: Floats
    """[w]"""
    projection: Projection
    """What projected them."""
    heads: Heads
    """Checkpoints."""
    fence: float
    """Farther from its neighbours than this, a row is an outlier."""
    k: int
    """Neighbours that vote."""

    def __len__(self) -> int:
        return len(self.keys)


@dataclass(frozen=True, eq=False)
class Met:
    """Where n unseen rows stand among the training rows."""

    folds: Ints
    """[n] whose head judges each; -1 where every head has seen something of the row."""
    neighbours: Neighbours
    """Training rows that vote on each; `copies` are among the unseen rows themselves."""
    copy_of: NDArray[np.int64]
    """[n] a training row that shows the same thing; -1 = none."""


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
    """[N, K] the user's own probabilities, by manifest position."""
    base: LinearBase | None = None
    """Nothing is trained on unseen rows."""
    told: Told = NOTHING
    """What annotators said of the reference is in the states that were fitted there."""
    tuned: None = None
    """Nor do whole models look at them."""

    @property
    def epochs(self) -> int:
        """E."""
        return len(self.progress["out_of_fold"])

    @property
    def present(self) -> frozenset[str]:
        """Kinds of evidence that are there."""
        kinds = {"trajectories", "out_of_fold"}
        return frozenset(kinds | ({"neighbours"} if self.neighbours is not None else set()))

    def __len__(self) -> int:
        return len(self.rows)

    def answered(self) -> None:
        """Nobody was asked about unseen rows."""

    def sample(self, rows: int) -> EvidenceChunk:
        """Return the first chunk's rows, at most this many."""
        first = next(self.chunks())
        return first.take(np.arange(min(rows, len(first))))

    def chunks(self) -> Iterator[EvidenceChunk]:
        """Yield all rows, fold by fold."""
        size = max(1, min(CHUNK_ROWS, CHUNK_FLOATS // (self.epochs * self.classes)))
        if self.heads is None or self.folds is None or self.features is None:
            assert self.given is not None
            for start in range(0, len(self), size):
                at = np.arange(start, min(start + size, len(self)))
                p = self.given[self.rows[at]].astype(np.float32)
                yield self._chunk(at, np.log(np.maximum(p, np.exp(FLOOR)))[:, None, :], p, 0)
            return
        for fold in np.unique(self.folds):
            weight, bias = self.heads.out_of_fold(int(fold))
            members = np.flatnonzero(self.folds == fold)
            for start in range(0, len(members), size):
                at = members[start : start + size]
                x = self.features.single(self.rows[at])
                log_p = log_softmax((x @ weight + bias).reshape(len(at), -1, self.classes))
                yield self._chunk(at, log_p, np.exp(log_p[:, -1]), int(fold))

    def _chunk(self, at: NDArray[np.intp], log_p: Floats, p: Floats, fold: int) -> EvidenceChunk:
        labels, named = self.labels[at], None
        if self.neighbours is not None and self.voters is not None:
            index = self.neighbours.index[at]
            named = np.where(index >= 0, self.voters[index], -1)
        candidates = likeliest(labels, np.exp(log_p).mean(axis=1), named)
        votes = reliable = None
        if self.neighbours is not None and self.voters is not None and self.reliability is not None:
            votes, reliable = self.neighbours.votes(self.voters, self.reliability[fold], at, candidates)
        block = summarise(log_p, candidates)
        return EvidenceChunk(self.rows[at], labels, self.classes, candidates, None, block, p, votes, reliable)


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
    picked = np.unique(np.linspace(0, len(evidence) - 1, min(count, len(evidence))).astype(np.intp))
    rows, labels = evidence.rows[picked].astype(np.int64), evidence.labels[picked]
    named = rows, labels, evidence.classes, evidence.fitted_on, evidence.progress
    if evidence.heads is None or evidence.folds is None or evidence.neighbours is None:
        return Unseen(*named, given=evidence.given), picked
    near = evidence.neighbours.take(picked)
    seen = Unseen(
        *named, evidence.features, evidence.heads, evidence.folds[picked], near, evidence.labels, reliability
    )
    return seen, picked


def surroundings(found: Neighbours, features: Features, rows: NDArray[np.intp]) -> tuple[Floats, float]:
    """Return what is usual among training rows [n], the rows of `features` that `found` is about.

    Quantiles [D, Q] of the leading projected directions, and the fence beyond which a distance is an outlier's.
    """
    some = np.linspace(0, len(rows) - 1, min(len(rows), USUAL)).astype(np.intp)
    vectors, explained = found.projection.project(features, rows[some])
    kept = found.index[some] >= 0
    distance = neighbours.outlier_distance(found.similarity[some], kept, explained)
    quantiles = np.quantile(vectors[:, :DIRECTIONS], np.linspace(0.0, 1.0, QUANTILES), axis=0)
    return quantiles.T.astype(np.float32), neighbours.outlier_fence(distance, kept)


def meet(known: Known, features: Features, rows: NDArray[np.intp], keys: Keys, groups: Keys) -> Met:
    """Find neighbours, copies and heads of unseen rows [n]; `keys` and `groups` [n, 16] as in `Known`.

    Copies among the rows themselves and of training rows are told by one rule (`neighbours.find`). A row's fold is that
    of the training rows that it, or a copy of it in the batch, is a copy or group-mate of; without any, a hash.
    """
    vectors, explained = known.projection.project(features, rows)
    wanted = min(neighbours.SEARCHED, len(known))
    similarity, index = _search(known, vectors, wanted)
    one, other = _copies_of_known(known, similarity, index, vectors.shape[1])
    one, other = _joined((one, other), _equal(keys, known.keys))
    copy_of = np.full(len(rows), -1, np.int64)
    copy_of[one] = other
    one, other = _joined((one, other), _equal(groups, known.groups))
    within = _copies_within(known, vectors, keys)
    n, parts = len(rows), int(known.component.max(initial=-1)) + 1
    linked = neighbours.components(
        n + parts,
        np.concatenate([one, within[0]]),
        np.concatenate([n + known.component[other].astype(np.intp), within[1]]),
    )
    of_row, of_part = linked[:n], linked[n:]
    folds = _folds(known, of_row, of_part, keys, groups)
    allowed = (index >= 0) & (of_part[known.component[index]] != of_row[:, None])
    nearest, near = neighbours.first_allowed(similarity, index, allowed, known.k)
    alike = neighbours.components(n, *within)
    size = np.bincount(alike, minlength=1)
    distance = neighbours.outlier_distance(near, nearest >= 0, explained)
    found = Neighbours(
        nearest, near, of_row, np.where(size[alike] > 1, alike, -1).astype(np.int32),
        (distance > known.fence) & (distance > neighbours.OUTLIER_DISTANCE),
        known.projection, vectors.astype(np.float16), known.heads.fitted_on, rows.astype(np.int32),
    )  # fmt: skip
    return Met(folds, found, copy_of)


def _joined(one: Pairs, other: Pairs) -> Pairs:
    return np.concatenate([one[0], other[0]]), np.concatenate([one[1], other[1]])


def _folds(known: Known, of_row: Ints, of_part: Ints, keys: Keys, groups: Keys) -> Ints:
    """Return the fold of each row; -1 where it is tied to training rows of several folds."""
    alone, names = (
        np.arange(len(keys), dtype=np.int32),
        np.where(groups.any(axis=1, keepdims=True), groups, keys),
    )
    named = probe.assign_folds(alone, names, known.heads.folds)
    networks = int(max(of_row.max(initial=-1), of_part.max(initial=-1))) + 1
    low, high = np.full(networks, known.heads.folds), np.full(networks, -1)
    network = of_part[known.component]
    np.minimum.at(low, network, known.folds)
    np.maximum.at(high, network, known.folds)
    least, most = low[of_row], high[of_row]
    tied = most >= 0
    return np.where(~tied, named, np.where(least == most, most, -1)).astype(np.int32)


def _search(known: Known, vectors: Floats, k: int) -> tuple[Floats, NDArray[np.int64]]:
    """Return similarity and position [n, k] of the nearest training rows, exactly, piece by piece."""
    import faiss

    best = np.full((len(vectors), 0), 0.0, np.float32)
    found = np.full((len(vectors), 0), 0, np.int64)
    for start in range(0, len(known), PIECE):
        piece = known.vectors[start : start + PIECE].astype(np.float32) * known.step
        near, at = faiss.knn(vectors, piece, min(k, len(piece)), metric=faiss.METRIC_INNER_PRODUCT)
        best, found = np.concatenate([best, near], axis=1), np.concatenate([found, at + start], axis=1)
        order = np.argsort(-best, axis=1, kind="stable")[:, :k]
        best, found = np.take_along_axis(best, order, axis=1), np.take_along_axis(found, order, axis=1)
    return best, found


def _copies_of_known(known: Known, similarity: Floats, index: NDArray[np.int64], width: int) -> Pairs:
    if width < neighbours.NARROW:
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    distance = 1.0 - similarity
    own = _usual(known, distance)
    near = neighbours.is_copy(distance, np.minimum(own[:, None], known.around[index]))
    one, column = np.nonzero(near)
    return one, index[one, column].astype(np.intp)


def _copies_within(known: Known, vectors: Floats, keys: Keys) -> Pairs:
    """Return pairs of unseen rows that show the same thing."""
    import faiss

    order = np.lexsort(keys.T[::-1])
    equal = (keys[order[1:]] == keys[order[:-1]]).all(axis=1)
    one, other = order[:-1][equal], order[1:][equal]
    if vectors.shape[1] < neighbours.NARROW or len(vectors) < 2:
        return one, other
    wanted = min(neighbours.SEARCHED, len(vectors))
    similarity, index = faiss.knn(vectors, vectors, wanted, metric=faiss.METRIC_INNER_PRODUCT)
    # What is usual around a row is said by the training rows: a batch may be one burst of equal images.
    usual = np.float32(np.median(known.around))
    near = neighbours.is_copy(1.0 - similarity, usual) & (index != np.arange(len(vectors))[:, None])
    a, column = np.nonzero(near)
    return np.concatenate([one, a]), np.concatenate([other, index[a, column].astype(np.intp)])


def _usual(known: Known, distance: Floats) -> Floats:
    typical = np.float32(np.median(known.around))
    return np.asarray(distance.max(axis=1).clip(typical / 4, typical), np.float32)


def _equal(mine: Keys, theirs: Keys) -> Pairs:
    """Return pairs (row of `mine`, first row of `theirs`) that are equal and not zero."""
    a, b = (np.ascontiguousarray(keys).view("S16").reshape(-1) for keys in (mine, theirs))
    order = np.argsort(b, kind="stable")
    at = np.searchsorted(b[order], a).clip(max=len(b) - 1)
    rows = np.flatnonzero(mine.any(axis=1) & (b[order][at] == a))
    return rows, order[at[rows]]
