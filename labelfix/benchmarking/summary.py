"""Summary: means over seeds, paired differences with bootstrap intervals, and the cells that were lost."""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from labelfix.benchmarking.metrics import bootstrap
from labelfix.benchmarking.results import CEILING, NOTHING, TRIAL, Results, Row, clean

RULED_OUT = (NOTHING, CEILING)
"""Rows that are no opponents."""


@dataclass(frozen=True)
class Cell:
    """The trials of one data set, noise and wanted rate: means over seeds."""

    data: str
    noise: str
    wanted: float | None
    seeds: int
    rows: Row
    """Method → column → mean; None where no trial has it."""

    @property
    def title(self) -> str:
        """`flowers · symmetric 10 %`."""
        rate = "" if self.wanted is None else f" {100 * self.wanted:g} %"
        return f"{self.data} · {self.noise}{rate}"

    def of(self, column: str) -> float | None:
        """Return the mean of what all methods of a trial share."""
        value: float | None = next(iter(self.rows.values()))[column]
        return value


@dataclass(frozen=True)
class Comparison:
    """The first method against the strongest other one over a group of trials."""

    group: str
    trials: int
    """Those with wrong labels."""
    other: str
    """The opponent with the best mean."""
    ours: float
    """Mean of the first method."""
    difference: float
    """Mean of first − other, paired by trial."""
    low: float
    """Of its 95 % interval."""
    high: float


def cells(results: Results) -> list[Cell]:
    """Return means over seeds, in the order of the trials."""
    found = []
    for (data, noise, wanted), rows in _grouped(results.rows, lambda row: tuple(row[c] for c in TRIAL[:3])):
        of_method = _grouped(rows, lambda row: row["method"])
        means = {method: _means(some) for method, some in of_method}
        found.append(Cell(data, noise, wanted, len({row["seed"] for row in rows}), means))
    return found


def comparisons(results: Results, column: str, higher: bool = True) -> list[Comparison]:
    """Compare by one metric over all trials, by noise and by data set; groups without wrong labels are left out."""
    groups: list[tuple[str, list[Row]]] = [("all trials", list(results.rows))]
    groups += [
        (f"noise {noise}", some) for noise, some in _grouped(results.rows, lambda r: r["noise"])
    ]  # fmt: skip
    groups += [(f"data {data}", some) for data, some in _grouped(results.rows, lambda r: r["data"])]
    found = [_compare(name, rows, results.first, column, higher) for name, rows in groups]
    return [one for one in found if one is not None]


def lost(results: Results, column: str = "average_precision") -> list[tuple[Cell, str, float]]:
    """Return cells in which another method beats the first on average: cell, that method, first − other."""
    found = []
    for cell in cells(results):
        ours = cell.rows.get(results.first, {}).get(column)
        others = {m: v[column] for m, v in cell.rows.items() if m not in {results.first, *RULED_OUT}}
        known = {method: value for method, value in others.items() if value is not None}
        if ours is None or not known:
            continue
        best = max(known, key=lambda method: known[method])
        if known[best] > ours:
            found.append((cell, best, ours - known[best]))
    return sorted(found, key=lambda one: one[2])


def _compare(name: str, rows: list[Row], first: str, column: str, higher: bool) -> Comparison | None:
    values: dict[str, dict[Hashable, float]] = {}
    for row in rows:
        value = clean(row.get(column))
        if value is not None and row["method"] not in RULED_OUT:
            values.setdefault(row["method"], {})[tuple(row[c] for c in TRIAL)] = value
    ours = values.pop(first, {})
    rivals = {m: v for m, v in values.items() if v.keys() == ours.keys()}  # only what spoke in every trial
    if not ours or not rivals:
        return None
    sign = 1 if higher else -1
    other = max(rivals, key=lambda method: sign * float(np.mean(list(rivals[method].values()))))
    differences = np.array([ours[trial] - rivals[other][trial] for trial in ours])
    mean, low, high = bootstrap(differences)
    return Comparison(name, len(ours), other, float(np.mean(list(ours.values()))), mean, low, high)


def _means(rows: Iterable[Row]) -> dict[str, float | None]:
    columns: dict[str, list[float]] = {}
    for row in rows:
        for name, value in row.items():
            held = columns.setdefault(name, [])
            if isinstance(value, int | float) and not math.isnan(value):
                held.append(float(value))
    return {name: float(np.mean(values)) if values else None for name, values in columns.items()}


def _grouped(rows: Iterable[Row], key: Callable[[Row], Any]) -> list[tuple[Any, list[Row]]]:
    groups: dict[Any, list[Row]] = {}
    for row in rows:
        groups.setdefault(key(row), []).append(row)
    return list(groups.items())
