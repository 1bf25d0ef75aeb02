"""What is told of results: means, differences, lost cells, on screen, in Markdown and in Parquet."""

from __future__ import annotations

import io
import math

import numpy as np
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from labelfix.benchmarking import markdown, tables
from labelfix.benchmarking.measuring import measure, tabulate
from labelfix.benchmarking.opponents import Opinion
from labelfix.benchmarking.results import COLUMNS, Results
from labelfix.benchmarking.summary import cells, comparisons, lost


def row(method: str, ap: float, noise: str = "pair", seed: int = 0, **rest) -> dict:
    shared = {
        "data": "cats [red]",
        "noise": noise,
        "wanted_rate": 0.1,
        "seed": seed,
        "rows": 80,
        "true_rate": 0.1,
    }
    return (
        dict.fromkeys(COLUMNS)
        | shared
        | {"method": method, "average_precision": ap, "evidence_seconds": 2.0}
        | rest
    )


@pytest.fixture
def results() -> Results:
    rows = []
    for seed, shift in enumerate((0.0, 0.02)):
        rows += [
            row("tmlc", 0.60 + shift, seed=seed),
            row("aum", 0.50, seed=seed),
            row("cleanlab", 0.55, seed=seed),
        ]
        rows += [row("nothing", math.nan, seed=seed), row("ceiling", 0.9, seed=seed)]
        rows += [
            row("tmlc", 0.4, "swap", seed),
            row("aum", 0.45, "swap", seed),
            row("cleanlab", 0.2, "swap", seed),
        ]
    return Results(
        tuple(rows), "tmlc", "labelfix bench cats.csv", {"labelfix": "1"}, "a host", {"in all": 3.0}
    )


def test_cells_hold_means_over_seeds(results):
    pair, swap = cells(results)
    assert (pair.seeds, pair.noise, swap.noise) == (2, "pair", "swap")
    assert pair.rows["tmlc"]["average_precision"] == pytest.approx(0.61)
    assert pair.rows["nothing"]["average_precision"] is None


def test_the_opponent_is_the_strongest_of_the_group_and_never_the_oracle(results):
    whole, pair, swap, data = comparisons(results, "average_precision")
    assert (pair.other, swap.other, whole.other) == ("cleanlab", "aum", "aum")
    assert pair.difference == pytest.approx(0.06)
    assert (pair.low, pair.high) == pytest.approx((0.05, 0.07))
    assert (swap.low, swap.high) == pytest.approx((-0.05, -0.05))
    assert (whole.trials, data.difference) == (4, whole.difference)


def test_where_lower_is_better_the_strongest_is_the_lowest():
    rows = (row("tmlc", 0.3), row("aum", 0.2), row("cleanlab", 0.5))
    found = comparisons(Results(rows, "tmlc", "", {}, "", {}), "average_precision", higher=False)
    assert {one.other for one in found} == {"aum"}


def test_lost_cells_are_listed_with_the_winner(results):
    ((cell, winner, difference),) = lost(results)
    assert (cell.noise, winner) == ("swap", "aum")
    assert difference == pytest.approx(-0.05)


def test_the_screen_is_80_columns_wide_and_takes_names_for_what_they_are(results):
    file = io.StringIO()
    tables.show(results, Console(file=file, width=80))
    shown = file.getvalue()
    assert "cats [red] · pair 10 % · 10.0 % wrong of 80 · 2 seeds" in shown
    assert all(len(line) <= 80 for line in shown.splitlines())
    assert ".610" in shown
    assert "tmlc loses in 1 table" in shown


def test_numbers_are_short_and_keep_their_sign():
    assert [tables.share(x) for x in (0.6226, 0.0, 1.0, -0.0104, 2.345)] == [
        ".623",
        ".000",
        "1.00",
        "-.010",
        "2.35",
    ]
    assert [tables.signed(x) for x in (0.0121, -0.3, 0.0)] == ["+.012", "-.300", "+.000"]


def test_the_document_says_how_what_and_where_it_was_lost(results):
    said = markdown.render(results)
    for part in ("labelfix bench cats.csv", "labelfix 1", "a host", "4 trials, seeds 0, 1", "in all: 3.0 s"):
        assert part in said
    assert "| noise pair | 2 | .610 | cleanlab | +.060 | +.050 … +.070 |" in said
    assert "| cats [red] · swap 10 % | aum | -.050 |" in said
    assert "| **tmlc** | .610 |" in said
    for name, (_, meaning) in COLUMNS.items():
        assert f"| `{name}` |" in said
        assert meaning in said
    widths = {line.count("|") for line in said.split("### ")[1].splitlines() if line.startswith("|")}
    assert len(widths) == 1


def test_parquet_holds_every_row_and_says_what_columns_mean(results, tmp_path):
    results.write_parquet(tmp_path / "r.parquet")
    table = pq.read_table(tmp_path / "r.parquet")
    assert table.num_rows == len(results.rows)
    assert table.column("average_precision").null_count == 2  # not a number is null
    for name, (_, meaning) in COLUMNS.items():
        assert table.schema.field(name).metadata[b"description"].decode() == meaning


def opinion(score: list[float], fix: list[bool], method: str = "cleanlab") -> Opinion:
    s = np.array(score, np.float32)
    n = len(s)
    return Opinion(
        method, s, s, s > 0.5, np.array(fix), np.full(n, 1, np.int32), np.zeros((n, 1), np.int32),
        np.ones((n, 1), np.float32), {"rate": 0.4, "low": 0.3, "high": 0.6}, 1.0,
    )  # fmt: skip


def test_rows_without_truth_are_left_out_of_every_metric():
    given, truth = np.array([0, 0, 0, 2, 0], np.int32), np.array([1, 0, 1, 2, -1], np.int32)
    found = measure(opinion([0.9, 0.8, 0.1, 0.2, 1.0], [True, True, False, False, True]), given, truth)
    assert found["average_precision"] == pytest.approx((1 + 2 / 4) / 2)
    assert found["net_change"] == 0.0  # one made right, one made wrong
    assert found["accuracy_fixed"] == 0.5
    assert found["f1"] == 0.5
    assert found["rate_covered"]


def test_distance_is_the_way_from_cleanlabs_best_score_to_the_ceiling():
    given, truth = np.zeros(4, np.int32), np.array([1, 1, 0, 0], np.int32)
    right, half, worst = [0.9, 0.8, 0.2, 0.1], [0.9, 0.2, 0.8, 0.1], [0.1, 0.2, 0.8, 0.9]
    none = [False] * 4
    names = {"tmlc": half, "cleanlab": worst, "cleanlab:normalised-margin": worst}
    names |= {"cleanlab:confidence-weighted-entropy": worst, "ceiling": right}
    said = [opinion(score, none, name) for name, score in names.items()]
    rows = {
        r["method"]: r for r in tabulate({"data": "d"}, said, given, truth, {"given": 0.5, "tmlc.soft": 0.6})
    }
    low, middle = (1 / 3 + 2 / 4) / 2, (1 + 2 / 3) / 2
    assert rows["tmlc"]["distance"] == pytest.approx((middle - low) / (1 - low))
    assert (rows["cleanlab"]["distance"], rows["ceiling"]["distance"]) == (0.0, 1.0)
    assert rows["nothing"]["accuracy_fixed"] == 0.5
    assert (rows["tmlc"]["downstream_soft"], rows["tmlc"]["downstream_given"]) == (0.6, 0.5)
    assert list(rows)[-2:] == ["nothing", "ceiling"]
