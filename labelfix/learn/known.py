"""Known rows: what a reference keeps of its training rows, and where unseen rows stand among them.

Work for n rows against N: n × N × 128 multiply-adds for neighbours, exact.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from labelfix.learn import neighbours, probe
from labelfix.learn.contents import Contents
from labelfix.learn.kernel import Kernel
from labelfix.learn.neighbours import Neighbours, Projection
from labelfix.learn.probe import Heads
from labelfix.trajectories import Floats, Ints

if TYPE_CHECKING:
    from labelfix.learn.features import Features

PIECE = 100_000
"""Training rows whose vectors are unpacked at a time."""

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
    kernel: Kernel | None
    """Regressions on the same features; None where no corrector asked for them."""
    fence: float
    """Farther from its neighbours than this, a row is an outlier."""
    k: int
    """Neighbours that vote."""

    def __len__(self) -> int:
        return len(self.keys)

    @cached_property
    def contents(self) -> Contents:
        """Which training rows show the very same thing."""
        return Contents.of(self.keys)


@dataclass(frozen=True, eq=False)
class Met:
    """Where n unseen rows stand among the training rows."""

    folds: Ints
    """[n] whose head judges each; -1 where every head has seen something of the row."""
    neighbours: Neighbours
    """Training rows that vote on each; `copies` are among the unseen rows themselves."""
    copy_of: NDArray[np.int64]
    """[n] a training row that shows the same thing; -1 = none."""


def meet(known: Known, features: Features, rows: NDArray[np.intp], keys: Keys, groups: Keys) -> Met:
    """Find neighbours, copies and heads of unseen rows [n]; `keys` and `groups` [n, 16] as in `Known`.

    Copies among the rows themselves and of training rows are told by one rule (`neighbours.find`). A row's fold is that
    of the training rows that it, or a copy of it in the batch, is a copy or group-mate of; without any, a hash.
    """
    vectors, explained = known.projection.project(features, rows)
    contents = known.contents
    first = contents.first
    wanted = min(neighbours.SEARCHED, len(contents))
    similarity, index = _search(known, vectors, wanted)
    one, other = _copies_of_known(known, similarity, index, vectors.shape[1])
    one, other = _joined((one, other), equal(keys, known.keys))
    copy_of = np.full(len(rows), -1, np.int64)
    copy_of[one] = other
    one, other = _joined((one, other), equal(groups, known.groups))
    within = _copies_within(known, vectors, keys)
    n, parts = len(rows), int(known.component.max(initial=-1)) + 1
    linked = neighbours.components(
        n + parts,
        np.concatenate([one, within[0]]),
        np.concatenate([n + known.component[other].astype(np.intp), within[1]]),
    )
    of_row, of_part = linked[:n], linked[n:]
    folds = _folds(known, of_row, of_part, keys, groups)
    component = of_part[known.component]
    nearest, near = neighbours.strike_out(similarity, index, component[first], of_row, known.k)
    more = min(neighbours.MOST_SEARCHED, len(contents))
    neighbours.look_farther(
        nearest, near, lambda some: _search(known, vectors[some], more), component[first], of_row
    )
    alike = neighbours.components(n, *within)
    size = np.bincount(alike, minlength=1)
    distance = neighbours.outlier_distance(near, nearest >= 0, explained)
    found = Neighbours(
        contents.in_turn(nearest, np.arange(n)), near, of_row, np.where(size[alike] > 1, alike, -1).astype(np.int32),
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
    """Return similarity and number [n, k] of the nearest contents of training rows, exactly, piece by piece."""
    import faiss

    first = known.contents.first
    best = np.full((len(vectors), 0), 0.0, np.float32)
    found = np.full((len(vectors), 0), 0, np.int64)
    for start in range(0, len(first), PIECE):
        piece = known.vectors[first[start : start + PIECE]].astype(np.float32) * known.step
        near, at = faiss.knn(vectors, piece, min(k, len(piece)), metric=faiss.METRIC_INNER_PRODUCT)
        best, found = np.concatenate([best, near], axis=1), np.concatenate([found, at + start], axis=1)
        order = np.argsort(-best, axis=1, kind="stable")[:, :k]
        best, found = np.take_along_axis(best, order, axis=1), np.take_along_axis(found, order, axis=1)
    return best, found


def _copies_of_known(known: Known, similarity: Floats, index: NDArray[np.int64], width: int) -> Pairs:
    if width < neighbours.NARROW:
        return np.zeros(0, np.intp), np.zeros(0, np.intp)
    distance = 1.0 - similarity
    own, first = _usual(known, distance), known.contents.first
    near = neighbours.is_copy(distance, np.minimum(own[:, None], known.around[first[index]]))
    one, column = np.nonzero(near)
    return one, first[index[one, column]]


def _copies_within(known: Known, vectors: Floats, keys: Keys) -> Pairs:
    """Return pairs of unseen rows that show the same thing."""
    import faiss

    contents = Contents.of(keys)
    if vectors.shape[1] < neighbours.NARROW or len(contents) < 2:
        return contents.equal
    first = contents.first
    wanted = min(neighbours.SEARCHED, len(contents))
    similarity, index = faiss.knn(vectors[first], vectors[first], wanted, metric=faiss.METRIC_INNER_PRODUCT)
    # What is usual around a row is said by the training rows: a batch may be one burst of equal images.
    usual = np.float32(np.median(known.around))
    near = neighbours.is_copy(1.0 - similarity, usual) & (index != np.arange(len(contents))[:, None])
    one, column = np.nonzero(near)
    return _joined(contents.equal, (first[one], first[index[one, column]]))


def _usual(known: Known, distance: Floats) -> Floats:
    typical = np.float32(np.median(known.around))
    return np.asarray(distance.max(axis=1).clip(typical / 4, typical), np.float32)


def equal(mine: Keys, theirs: Keys) -> Pairs:
    """Return pairs (row of `mine`, first row of `theirs`) that are equal and not zero."""
    a, b = (np.ascontiguousarray(keys).view("S16").reshape(-1) for keys in (mine, theirs))
    order = np.argsort(b, kind="stable")
    at = np.searchsorted(b[order], a).clip(max=len(b) - 1)
    rows = np.flatnonzero(mine.any(axis=1) & (b[order][at] == a))
    return rows, order[at[rows]]
