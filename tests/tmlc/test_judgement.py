"""What a judgement says: the second learner has a say in which other class is likeliest, and leaves the rest."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from labelfix.evidence import EvidenceChunk
from labelfix.tmlc.judgement import _told_by_both


def rows(kernel: list[list[float]] | None) -> EvidenceChunk:
    n = 2 if kernel is None else len(kernel)
    candidates = np.tile(np.arange(3, dtype=np.int32), (n, 1))
    chunk = EvidenceChunk(np.arange(n), candidates[:, 0], 3, candidates, None, None, None, None, None)
    return chunk if kernel is None else dataclasses.replace(chunk, kernel=np.array(kernel, np.float32))


LOG_Q = np.log(np.array([[0.5, 0.2, 0.2, 0.1], [0.9, 0.07, 0.02, 0.01]], np.float32))


def test_among_equals_the_second_learner_decides() -> None:
    told = _told_by_both(LOG_Q, rows([[0.3, 0.1, 0.6], [0.3, 0.1, 0.6]]))
    assert told[0, 2] > told[0, 1]


def test_the_posterior_of_the_given_label_and_of_all_others_stays() -> None:
    told = np.exp(_told_by_both(LOG_Q, rows([[0.3, -0.1, 0.8], [1.2, 0.0, -0.2]])))
    np.testing.assert_allclose(told.sum(axis=1), 1.0, rtol=1e-5)
    np.testing.assert_allclose(told[:, [0, 3]], np.exp(LOG_Q)[:, [0, 3]], rtol=1e-5)


@pytest.mark.parametrize("kernel", [None, [[0.4, 0.5], [0.4, 0.5]]])
def test_nothing_changes_without_it_or_with_one_other_class(kernel: list[list[float]] | None) -> None:
    seen, log_q = rows(kernel), LOG_Q if kernel is None else LOG_Q[:, [0, 1, 3]]
    if kernel is not None:
        seen = dataclasses.replace(seen, candidates=seen.candidates[:, :2])
    np.testing.assert_array_equal(_told_by_both(log_q, seen), log_q)
