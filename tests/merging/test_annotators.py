"""Annotators: each one's record, within bounds however many rows were answered."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest

from labelfix.findings import SOFT_LABEL, Findings
from labelfix.merging.annotators import annotators
from labelfix.merging.consensus import decide
from labelfix.merging.gathering import Vote

ROWS = 300
CLASSES = ("cat", "dog", "eel")


@pytest.fixture
def answered() -> tuple[list[Vote], Findings, np.ndarray]:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, ROWS)
    soft = [[{"label": CLASSES[k], "p": 0.8}] for k in truth]
    table = pa.table({
        "label": [CLASSES[k] for k in truth],
        "soft_label": pa.array(soft, SOFT_LABEL),
        "soft_label_other": pa.array(np.full(ROWS, 0.2), pa.float32()),
    })  # fmt: skip
    votes = []
    for name, rate in (("ann", 0.02), ("bob", 0.1), ("cyn", 0.4)):
        says = np.where(rng.random(ROWS) < rate, (truth + 1) % 3, truth)
        votes += [Vote(row, CLASSES[k], "", name, "", "file", "") for row, k in enumerate(says)]
    return votes, Findings(table, {"classes": CLASSES, "correctors": ["tmlc"]}), truth


@pytest.mark.parametrize("cells", [None, 60 * 6])
def test_who_errs_more_agrees_less_and_is_of_lower_quality(answered, monkeypatch, cells):
    votes, findings, _ = answered
    if cells is not None:
        monkeypatch.setitem(annotators.__globals__, "CELLS", cells)
    found = annotators(votes, decide(votes, findings.column("label")), findings)
    assert [one.name for one in found] == ["ann", "bob", "cyn"]
    assert [one.answers for one in found] == [ROWS] * 3
    for measure in ("agreement", "quality"):
        values = [getattr(one, measure) for one in found]
        assert values == sorted(values, reverse=True)
        assert values[0] - values[2] > 0.2
