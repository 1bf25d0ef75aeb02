"""Targets are distributions over classes, however they are listed."""

from __future__ import annotations

import numpy as np

from labelfix.learn.targets import Targets

AT = np.arange(3)


def test_a_hard_label_is_a_certainty_and_a_row_without_one_takes_no_part():
    labels = np.array([2, -1, 0], np.int32)
    targets = Targets.hard(labels)
    np.testing.assert_array_equal(targets.dense(AT, 3), [[0, 0, 1], [0, 0, 0], [1, 0, 0]])
    assert targets.taught.tolist() == [0, 2]
    assert Targets.hard(labels, np.array([False, True, True])).taught.tolist() == [2]


def test_what_is_not_listed_shares_the_rest_alike():
    classes = np.array([[0, 1], [2, 3], [1, 0]], np.int32)
    p = np.array([[0.5, 0.3], [1.0, 0.0], [0.6, 0.4]], np.float32)
    targets = Targets.soft(classes, p, np.array([0.2, 0.0, 0.0], np.float32))
    expected = [[0.5, 0.3, 0.1, 0.1], [0, 0, 1, 0], [0.4, 0.6, 0, 0]]
    np.testing.assert_allclose(targets.dense(AT, 4), expected, atol=1e-6)
    np.testing.assert_allclose(targets.of(AT[:1]).dense(AT[:1], 4), expected[:1], atol=1e-6)


def test_soft_labels_sum_to_one_whatever_is_given():
    p = np.array([[0.2, 0.2], [2.0, 2.0], [0.0, 0.0]], np.float32)
    classes = np.array([[0, 1], [1, 2], [0, 1]], np.int32)
    sums = Targets.soft(classes, p, np.array([0.1, 0.0, 0.0], np.float32)).dense(AT, 5).sum(axis=1)
    np.testing.assert_allclose(sums, [1, 1, 0], atol=1e-6)


def test_only_the_rows_asked_for_come_in_their_order():
    targets = Targets.hard(np.array([0, 1, 2], np.int32))
    np.testing.assert_array_equal(targets.dense(np.array([2, 0]), 3), [[0, 0, 1], [1, 0, 0]])


def test_counts_add_up_shares_and_what_is_not_listed():
    soft = Targets.soft(
        np.array([[0, 1], [2, 0]]), np.array([[0.5, 0.3], [1.0, 0.0]], np.float32), np.array([0.2, 0.0])
    )
    dense = soft.dense(np.arange(2), 4)
    np.testing.assert_allclose(soft.counts(4).sum(), 2.0, atol=1e-6)
    np.testing.assert_allclose(soft.counts(4), dense.sum(axis=0), atol=0.1)
