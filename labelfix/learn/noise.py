"""Noise families: ways in which labels go wrong, for source tasks and benchmarks where the truth is known.

Each takes features [n, d], true labels [n], K, the wanted rate of wrong labels and a generator, and returns given
labels [n]. The rate is met closely, not exactly.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from labelfix.trajectories import Floats, Ints

Generator = np.random.Generator
Family = Callable[[Floats, Ints, int, float, Generator], Ints]


def symmetric(x: Floats, y: Ints, K: int, rate: float, rng: Generator) -> Ints:  # noqa: ARG001 (Family)
    """Flip to any other class with equal probability."""
    return np.where(rng.random(len(y)) < rate, (y + rng.integers(1, K, len(y))) % K, y).astype(np.int32)


def pair(x: Floats, y: Ints, K: int, rate: float, rng: Generator) -> Ints:  # noqa: ARG001 (Family)
    """Flip each class to one partner; some classes err more than others."""
    cycle = rng.permutation(K)
    partner = np.empty(K, np.int32)
    partner[cycle] = np.roll(cycle, 1)
    weight = rng.gamma(2.0, size=K)
    return _flip(y, weight[y], partner[y], rate, rng)


def similarity(x: Floats, y: Ints, K: int, rate: float, rng: Generator) -> Ints:
    """Flip to a class drawn by how near its centroid is."""
    centres = np.stack([x[y == k].mean(axis=0) if (y == k).any() else np.zeros(x.shape[1]) for k in range(K)])
    distance = np.linalg.norm(centres[:, None] - centres[None], axis=2)
    np.fill_diagonal(distance, np.inf)
    sharpness = rng.uniform(1.0, 6.0) / np.median(distance[np.isfinite(distance)])
    odds = np.exp(-(distance - distance.min(axis=1, keepdims=True)) * sharpness)
    return _flip(y, np.ones(len(y)), _draw(odds[y], rng), rate, rng)


def boundary(x: Floats, y: Ints, K: int, rate: float, rng: Generator) -> Ints:
    """Flip to the runner-up of a good classifier, more often where it is unsure (instance-dependent)."""
    p = _posterior(x, y, K, rng, share=1.0, rows=1.0)
    p[np.arange(len(y)), y] = 0.0
    return _flip(y, p.sum(axis=1) + 1e-4, p.argmax(axis=1).astype(np.int32), rate, rng)


def instance(x: Floats, y: Ints, K: int, rate: float, rng: Generator) -> Ints:
    """Flip by what a row looks like, through random projections of each class (Xia et al. 2020, algorithm 2).

    A row's own rate is normal around the wanted one, with a deviation of .1 (below .2 half of the rate) and within
    0 … 1; where it goes is drawn from the softmax of x W of its class. The paper takes pixels for x.
    """
    from scipy.stats import truncnorm

    scale = min(0.1, rate / 2) + 1e-9
    spread = (x.std(axis=0) + 1e-6).astype(np.float32)
    centre = x.mean(axis=0)
    ends = (0 - rate) / scale, (1 - rate) / scale
    own = truncnorm.rvs(*ends, loc=rate, scale=scale, size=len(y), random_state=rng)
    given = y.copy()
    for k in range(K):
        rows = np.flatnonzero(y == k)
        rows = rows[rng.random(len(rows)) < own[rows]]
        odds = ((x[rows] - centre) / spread) @ rng.normal(size=(x.shape[1], K)).astype(np.float32)
        odds[:, k] = -np.inf
        given[rows] = (odds + rng.gumbel(size=odds.shape)).argmax(axis=1)  # a draw from their softmax
    return given.astype(np.int32)


def cluster(x: Floats, y: Ints, K: int, rate: float, rng: Generator) -> Ints:
    """Mislabel whole neighbourhoods: cells of a partition of the features, each to one class."""
    cells = int(np.clip(len(y) // 12, 4, 200))
    centres = x[rng.choice(len(y), cells, replace=False)]
    cell = (-2 * x @ centres.T + (centres**2).sum(axis=1)).argmin(axis=1)
    chosen = rng.random(cells) < rate
    to = rng.integers(0, K, cells)
    hit = chosen[cell] & (rng.random(len(y)) < 0.8)
    return np.where(hit, to[cell], y).astype(np.int32)


def burst(x: Floats, y: Ints, K: int, rate: float, rng: Generator) -> Ints:
    """Mislabel two to four rows of a class that are most alike to the same other class, as when a series of nearly
    equal photographs gets one wrong label."""
    size = int(rng.integers(2, 5))
    seeds = rng.choice(len(y), min(len(y), max(1, round(rate * len(y) / size))), replace=False)
    to = similarity(x, y, K, 1.0, rng)
    given = y.copy()
    for k in np.unique(y[seeds]):
        members, mine = np.flatnonzero(y == k), seeds[y[seeds] == k]
        own = x[members].astype(np.float32)
        distance = (own**2).sum(axis=1) - 2 * x[mine].astype(np.float32) @ own.T
        nearest = np.argsort(distance, axis=1, kind="stable")[:, :size]
        given[members[nearest]] = to[mine][:, None]
    return given.astype(np.int32)


def annotators(x: Floats, y: Ints, K: int, rate: float, rng: Generator, answers: str | None = None) -> Ints:
    """Weak classifiers that see part of the features answer; one answer, majority or worst of three, as in CIFAR-N.

    A share of the errors is careless: drawn from the class frequencies, whatever the image shows.
    """
    answers = answers or str(rng.choice(["one", "majority", "worst", "worst"]))
    blur = rng.uniform(0.0, 2.0)  # what the annotator sees is not what the backbone sees
    experts = [
        _posterior(x, y, K, rng, share=rng.uniform(0.15, 0.7), rows=rng.uniform(0.3, 1.0), blur=blur)
        for _ in range(3)
    ]
    # Some classes are named too readily, and some pairs are confused whatever the image shows.
    taste = rng.normal(0.0, rng.uniform(0.0, 1.0), K) + rng.normal(0.0, rng.uniform(0.0, 1.5), (K, K))
    careless = rng.uniform(0.0, 0.3) * (rng.random() < 0.5)
    draws = rng.random((3, len(y)))
    blind = [rng.random(len(y)) for _ in range(3)]
    guesses = [y[rng.integers(0, len(y), len(y))] for _ in range(3)]

    def label(care: float) -> Ints:
        votes = []
        for p, u, b, guess in zip(experts, draws, blind, guesses, strict=True):
            sharp = np.log(np.maximum(p, 1e-6)) + taste[y]
            sharp[np.arange(len(y)), y] += care  # care lets the truth through
            q = np.exp(sharp - sharp.max(axis=1, keepdims=True))
            cumulative = np.cumsum(q / q.sum(axis=1, keepdims=True), axis=1)
            answer = np.minimum((cumulative < u[:, None]).sum(axis=1), K - 1)
            votes.append(np.where(b < careless * rate, guess, answer))
        if answers == "one":
            return votes[0].astype(np.int32)
        one, two, three = votes
        if answers == "majority":
            return np.where(two == three, two, one).astype(np.int32)
        worst: Ints = np.where(one != y, one, np.where(two != y, two, three)).astype(np.int32)
        return worst

    low, high = -6.0, 14.0
    for _ in range(14):
        middle = (low + high) / 2
        low, high = (middle, high) if (label(middle) != y).mean() > rate else (low, middle)
    return label(high)


def mixture(x: Floats, y: Ints, K: int, rate: float, rng: Generator) -> Ints:
    """Two families, one after the other."""
    one, two = rng.choice(len(SIMPLE), 2, replace=False)
    share = rng.uniform(0.2, 0.8)
    first: Ints = SIMPLE[one](x, y, K, rate * share, rng)
    second: Ints = SIMPLE[two](x, y, K, rate * (1 - share), rng)
    return np.where(second != y, second, first)


SIMPLE: tuple[Family, ...] = (symmetric, pair, similarity, boundary, annotators)

FAMILIES: dict[str, Family] = {
    "symmetric": symmetric,
    "pair": pair,
    "similarity": similarity,
    "boundary": boundary,
    "annotators": annotators,
    "cluster": cluster,
    "burst": burst,
    "mixture": mixture,
    "instance": instance,
}


def _flip(y: Ints, weight: NDArray[np.float64], to: Ints, rate: float, rng: Generator) -> Ints:
    """Flip a share `rate` of the rows, drawn without replacement in proportion to `weight`, to `to`."""
    count = rng.binomial(len(y), rate)
    keys = rng.random(len(y)) ** (1.0 / np.maximum(weight, 1e-9))  # Efraimidis & Spirakis 2006
    hit = np.argsort(-keys)[:count]
    given = y.copy()
    given[hit] = to[hit]
    return given.astype(np.int32)


def _draw(odds: NDArray[np.float64], rng: Generator) -> Ints:
    cumulative = np.cumsum(odds / odds.sum(axis=1, keepdims=True), axis=1)
    drawn: Ints = (cumulative < rng.random(len(odds))[:, None]).sum(axis=1).astype(np.int32)
    return np.minimum(drawn, np.int32(odds.shape[1] - 1))


def _posterior(
    x: Floats, y: Ints, K: int, rng: Generator, share: float, rows: float, blur: float = 0.0
) -> NDArray[np.float64]:
    """Out-of-sample class probabilities of a ridge classifier on a share of the columns and of the rows."""
    width = min(max(2, int(share * x.shape[1])), 200)
    columns = rng.choice(x.shape[1], min(width, x.shape[1]), replace=False)
    z = (x[:, columns] - x[:, columns].mean(axis=0)) / (x[:, columns].std(axis=0) + 1e-6)
    z += blur * rng.normal(size=z.shape)
    z = np.concatenate([z, np.ones((len(z), 1))], axis=1).astype(np.float64)
    target = np.eye(K)[y]
    half = rng.permutation(len(y)) % 2 == 0
    scores = np.empty((len(y), K))
    for side in (half, ~half):
        seen = np.flatnonzero(side)
        seen = seen[rng.random(len(seen)) < rows] if rows < 1 else seen
        gram = z[seen].T @ z[seen] + (0.3 * len(seen) + 1.0) * np.eye(z.shape[1])
        scores[~side] = z[~side] @ np.linalg.solve(gram, z[seen].T @ target[seen])
    sharp = scores * rng.uniform(4.0, 10.0)
    sharp -= sharp.max(axis=1, keepdims=True)
    p = np.exp(sharp)
    return p / p.sum(axis=1, keepdims=True)  # type: ignore[no-any-return]
