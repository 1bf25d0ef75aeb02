"""The summary says of hand-made findings what their numbers say."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from labelfix.reporting.summary import Summary, summarise, yield_curve


def of(findings: Any, top: int = 20, **record: Any) -> Summary:
    return summarise(findings, record, None, top)


def test_rows_are_counted_by_status_and_none_is_lost(made):
    rows = [
        made.scored("a", "cat", "dog", 0.9),
        made.unscored("b", "unreadable", "the file is empty"),
        made.unscored("c", "unlabelled", label=None),
        made.scored("d", "dog", "cat", 0.1),
    ]
    summary = of(made.findings(rows))
    assert summary.rows == 4
    assert summary.scored == 2
    assert summary.statuses == {"scored": 2, "unlabelled": 1, "unreadable": 1}
    assert summary.unreadable == (("b", "the file is empty"),)


def test_suspects_come_in_the_order_of_their_rank_and_no_more_than_asked_for(made):
    rows = [made.scored(str(n), "cat", "dog", s) for n, s in enumerate([0.2, 0.9, 0.5, 0.7])]
    summary = of(made.findings(rows), top=3)
    assert [(s.rank, s.id) for s in summary.suspects] == [(1, "1"), (2, "3"), (3, "2")]
    assert summary.suspects[0].given == "cat"
    assert summary.suspects[0].suggested == "dog"
    assert summary.suspects[0].suspicion == pytest.approx(0.9)


def test_the_yield_is_the_running_sum_of_suspicion_and_the_rest_remains():
    suspicion = np.array([0.9, 0.8, 0.7, 0.4, 0.1, 0.1])
    curve, stop = yield_curve(suspicion)
    assert stop is not None
    assert stop.review == 3  # as many as are expected in all
    assert stop.found == pytest.approx(2.4)
    assert stop.remaining == pytest.approx(0.6)
    for point in curve:
        assert point.found == pytest.approx(suspicion[: point.review].sum())
        assert point.found + point.remaining == pytest.approx(suspicion.sum())
    assert [p.review for p in curve] == sorted({p.review for p in curve})


@pytest.mark.parametrize(("count", "said"), [(7, 7), (48, 50), (348, 350), (1234, 1300)])
def test_the_place_to_stop_is_a_number_that_is_easily_said(count, said):
    suspicion = np.concatenate([np.ones(count), np.zeros(5000)])
    _, stop = yield_curve(suspicion)
    assert stop is not None
    assert stop.review == said


def test_the_place_to_stop_is_never_beyond_the_last_row():
    _, stop = yield_curve(np.ones(48))
    assert stop is not None
    assert stop.review == 48
    assert stop.remaining == 0


@pytest.mark.parametrize("suspicion", [[], [0.0], [0.01, 0.02]])
def test_where_less_than_one_error_is_expected_no_review_is_proposed(suspicion):
    assert yield_curve(np.array(suspicion, np.float64)) == ((), None)


def test_confusions_share_the_suspicion_among_the_other_classes(made):
    rows = [
        made.scored("a", "cat", "dog", 0.8, {"dog": 0.6, "cat": 0.2, "eel": 0.2}),
        made.scored("b", "cat", "dog", 1.0, {"dog": 1.0}),
        made.scored("c", "dog", "cat", 0.0, {"dog": 1.0}),
    ]
    (first,) = of(made.findings(rows)).confusions
    assert (first.given, first.suggested) == ("cat", "dog")
    assert first.expected == pytest.approx(0.8 * 0.6 / 0.8 + 1.0, rel=1e-5)


def test_mass_that_is_not_listed_is_not_given_to_a_listed_class(made):
    rows = [made.scored("a", "cat", "dog", 0.9, {"dog": 0.6, "cat": 0.1})]  # 0.3 is elsewhere
    (first,) = of(made.findings(rows)).confusions
    assert first.expected == pytest.approx(0.6, rel=1e-5)


def test_confusions_do_not_depend_on_how_rows_are_sliced(made, monkeypatch):
    findings = made.many(1000)
    whole = of(findings).confusions
    monkeypatch.setattr("labelfix.reporting.pairs.SLICE", 64)
    parts = of(findings).confusions
    assert [(c.given, c.suggested) for c in parts] == [(c.given, c.suggested) for c in whole]
    assert [c.expected for c in parts] == pytest.approx([c.expected for c in whole])


def test_agreement_counts_rows_that_both_or_only_one_flags(made):
    rows = [
        made.scored("a", "cat", "dog", 0.9, **{"cleanlab.is_issue": True}),
        made.scored("b", "cat", "dog", 0.8),
        made.scored("c", "cat", "dog", 0.2, **{"cleanlab.is_issue": True}),
        made.scored("d", "cat", "dog", 0.1, **{"cleanlab.is_issue": True}),
        made.unscored("e", "unreadable"),
    ]
    agreement = of(made.findings(rows)).agreement
    assert agreement is not None
    assert (agreement.both, agreement.only_ours, agreement.only_cleanlab) == (1, 1, 2)


def test_cleanlab_is_not_compared_with_itself(made):
    rows = [made.scored("a", "cat", "dog", 0.9)]
    assert of(made.findings(rows, correctors=["cleanlab"])).agreement is None


def test_duplicates_conflict_only_where_their_labels_differ(made):
    rows = [
        made.scored("a", "cat", "dog", 0.5, duplicate_group=0),
        made.scored("b", "dog", "cat", 0.5, duplicate_group=0),
        made.scored("c", "cat", "dog", 0.1, duplicate_group=1),
        made.scored("d", "cat", "dog", 0.1, duplicate_group=1),
        made.unscored("e", "unlabelled", label=None) | {"duplicate_group": 1},
    ]
    summary = of(made.findings(rows))
    assert summary.conflict_count == 1
    (conflict,) = summary.conflicts
    assert conflict.ids == ("a", "b")
    assert conflict.labels == ("cat", "dog")


@pytest.mark.parametrize("rate", [None, (float("nan"), 0.0, 0.0)])
def test_an_unknown_error_rate_is_none_and_not_zero(made, rate):
    assert of(made.findings([made.scored("a", "cat", "dog", 0.9)], rate=rate)).rate is None


def test_files_are_named_only_where_they_exist(made, tmp_path: Path):
    findings = made.findings([made.scored("a", "cat", "dog", 0.9)])
    findings.write(tmp_path / "findings.parquet")
    summary = summarise(findings, {}, tmp_path)
    assert [Path(path).name for path, _ in summary.files] == ["findings.parquet"]
    assert any(f"labelfix report {tmp_path}" in command for command, _ in summary.next_steps)


def test_what_the_reader_chose_and_noticed_comes_from_the_run_record(made):
    findings = made.findings([made.scored("a", "cat", "dog", 0.9)])
    record = {
        "source": "m.csv",
        "columns": {"image": "file_name"},
        "notes": ["a note"],
        "timings": {"x": 1, "y": 2},
    }
    summary = of(findings, **record)
    assert summary.source == "m.csv"
    assert summary.columns == {"image": "file_name"}
    assert summary.notes == ("a note",)
    assert summary.seconds == 3


def test_a_thousand_classes_and_many_rows_are_summarised(made):
    summary = of(made.many(20_000, classes=1000))
    assert summary.scored == 20_000
    assert summary.stop is not None
    json.dumps(summary.curve[0].review)  # plain Python numbers, not numpy's
