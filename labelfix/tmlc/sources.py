"""Source tasks: data whose truth is known, made from nothing or cut from clean sets."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from labelfix.learn import noise
from labelfix.learn.noise import FAMILIES
from labelfix.trajectories import Floats, Ints

OUTSIDE, COPIED, GROUPED = 0.06, 0.1, 0.1
"""How many tasks hold images of none of their classes, copies, and groups that share a fold."""
RATES = ((0.0, 0.0, 0.12), (0.005, 0.10, 0.44), (0.10, 0.50, 0.44))
"""(low, high, share): error rates of source tasks, with weight on the low ones that are common in practice."""
MOST = 6000
"""Rows, at most, of tasks cut from real sets."""
PICTURED = 1000
"""Rows, at most, of tasks of images: a whole network is trained on each."""
UNKNOWN = 0.4
"""How many of these are of a domain that the backbone does not know: where whole networks are trained in practice."""


@dataclass(frozen=True, eq=False)
class Task:
    """One source task."""

    x: Floats
    """[n, d] features."""
    truth: Ints
    """[n] true class; -1: none of the classes."""
    given: Ints
    """[n] given class."""
    classes: int
    """K."""
    family: str
    """Of the noise."""
    source: str
    """generated, or the name of the clean set."""
    group: Ints | None = None
    """[n] rows of one group share a fold."""
    pixels: NDArray[np.uint8] | None = None
    """[n, S, S, 3] of tasks of images."""


@dataclass(frozen=True, eq=False)
class CleanSet:
    """Features and trusted labels of one real set."""

    name: str
    x: Floats
    """[n, d]"""
    y: Ints
    """[n]"""
    pixels: NDArray[np.uint8] | None = None
    """[n, S, S, 3] small images, for base learners that are whole networks; 3 S² bytes a row: 3 KB at 32 pixels, as
    much again as 1,536 features. None where none are needed, and of texts."""


def draw_task(rng: np.random.Generator, clean: list[CleanSet], real_share: float = 0.6) -> Task:
    """Draw a task: features, then a noise family and a rate."""
    if clean and rng.random() < real_share:
        one = clean[int(rng.integers(len(clean)))]
        x, y, K, _ = from_clean(rng, one)
        task = mislabelled(rng, x, y, K, one.name)
    else:
        task = mislabelled(rng, *generated(rng), "generated")
    if task.classes > 2 and rng.random() < OUTSIDE:
        task = with_strangers(task, rng)
    task = with_copies(task, rng) if rng.random() < COPIED else task
    return with_groups(task, rng) if rng.random() < GROUPED else task


def draw_pictured(rng: np.random.Generator, clean: list[CleanSet]) -> Task:
    """Draw a task of at most `PICTURED` images for a whole network to learn, of a set that has images."""
    pictured = [one for one in clean if one.pixels is not None]
    one = pictured[int(rng.integers(len(pictured)))]
    assert one.pixels is not None
    x, y, K, rows = from_clean(rng, one, PICTURED)
    task = replace(mislabelled(rng, x, y, K, one.name), pixels=one.pixels[rows])
    return replace(task, x=dimmed(task.x, rng)) if rng.random() < UNKNOWN else task


def dimmed(x: Floats, rng: np.random.Generator) -> Floats:
    """Return what is left of features [n, d] to a backbone that does not know the domain: few, and noisy ones."""
    few = min(x.shape[1], int(rng.integers(8, 65)))
    seen = x[:, rng.choice(x.shape[1], few, replace=False)]
    noisy = seen + rng.uniform(0.3, 1.5) * seen.std(axis=0) * rng.normal(size=seen.shape)
    return np.asarray(noisy, np.float32)


def mislabelled(rng: np.random.Generator, x: Floats, y: Ints, K: int, source: str) -> Task:
    """Draw a noise family and a rate, and make a task of features [n, d] and true labels [n]."""
    family = str(rng.choice(list(FAMILIES), p=[0.16, 0.07, 0.14, 0.03, 0.38, 0.06, 0.08, 0.08, 0.0]))
    low, high, _ = RATES[int(rng.choice(len(RATES), p=[share for *_, share in RATES]))]
    rate = rng.uniform(low, high) if high > 0 else 0.0
    most = {"pair": 0.45, "cluster": 0.3}.get(family, 0.5)
    given = FAMILIES[family](x, y, K, min(rate, most, 0.9 * (K - 1) / K), rng) if rate else y.copy()
    return Task(x.astype(np.float32), y, given, K, family if rate else "none", source)


def with_strangers(task: Task, rng: np.random.Generator) -> Task:
    """Take one class away and leave at most a twelfth of the rows of it under other labels: images of nothing that
    is asked for."""
    removed = int(rng.integers(task.classes))
    stranger = task.truth == removed
    most = max(1, int(rng.uniform(0.005, 0.08) * len(stranger)))
    kept = np.concatenate([np.flatnonzero(~stranger), rng.permutation(np.flatnonzero(stranger))[:most]])
    kept = kept[(task.given[kept] != removed) | stranger[kept]]
    x, truth, given = task.x[kept], task.truth[kept], task.given[kept]
    alike = noise.similarity(task.x, task.truth, task.classes, 1.0, rng)[kept]
    anything = (removed + rng.integers(1, task.classes, len(kept))) % task.classes
    given = np.where(truth == removed, np.where(rng.random() < 0.5, alike, anything), given)
    number = np.arange(task.classes) - (np.arange(task.classes) > removed)
    truth = np.where(truth == removed, -1, number[truth])
    return Task(
        x, truth.astype(np.int32), number[given].astype(np.int32), task.classes - 1, "outside", task.source
    )


def with_copies(task: Task, rng: np.random.Generator) -> Task:
    """Add near copies of some rows, mislabelled ones more often, with the same label: errors that were copied along."""
    weight = np.where(task.given != task.truth, rng.uniform(1.0, 8.0), 1.0)
    count = max(1, int(rng.uniform(0.02, 0.15) * len(weight)))
    rows = rng.choice(len(weight), count, p=weight / weight.sum())
    jitter = rng.uniform(0.0, 0.3) * task.x.std(axis=0) * rng.normal(size=(count, task.x.shape[1]))
    x = np.concatenate([task.x, (task.x[rows] + jitter).astype(np.float32)])
    truth, given = (np.concatenate([values, values[rows]]) for values in (task.truth, task.given))
    return Task(x, truth, given, task.classes, "copied", task.source)


def with_groups(task: Task, rng: np.random.Generator) -> Task:
    """Part the rows into groups: each one region of the features, or one style, a shift that all its rows share."""
    count = int(rng.integers(8, 40))
    if rng.random() < 0.5:
        centres = task.x[rng.choice(len(task.x), min(count, len(task.x)), replace=False)]
        group = ((centres**2).sum(axis=1) - 2 * task.x @ centres.T).argmin(axis=1)
        return replace(task, group=group.astype(np.int32))
    group = rng.integers(0, count, len(task.x))
    shift = rng.uniform(0.1, 0.7) * task.x.std(axis=0) * rng.normal(size=(count, task.x.shape[1]))
    return replace(task, x=(task.x + shift[group]).astype(np.float32), group=group.astype(np.int32))


def generated(rng: np.random.Generator) -> tuple[Floats, Ints, int]:
    """Mixtures with super-classes, sub-clusters, imbalance, power-law spectra, heavy tails and warps."""
    K = int(rng.choice([2, 3, 5, 8, 10, 10, 10, 12, 20, 30, 60]))
    d = int(rng.choice([16, 32, 64, 128, 256]))
    n = int(np.clip(rng.integers(30, 400) * K, 300, 4000))
    modes = int(rng.integers(1, 4))
    latent = int(min(d, max(4, K * rng.uniform(0.5, 3))))

    share = rng.dirichlet(np.full(K, rng.choice([2.0, 20.0, 1e4])))
    y = rng.choice(K, n, p=np.maximum(share, 0.05 / K) / np.maximum(share, 0.05 / K).sum()).astype(np.int32)
    groups = rng.integers(0, max(1, K // int(rng.integers(2, 5))), K)
    kinship = rng.uniform(0.0, 1.2)
    centres = rng.normal(size=(K, latent)) + kinship * rng.normal(size=(K, latent))[groups]
    centres = centres[:, None] + rng.uniform(0.1, 0.8) * rng.normal(size=(K, modes, latent))
    spectrum = np.arange(1, latent + 1) ** -rng.uniform(0.0, 0.8)
    noise = rng.normal(size=(n, latent))
    if rng.random() < 0.4:
        noise *= np.sqrt(rng.chisquare(4, (n, 1)) / 4) ** -1.0
    overlap = rng.uniform(0.35, 1.6) * rng.gamma(8.0, 1 / 8.0, K)  # some classes are harder than others
    z = centres[y, rng.integers(0, modes, n)] + overlap[y][:, None] * noise * (spectrum / spectrum.mean())

    mixing = rng.normal(size=(latent, d)) / np.sqrt(latent)
    x = z @ mixing
    if rng.random() < 0.6:
        x = np.tanh(x * rng.uniform(0.5, 1.5)) @ (rng.normal(size=(d, d)) / np.sqrt(d))
    if rng.random() < 0.5:
        x = np.maximum(x + rng.normal(size=d) * 0.5, 0.0)  # as after a rectifier and pooling
    x += rng.uniform(0.0, 0.4) * x.std() * rng.normal(size=x.shape)
    return x.astype(np.float32), y, K


def from_clean(
    rng: np.random.Generator, clean: CleanSet, most: int = MOST
) -> tuple[Floats, Ints, int, NDArray[np.intp]]:
    """Cut classes, at most so many rows, and columns out of a clean set, and sometimes blur its features.

    Returns features [n, d], labels [n], K and which rows of the set these are [n].
    """
    all_classes = np.unique(clean.y)
    K = len(all_classes) if rng.random() < 0.5 else int(rng.integers(2, len(all_classes) + 1))
    kept = rng.choice(all_classes, K, replace=False)
    rows = np.flatnonzero(np.isin(clean.y, kept))
    most = min(most, len(rows))
    n = most if rng.random() < 0.4 else int(rng.integers(min(400, most), most + 1))
    rows = rng.choice(rows, n, replace=False)
    x = clean.x[rows].astype(np.float32)
    if rng.random() < 0.5:
        columns = rng.choice(x.shape[1], max(8, int(x.shape[1] * rng.uniform(0.05, 0.5))), replace=False)
        x = x[:, columns]
    if rng.random() < 0.4:
        x += rng.uniform(0.1, 1.0) * x.std(axis=0) * rng.normal(size=x.shape).astype(np.float32)
    numbers = np.full(int(all_classes.max()) + 1, -1, np.int32)
    numbers[kept] = np.arange(K)
    present, y = np.unique(numbers[clean.y[rows]], return_inverse=True)
    return x, y.astype(np.int32), max(2, len(present)), rows
