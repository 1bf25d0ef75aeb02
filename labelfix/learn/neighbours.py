"""Nearest neighbours: who votes on a label, what is a copy of what, what is unlike anything else.

Cosine on a centred projection to at most 128 dimensions. Rows of equal content are searched for once. Cost for N
contents: exact up to 20k (N² × 128 multiply-adds), above that an inverted file of about 2 √N cells of which 20 are
looked at (12 · N · √N × 128), whose vectors are held in half precision (256 bytes each).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from labelfix.arrayfile import load_arrays, save_arrays
from labelfix.learn.contents import Contents
from labelfix.learn.spacing import evenly
from labelfix.trajectories import Floats, Ints

if TYPE_CHECKING:
    from labelfix.learn.features import Features

WIDTH = 128
EXACT_UP_TO = 20_000
PROJECTED_ROWS = 2048
"""At a time: they stay in the processor's cache."""
SEARCHED = 32
"""Neighbours looked up a row; copies and group-mates are struck out, and the first k of the rest vote."""
MOST_SEARCHED = 1024
"""Looked up for rows whose first neighbours are all group-mates."""
COPY_SIMILARITY = 0.96
"""Centred cosine from which two rows may be copies (saved again, resized, taken twice) …"""
COPY_RATIO = 0.15
"""… if their distance is also below this share of the distances that are usual around both of them: scans of
one organ or digits are all alike, and still not copies."""
NARROW = 16
"""With fewer features the angle says too little: only equal rows are copies."""
HELD = ("index", "similarity", "component", "copies", "outlier", "vectors", "rows")
PROJECTED = ("projection.mean", "projection.basis")
"""Arrays in the file of neighbours."""
OUTLIER_DISTANCE = 0.5
"""Nearer than this to its neighbours, no row is an outlier."""


@dataclass(frozen=True, eq=False)
class Projection:
    """Centres features and projects them onto the leading principal directions of a sample."""

    mean: Floats
    """[d]"""
    basis: Floats
    """[d, w], w = min(d, 128)."""

    @classmethod
    def fit(cls, features: Features, rows: NDArray[np.intp]) -> Projection:
        """Fit on at most 8,192 of the given rows, evenly spaced."""
        from scipy.linalg import eigh

        some = rows[evenly(len(rows), 8192)]
        sample = features.single(some)
        mean = sample.mean(axis=0)
        sample -= mean
        width = min(WIDTH, sample.shape[1])
        leading = len(mean) - width, len(mean) - 1
        _, directions = eigh(sample.T @ sample, subset_by_index=leading, driver="evx")
        basis = directions[:, ::-1]
        signs = np.sign(basis[np.abs(basis).argmax(axis=0), np.arange(width)])
        return cls(mean, np.ascontiguousarray(basis * signs, dtype=np.float32))

    def __call__(self, features: Features, rows: NDArray[np.intp]) -> Floats:
        """Return unit vectors [n, w], read in pieces."""
        return self.project(features, rows)[0]

    def project(self, features: Features, rows: NDArray[np.intp]) -> tuple[Floats, Floats]:
        """Return unit vectors [n, w], and the share [n] of each squared length that is kept."""
        out, whole = np.empty((len(rows), self.basis.shape[1]), np.float32), np.empty(len(rows), np.float32)
        for start in range(0, len(rows), PROJECTED_ROWS):
            at = slice(start, start + PROJECTED_ROWS)
            piece = features.single(rows[at])
            piece -= self.mean
            out[at] = piece @ self.basis
            whole[at] = np.einsum("nd,nd->n", piece, piece)
        length = np.linalg.norm(out, axis=1, keepdims=True)
        out /= np.maximum(length, 1e-9)
        return out, (length[:, 0] ** 2 / np.maximum(whole, 1e-18)).clip(0.0, 1.0)


@dataclass(frozen=True, eq=False)
class Neighbours:
    """Neighbours among the n training rows; positions count training rows, not manifest rows."""

    index: Ints
    """[n, k] the nearest rows that are neither copies nor group-mates, nearest first; -1 = no more."""
    similarity: NDArray[np.float16]
    """[n, k] cosine; 0 where there is none."""
    component: Ints
    """[n] rows of one component (group or copies) share a fold."""
    copies: Ints
    """[n] number of the set of copies a row belongs to; -1 = it has none."""
    outlier: NDArray[np.bool_]
    """[n] unlike everything else, by the spread of the distances to neighbours."""
    projection: Projection
    """To find neighbours of unseen rows."""
    vectors: NDArray[np.float16]
    """[n, w] projected training rows."""
    fitted_on: str
    """Names the training rows."""
    rows: Ints
    """[n] manifest position of each row: a training row, or an unseen one that training rows vote on."""

    def votes(
        self, labels: Ints, reliability: Floats, rows: NDArray[np.intp], candidates: Ints
    ) -> tuple[Floats, Floats]:
        """Return each candidate's share [len(rows), C] of the neighbours' labels, weighted by similarity.

        The second array has each vote also multiplied by the `reliability` [n] of the neighbour's label.
        """
        index = self.index[rows]
        weight = np.where(index >= 0, np.maximum(self.similarity[rows].astype(np.float32), 0.0) + 1e-3, 0.0)
        weight /= np.maximum(weight.sum(axis=1, keepdims=True), 1e-9)
        reliable = weight * reliability[index]
        voted = np.where(index >= 0, labels[index], -1)
        shares, reliable_shares = np.empty((2, *candidates.shape), np.float32)
        for column in range(candidates.shape[1]):
            agrees = voted == candidates[:, column, None]
            shares[:, column] = np.einsum("nk,nk->n", weight, agrees)
            reliable_shares[:, column] = np.einsum("nk,nk->n", reliable, agrees)
        return shares, reliable_shares

    def take(self, rows: NDArray[np.intp]) -> Neighbours:
        """Return what is known of some of its rows; positions stay those among all training rows."""
        return replace(self, **{name: getattr(self, name)[rows] for name in HELD})

    def save(self, path: Path) -> None:
        """Write one safetensors file."""
        arrays = {name: getattr(self, name) for name in HELD}
        arrays |= dict(zip(PROJECTED, (self.projection.mean, self.projection.basis), strict=True))
        save_arrays(path, arrays, {"fitted_on": self.fitted_on})

    @classmethod
    def load(cls, path: Path) -> Neighbours:
        """Read what `save` wrote; raises InputError when the file is damaged."""
        arrays, header = load_arrays(path, "neighbours", (*HELD, *PROJECTED))
        projection = Projection(*(arrays.pop(name) for name in PROJECTED))
        return cls(**arrays, projection=projection, fitted_on=header["fitted_on"])


def find(
    features: Features, rows: NDArray[np.intp], keys: NDArray[np.uint8], groups: Ints | None,
    k: int, seed: int, fitted_on: str = "",
) -> Neighbours:  # fmt: skip
    """Find the neighbours of the given feature rows among each other.

    `rows` [n] in canonical order (so that the result does not depend on the manifest's order), `keys`
    [n, 16] content hashes, `groups` [n] group number or -1, `fitted_on` names the rows. Source of the copy
    rule: ratio test, Lowe 2004 §7.1.
    """
    projection = Projection.fit(features, rows)
    contents = Contents.of(keys)
    first, number = contents.first, contents.number
    vectors, explained = projection.project(features, rows[first])
    search = _searcher(vectors, seed)
    similarity, index = search(vectors, min(SEARCHED, len(first)))
    one, other = contents.equal
    if vectors.shape[1] >= NARROW:
        near_one, near_other = _near_copies(similarity, index)
        one, other = np.concatenate([one, first[near_one]]), np.concatenate([other, first[near_other]])
    copies = component = components(len(rows), one, other)
    if groups is not None:
        grouped = np.flatnonzero(groups >= 0)
        order = grouped[np.argsort(groups[grouped], kind="stable")]
        chained = groups[order[1:]] == groups[order[:-1]]
        component = components(
            len(rows), np.concatenate([one, order[:-1][chained]]), np.concatenate([other, order[1:][chained]])
        )
    nearest, near = strike_out(similarity, index, component[first], component[first], k)
    again = lambda some: search(vectors[some], min(MOST_SEARCHED, len(first)))  # noqa: E731
    look_farther(nearest, near, again, component[first], component[first])
    sizes = np.bincount(copies, minlength=1)
    held = vectors.astype(np.float16)
    if len(first) < len(rows):
        nearest, near, explained, held = nearest[number], near[number], explained[number], held[number]
    return Neighbours(
        contents.in_turn(nearest, np.arange(len(rows))), near, component,
        np.where(sizes[copies] > 1, copies, -1).astype(np.int32),
        _outliers(near, nearest >= 0, explained), projection, held, fitted_on, rows.astype(np.int32),
    )  # fmt: skip


def look_farther(
    nearest: Ints, near: NDArray[np.float16],
    search: Callable[[NDArray[np.intp]], tuple[Floats, NDArray[np.int64]]], component: Ints, own: Ints,
) -> None:  # fmt: skip
    """Fill up rows of `nearest` and `near` [n, k], in place, whose first neighbours were all of their own component.

    `search` finds more neighbours of some rows; components as in `strike_out`.
    """
    k, parts = nearest.shape[1], int(max(component.max(initial=0), own.max(initial=0))) + 1
    short = np.flatnonzero(
        (nearest[:, -1] < 0) & (np.bincount(component, minlength=parts)[own] > SEARCHED - k)
    )
    for start in range(0, len(short), 1024):
        some = short[start : start + 1024]
        nearest[some], near[some] = strike_out(*search(some), component, own[some], k)


def strike_out(
    similarity: Floats, index: NDArray[np.int64], component: Ints, own: Ints, k: int
) -> tuple[Ints, NDArray[np.float16]]:
    """Return index and similarity of the first k [n, k] of what was found, without rows' own components; -1 = no more.

    `component` [N] is of the rows found, `own` [n] of those that they were found for.
    """
    allowed = (index >= 0) & (component[index] != own[:, None])
    position = np.argsort(~allowed, axis=1, kind="stable")[:, :k]
    kept = np.take_along_axis(allowed, position, axis=1)
    nearest = np.full((len(index), k), -1, np.int32)
    near = np.zeros((len(index), k), np.float16)
    nearest[:, : kept.shape[1]] = np.where(kept, np.take_along_axis(index, position, axis=1), -1)
    near[:, : kept.shape[1]] = np.where(kept, np.take_along_axis(similarity, position, axis=1), 0.0)
    return nearest, near


def _searcher(vectors: Floats, seed: int) -> Callable[[Floats, int], tuple[Floats, NDArray[np.int64]]]:
    """Index vectors [N, w]; the function returned finds similarity and index [n, k] of queries; -1 = none."""
    import faiss

    rows, width = vectors.shape
    if rows <= EXACT_UP_TO:
        index: Any = faiss.IndexFlatIP(width)
    else:
        cells = int(2 * np.sqrt(rows))
        quantiser = faiss.IndexFlatIP(width)
        half = faiss.ScalarQuantizer.QT_fp16
        index = faiss.IndexIVFScalarQuantizer(quantiser, width, cells, half, faiss.METRIC_INNER_PRODUCT)
        index.cp.seed = seed + 1
        index.cp.niter = 6
        index.nprobe = 20
        index.train(vectors[:: max(1, rows // (40 * cells))])
    index.add(vectors)

    def search(queries: Floats, k: int) -> tuple[Floats, NDArray[np.int64]]:
        if rows <= EXACT_UP_TO:
            similarity, found = index.search(queries, k)
        else:  # cell by cell: what one query has read is in the processor's cache for the next
            order = np.argsort(index.quantizer.search(queries, 1)[1][:, 0], kind="stable")
            similarity, found = np.empty((len(queries), k), np.float32), np.empty((len(queries), k), np.int64)
            similarity[order], found[order] = index.search(queries[order], k)
        return np.where(found >= 0, similarity, 0.0), found

    return search


def _near_copies(similarity: Floats, index: NDArray[np.int64]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Pairs of contents that show the same thing: far nearer than others around them are."""
    distance = np.where((index >= 0) & (index != np.arange(len(index))[:, None]), 1.0 - similarity, np.inf)
    nearest_first = np.sort(distance, axis=1)
    found = np.isfinite(nearest_first)
    sixth = nearest_first[:, min(5, index.shape[1] - 1)]
    sixth = sixth[np.isfinite(sixth)]
    typical = min(float(np.median(sixth)), 1.0) if len(sixth) else 0.0
    # Usual around a row: its farthest neighbour found. Many copies fill the whole list, hence the floor.
    around = np.where(found, nearest_first, 0.0).max(axis=1).clip(typical / 4, typical)
    usual = np.minimum(around[:, None], around[index])
    one, column = np.nonzero(is_copy(distance, usual))
    return one, index[one, column]


def is_copy(distance: Floats, usual: Floats | np.floating[Any]) -> NDArray[np.bool_]:
    """Say of distances whether they are those of copies, given what is usual around both rows."""
    return np.asarray(distance <= np.minimum(1.0 - COPY_SIMILARITY, COPY_RATIO * usual))


def components(rows: int, one: NDArray[np.intp], other: NDArray[np.intp]) -> Ints:
    """Return the number of the connected component of each of so many rows, tied in pairs."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    graph = coo_array((np.ones(len(one), np.int8), (one, other)), shape=(rows, rows))
    return connected_components(graph, directed=False)[1].astype(np.int32)  # type: ignore[no-any-return]


def _outliers(near: NDArray[np.float16], kept: NDArray[np.bool_], explained: Floats) -> NDArray[np.bool_]:
    """Rows far from their neighbours and badly described by the directions in which the others differ."""
    distance = outlier_distance(near, kept, explained)
    return (distance > outlier_fence(distance, kept)) & (distance > OUTLIER_DISTANCE)


def outlier_distance(near: NDArray[np.float16], kept: NDArray[np.bool_], explained: Floats) -> Floats:
    """Return 1 − mean similarity × share explained [n]; 0 for a row whose neighbours are all struck out."""
    count = kept.sum(axis=1)
    mean = near.sum(axis=1, dtype=np.float32) / np.maximum(count, 1)
    return np.asarray(np.where(count > 0, 1.0 - mean * explained, 0.0), np.float32)


def outlier_fence(distance: Floats, kept: NDArray[np.bool_]) -> float:
    """Return an interquartile range above the upper quartile of distances [n].

    The fences of Tukey 1977, closer because this distance hardly exceeds 1.
    """
    told = distance[kept.any(axis=1)]
    low, high = np.quantile(told, [0.25, 0.75]) if len(told) else (0.0, 0.0)
    return float(high + (high - low))
