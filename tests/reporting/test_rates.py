"""Rates of classes and annotators say what the suspicions say, and how sure that is."""

from __future__ import annotations

import pytest

from labelfix.reporting.rates import group_rates


def test_a_rate_is_the_mean_suspicion_of_the_scored_rows_of_a_class(made):
    rows = [made.scored(f"a{i}", "cat", "dog", 0.75 if i < 10 else 0.0) for i in range(40)]
    rows += [made.scored(f"b{i}", "dog", "cat", 0.0) for i in range(30)]
    rows += [made.unscored("c", "unreadable")]
    cat, dog = group_rates(made.findings(rows), "label", (0.1, 0.05, 0.2))
    assert (cat.name, cat.rows, cat.flagged) == ("cat", 40, 10)
    assert cat.expected == pytest.approx(7.5)
    assert cat.rate == pytest.approx(7.5 / 40)
    assert cat.low < cat.rate < cat.high
    assert (dog.rows, dog.expected, dog.low) == (30, 0, 0)
    assert dog.high > 0


def test_few_rows_are_insufficient_data(made):
    rows = [made.scored(f"a{i}", "cat", "dog", 0.5) for i in range(19)]
    rows += [made.scored(f"b{i}", "dog", "cat", 0.4) for i in range(20)]
    enough = {group.name: group.enough for group in group_rates(made.findings(rows), "label", None)}
    assert enough == {"cat": False, "dog": True}


def test_a_small_class_has_a_wider_interval_than_a_large_one_of_the_same_rate(made):
    rows = [made.scored(f"a{i}", "cat", "dog", 0.3) for i in range(25)]
    rows += [made.scored(f"b{i}", "dog", "cat", 0.3) for i in range(500)]
    large, small = group_rates(made.findings(rows), "label", (0.3, 0.2, 0.42))
    assert (large.name, small.name) == ("dog", "cat")
    assert small.high - small.low > large.high - large.low


def test_the_classes_share_the_uncertainty_of_the_level_of_the_estimate(made):
    findings = made.many(5000)
    narrow, wide = (
        group_rates(findings, "label", (0.1, 0.1 - width, 0.1 + width))[0] for width in (0.01, 0.06)
    )
    assert wide.high - wide.low > narrow.high - narrow.low


def test_without_such_a_column_or_a_scored_row_there_is_no_rate(made):
    assert group_rates(made.many(100), "annotator", None) == ()
    assert group_rates(made.findings([made.unscored("a", "unreadable")]), "label", None) == ()
