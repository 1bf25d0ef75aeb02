"""Each variant of the labels is what the findings say, row by row."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from labelfix.errors import InconclusiveError, UsageError
from labelfix.findings import SOFT_LABEL, Findings
from labelfix.retraining.variants import choose, labels_of

CLASSES = ("a", "b", "c")
ROWS = np.array([0, 1, 2, 4])


def findings(**changed) -> Findings:
    """Five rows: right, replaced, flagged only, unlabelled, alone in its class."""
    soft = [
        [{"label": "a", "p": 0.9}, {"label": "b", "p": 0.1}],
        [{"label": "b", "p": 0.8}, {"label": "a", "p": 0.1}],
        [{"label": "a", "p": 0.6}, {"label": "b", "p": 0.4}],
        None,
        None,
    ]
    columns = {
        "label": pa.array(["a", "a", "b", None, "c"], pa.string()),
        "suggested": pa.array(["b", "b", "a", None, None], pa.string()),
        "soft_label": pa.array(soft, SOFT_LABEL),
        "soft_label_other": pa.array([0.0, 0.1, 0.0, None, None], pa.float32()),
        "auto_fix": pa.array([False, True, False, False, False]),
        "is_label_error": pa.array([False, True, True, False, False]),
        "cleanlab.is_issue": pa.array([True, False, True, False, False]),
    } | changed
    return Findings(pa.table(columns), {"classes": CLASSES})


def dense(name: str, **changed) -> list[list[float]]:
    return np.round(labels_of(name, findings(**changed), ROWS).dense(np.arange(4), 3), 6).tolist()


def test_given_labels_are_those_of_the_manifest():
    assert dense("given") == [[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]]


def test_pruning_leaves_out_what_is_flagged_by_us_or_by_cleanlab():
    assert dense("pruned") == [[1, 0, 0], [0, 0, 0], [0, 0, 0], [0, 0, 1]]
    assert dense("cleanlab-pruned") == [[0, 0, 0], [1, 0, 0], [0, 0, 0], [0, 0, 1]]


def test_fixing_takes_the_suggestions_that_may_be_taken_unseen():
    assert dense("fixed") == [[1, 0, 0], [0, 1, 0], [0, 1, 0], [0, 0, 1]]


def test_soft_labels_are_the_dense_ones_of_the_findings():
    found = labels_of("soft", findings(), ROWS).dense(np.arange(4), 3)
    np.testing.assert_allclose(found, findings().soft_labels()[ROWS], atol=1e-6)
    np.testing.assert_allclose(found[1], [0.1, 0.8, 0.1], atol=1e-6)
    np.testing.assert_allclose(found[3], [0, 0, 1])


def test_all_is_all_that_the_findings_hold():
    assert choose(["all"], findings()) == ("given", "cleanlab-pruned", "pruned", "fixed", "soft")
    without = Findings(findings().table.drop_columns(["cleanlab.is_issue"]), {"classes": CLASSES})
    assert choose(["all"], without) == ("given", "pruned", "fixed", "soft")
    assert choose(["soft", "given", "soft"], without) == ("given", "soft")
    with pytest.raises(UsageError, match="need cleanlab's verdict, which this run lacks"):
        choose(["cleanlab-pruned"], without)
    with pytest.raises(UsageError, match="did you mean 'soft'"):
        choose(["sofd"], without)


def test_a_variant_that_leaves_nothing_to_learn_is_refused():
    with pytest.raises(InconclusiveError, match="'pruned' leave 0 rows of 0 classes"):
        labels_of("pruned", findings(is_label_error=pa.array([True] * 5)), ROWS)
