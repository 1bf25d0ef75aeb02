"""What becomes of probabilities: flags, automatic fixes, and the table's other verdicts."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from labelfix.evidence import EvidenceChunk
from labelfix.findings import Correction
from labelfix.manifest import Manifest
from labelfix.scoring import Opinions, RowFacts, score, tabulate

N = 200


def table(wrong: np.ndarray, *, trusted: np.ndarray | None = None, **settings: object) -> pa.Table:
    """Rows of two classes, all labelled "cat"; `wrong` [n] is the probability of "dog"."""
    p = np.stack([1 - wrong, wrong], axis=1).astype(np.float32)
    order = np.argsort(-p, axis=1)
    correction = Correction(
        "tmlc", p[:, 1].copy(), order.astype(np.int32), np.take_along_axis(p, order, axis=1), p[:, 1].copy()
    )
    n = len(wrong)
    manifest = Manifest(
        np.array([str(i) for i in range(n)], object),
        np.zeros(n, np.int32),
        ("cat", "dog"),
        None,
        trusted=trusted,
    )
    nothing = np.full(n, np.nan, np.float32)
    facts = RowFacts(
        np.full(n, "scored", object), np.full(n, "", object), np.zeros(n, bool), np.full(n, -1, np.int64)
    )
    found, _ = tabulate(
        manifest,
        Opinions(np.arange(n), {"tmlc": correction}, nothing, nothing, np.zeros((n, 2), int)),
        facts,
        1,
        settings,
    )
    return found


def fixed(wrong: np.ndarray) -> np.ndarray:
    return np.asarray(table(wrong)["auto_fix"])


@pytest.mark.parametrize(("clear", "expected"), [(0, [True, False, False]), (60, [True, True, True])])
def test_where_few_labels_are_wrong_only_clear_cases_are_fixed_unseen(
    clear: int, expected: list[bool]
) -> None:
    asked = np.array([0.92, 0.7, 0.6])  # leads of 0.84, 0.4 and 0.2
    wrong = np.concatenate([asked, np.full(clear, 0.99), np.full(N - clear, 0.008)])
    assert fixed(wrong)[:3].tolist() == expected


def test_where_most_labels_would_be_wrong_none_is_replaced_unseen() -> None:
    wrong = np.concatenate([np.full(N // 2 + 20, 0.99), np.full(N // 2 - 20, 0.02)])
    assert not fixed(wrong).any()
    assert fixed(wrong[60:]).sum() == N // 2 - 40


def test_a_label_that_is_likelier_right_is_never_replaced() -> None:
    assert not fixed(np.full(N, 0.49)).any()


def test_as_many_are_flagged_as_are_expected_to_be_wrong() -> None:
    wrong = np.linspace(0, 0.5, N)
    flagged = np.asarray(table(wrong)["is_label_error"])
    assert flagged.sum() == round(wrong.sum())
    assert flagged[-flagged.sum() :].all()


def test_flags_end_where_labels_known_to_be_wrong_say_so() -> None:
    wrong = np.linspace(0, 0.5, N)
    known = {"share": 0.1, "flag_share": 0.05}
    assert np.asarray(table(wrong, known_wrong=known)["is_label_error"]).sum() == N // 20


def test_a_trusted_label_is_neither_suspected_nor_fixed() -> None:
    trusted = np.arange(N) == 0
    found = table(np.where(np.arange(N) < N // 4, 0.95, 0.01), trusted=trusted)
    assert found["suspicion"][0].as_py() == 0.0
    assert not found["auto_fix"][0].as_py()
    assert found["rank"][0].as_py() == N
    assert found["auto_fix"][1].as_py()


def test_where_all_labels_are_trusted_none_is_estimated_to_be_wrong() -> None:
    manifest = Manifest(
        np.array(["a", "b"], object), np.zeros(2, np.int32), ("cat", "dog"), None, trusted=np.ones(2, bool)
    )
    p, order = np.array([[0.2, 0.8]] * 2, np.float32), np.array([[1, 0]] * 2, np.int32)
    correction = Correction("tmlc", p[:, 1], order, p[:, ::-1].copy(), p[:, 1])
    facts = RowFacts(np.full(2, "scored", object), np.full(2, "", object), np.zeros(2, bool), np.full(2, -1))
    nothing = np.full(2, np.nan, np.float32)
    scored = Opinions(np.arange(2), {"tmlc": correction}, nothing, nothing, np.zeros((2, 2), int))
    _, estimate = tabulate(manifest, scored, facts, 1, {})
    assert estimate == {"rate": 0.0, "low": 0.0, "high": 0.0, "rows": 0}


def test_the_votes_for_a_suggestion_that_is_no_candidate_are_not_known() -> None:
    candidates, votes = np.array([[0, 1], [0, 1]], np.int32), np.array([[0.9, 0.1]] * 2, np.float32)
    two = np.zeros(2, np.int64), np.zeros(2, np.int32), 40, candidates
    chunk = EvidenceChunk(*two, None, None, None, votes, None)

    class Foreign:
        def score(self, *_: object) -> Correction:
            p = np.array([[0.8, 0.2]] * 2, np.float32)
            classes = np.array([[39, 0], [1, 0]], np.int32)
            return Correction("foreign", p[:, 0], classes, p, p[:, 0])

    evidence: Any = SimpleNamespace(chunks=lambda: iter([chunk]))
    foreign: Any = Foreign()
    found = score(evidence, {"foreign": foreign}, {"foreign": foreign}, lambda _: None)
    np.testing.assert_array_equal(found.votes, np.array([np.nan, 0.1], np.float32))


def test_the_estimate_says_of_how_many_rows_it_is() -> None:
    """Trusted rows are none of them, and what a summary counts is of those that are."""
    from labelfix.findings import Findings
    from labelfix.reporting import words
    from labelfix.reporting.summary import summarise

    trusted = np.arange(60) < 40
    found = table(np.where(np.arange(60) >= 50, 0.9, 0.1), trusted=trusted)
    assert found.column("suspicion").to_numpy()[:40].max() == 0
    estimated = {"rate": 0.5, "low": 0.3, "high": 0.7, "rows": 20}
    meta = {"schema": 1, "classes": ["cat", "dog"], "correctors": ["tmlc"], "estimated_errors": estimated}
    said = words.estimate(summarise(Findings(found, meta), {}, None))
    assert (
        said
        == "Estimated wrong labels: 50.0 % (30.0 % to 70.0 %), about 10 of 20 rows whose label is in question"
    )
