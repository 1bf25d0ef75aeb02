"""Which rows go into a queue, in which order, and with which probability."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from labelfix.errors import UsageError
from labelfix.exporters.selecting import Selection, select
from labelfix.findings import Findings


def findings(rows: int = 200, seed: int = 0) -> Findings:
    rng = np.random.default_rng(seed)
    suspicion = rng.beta(0.5, 3, rows)
    rank = np.empty(rows, np.int32)
    rank[np.argsort(-suspicion)] = np.arange(1, rows + 1)
    table = pa.table({
        "id": [f"r{i}" for i in range(rows)],
        "label": ["abc"[i % 3] for i in range(rows)],
        "suspicion": pa.array(suspicion, pa.float32()),
        "rank": rank,
        "is_label_error": suspicion > 0.5,
        "auto_fix": suspicion > 0.7,
        "is_ambiguous": np.arange(rows) % 10 == 0,
        "is_outlier": np.arange(rows) % 50 == 0,
        "duplicate_group": pa.array([0, 0, 0, 1, 1, *[None] * (rows - 5)], pa.int32()),
    })  # fmt: skip
    return Findings(table, {"classes": ["a", "b", "c"], "correctors": ["tmlc"]})


def suspicions(found: Findings, rows) -> np.ndarray:
    return found.column("suspicion")[rows]


@pytest.mark.parametrize(
    "selection",
    [
        Selection(),
        Selection(top=30),
        Selection(min_suspicion=0.3),
        Selection(budget=50),
        Selection(top=20, audit=20),
    ],
    ids=["default", "top", "min-suspicion", "budget", "top and audit"],
)
def test_rows_are_served_by_descending_suspicion_each_once(selection):
    found = findings()
    rows = select(found, selection).rows
    assert (np.diff(suspicions(found, rows)) <= 0).all()
    assert len(set(rows)) == len(rows) > 0


def test_without_options_the_flagged_rows_are_chosen():
    found = findings()
    assert set(select(found, Selection()).rows) == set(np.flatnonzero(found.column("is_label_error")))


def test_a_budget_takes_the_most_suspicious_and_draws_a_tenth():
    found = findings()
    picked = select(found, Selection(budget=50))
    assert len(picked.rows) == 50
    chosen = picked.rows[picked.drawn_with == 1]
    assert len(chosen) == 45
    assert set(chosen) == set(np.argsort(-found.column("suspicion"))[:45])
    assert (picked.drawn_with > 0).all()


def test_the_seed_moves_the_random_part_alone():
    found = findings()
    one, two = (select(found, Selection(budget=50, seed=seed)) for seed in (0, 1))
    assert set(one.rows[one.drawn_with == 1]) == set(two.rows[two.drawn_with == 1])
    assert set(one.rows) != set(two.rows)
    again = select(found, Selection(budget=50, seed=0))
    assert again.rows.tolist() == one.rows.tolist()


def test_no_class_gets_more_than_its_cap():
    found = findings()
    rows = select(found, Selection(min_suspicion=0.0, per_class=4)).rows
    labels = found.table.column("label").to_numpy()[rows]
    assert {name: int((labels == name).sum()) for name in "abc"} == {"a": 4, "b": 4, "c": 4}
    assert rows[0] == found.column("suspicion").argmax()


@pytest.mark.parametrize(
    ("issue", "rows"),
    [("outlier", {0, 50, 100, 150}), ("duplicate", {0, 1, 2, 3, 4}), ("conflict", {0, 1, 2, 3, 4})],
)
def test_only_rows_with_the_issue_are_chosen(issue, rows):
    assert set(select(findings(), Selection(only=(issue,))).rows) == rows


def test_trusted_rows_are_not_asked_about():
    found = findings()
    trusted = np.arange(200) < 100
    picked = select(found, Selection(budget=200), trusted)
    assert set(picked.rows) == set(range(100, 200))


def test_a_random_part_as_large_as_what_is_left_takes_all_for_certain():
    picked = select(findings(20), Selection(top=5, audit=100))
    assert len(picked.rows) == 20
    assert (picked.drawn_with == 1).all()


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"budget": 5, "top": 5}, "--budget and --top"),
        ({"top": 0}, "--top is 0"),
        ({"min_suspicion": 1.5}, "suspicion lies in 0 … 1"),
        ({"only": ("label-eror",)}, "did you mean 'label-error'"),
        ({"budget": 5, "audit": 6}, "more than --budget 5"),
    ],
)
def test_bad_options_are_named(wrong, said):
    with pytest.raises(UsageError, match=said):
        Selection(**wrong)


def test_a_selection_without_rows_is_an_error():
    with pytest.raises(UsageError, match="no row is selected"):
        select(findings(), Selection(min_suspicion=1.0))
