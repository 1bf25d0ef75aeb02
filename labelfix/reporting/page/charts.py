"""Charts: the yield curve as SVG coordinates, and the matrix of confused classes as cells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from labelfix.reporting.pairs import ONE_ROW, Pairs
from labelfix.reporting.summary import YieldPoint

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 440, 200, 44, 12, 14, 30
"""Of the yield curve, in SVG units; the sides are for the axes."""
POINTS = 64
"""Of the curve."""
MATRIX = 30
"""Most classes of the matrix; with more, those most confused."""
TOP_PAIRS = 12
"""Pairs listed beside the matrix."""


@dataclass(frozen=True)
class Tick:
    """A mark on an axis."""

    at: float
    """SVG units."""
    text: str
    """What stands there."""


@dataclass(frozen=True)
class YieldChart:
    """Wrong labels found (upwards) by the number of rows reviewed (to the right)."""

    line: str
    """Points of the curve, "x,y x,y …"."""
    area: str
    """The same, closed along the axis."""
    random: str
    """Points of the line that a review in random order follows."""
    x: tuple[Tick, ...]
    y: tuple[Tick, ...]
    stop: tuple[float, float]
    """Where to stop."""
    width: int = WIDTH
    height: int = HEIGHT
    left: int = LEFT
    right: int = WIDTH - RIGHT
    top: int = TOP
    base: int = HEIGHT - BOTTOM


@dataclass(frozen=True)
class Cell:
    """One pair of classes in the matrix."""

    text: str
    """Expected rows, rounded; "" for less than one."""
    share: float
    """Of the largest cell, 0 … 1: how dark it is."""


@dataclass(frozen=True)
class Matrix:
    """Expected rows by given class (down) and class they belong to (across), C classes."""

    classes: tuple[str, ...]
    """[C] in the order of the class list, or the most confused ones."""
    cells: tuple[tuple[Cell, ...], ...]
    """[C][C] the diagonal is empty."""
    whole: bool
    """Whether all classes are there."""


@dataclass(frozen=True)
class Pair:
    """Two classes, and how often the first is expected to stand where the second should."""

    given: str
    suggested: str
    expected: float


def yield_chart(suspicion: NDArray[np.float64], stop: YieldPoint) -> YieldChart:
    """Return the yield of reviewing ranked rows with these suspicions [M], drawn to four times the place to stop."""
    found = np.concatenate([[0.0], np.cumsum(suspicion)])
    last = min(len(suspicion), 4 * stop.review)
    at = np.unique(np.linspace(0, last, POINTS).round().astype(int))
    high = max(float(found[last]), 1e-9)
    right, base = WIDTH - RIGHT, HEIGHT - BOTTOM

    def place(m: float, errors: float) -> tuple[float, float]:
        x = LEFT + (right - LEFT) * m / max(last, 1)
        return round(x, 1), round(base - (base - TOP) * errors / high, 1)

    points = " ".join(f"{x},{y}" for x, y in (place(m, found[m]) for m in at))
    start, end = place(0, 0), place(last, float(found[-1]) * last / len(suspicion))
    x_ticks = (Tick(place(m, 0)[0], f"{m:,}") for m in _round_numbers(last))
    y_ticks = (Tick(place(0, e)[1], f"{e:,}") for e in _round_numbers(high))
    return YieldChart(
        line=points,
        area=f"{LEFT},{base} {points} {right},{base}",
        random=f"{start[0]},{start[1]} {end[0]},{end[1]}",
        x=tuple(x_ticks),
        y=tuple(y_ticks),
        stop=place(stop.review, stop.found),
    )


def _round_numbers(most: float) -> list[int]:
    """Return 0 and up to five multiples of 1, 2 or 5 × a power of ten, at most `most`."""
    step = next(s for power in range(12) for s in (10**power, 2 * 10**power, 5 * 10**power) if most / s <= 5)
    return list(range(0, int(most) + 1, step))


def matrix(classes: tuple[str, ...], pairs: Pairs) -> Matrix | None:
    """Return the matrix; None where no row is expected to be mistaken."""
    keep = pairs.expected >= ONE_ROW
    if not keep.any():
        return None
    given, other, expected = pairs.given[keep], pairs.other[keep], pairs.expected[keep]
    K = len(classes)
    shown = np.arange(K)
    if K > MATRIX:
        weight = np.bincount(given, expected, minlength=K) + np.bincount(other, expected, minlength=K)
        shown = np.sort(np.argsort(-weight, kind="stable")[:MATRIX])
        shown = shown[weight[shown] > 0]
    place = np.full(K, -1)
    place[shown] = np.arange(len(shown))
    inside = (place[given] >= 0) & (place[other] >= 0)
    grid = np.zeros((len(shown), len(shown)))
    grid[place[given[inside]], place[other[inside]]] = expected[inside]
    most = max(float(grid.max()), 1e-9)
    cells = tuple(
        tuple(
            Cell(f"{round(value):,}" if value >= ONE_ROW else "", round(float(value) / most, 3))
            for value in row
        )
        for row in grid
    )
    return Matrix(tuple(classes[k] for k in shown), cells, K <= MATRIX)


def top_pairs(classes: tuple[str, ...], pairs: Pairs) -> tuple[Pair, ...]:
    """Return the most confused pairs that are expected at least once."""
    first = zip(pairs.given[:TOP_PAIRS], pairs.other[:TOP_PAIRS], pairs.expected[:TOP_PAIRS], strict=True)
    return tuple(Pair(classes[g], classes[o], float(e)) for g, o, e in first if e >= ONE_ROW)
