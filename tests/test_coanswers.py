"""Who gave each label, and what others said of the same item."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from labelfix.answers import Rounds
from labelfix.coanswers import MENDED, CoAnswers, Items, several_images
from labelfix.manifest import Manifest

ANSWERS = [
    ("x", "ann", 0),
    ("y", "ann", 1),
    ("x", "bob", 1),
    ("z", "cy", 0),
    ("x", "cy", 0),
    ("y", "bob", -1),
]


def manifest(answers: list[tuple[str, str, int]], **rest: object) -> Manifest:
    ids, who, labels = zip(*answers, strict=True)
    names = np.array(ids, object), np.array(labels, np.int32), ("a", "b"), None
    return Manifest(*names, annotators=np.array(who, object), **rest)  # type: ignore[arg-type]


def test_others_are_those_with_the_same_id_and_a_label() -> None:
    items = Items.of(manifest(ANSWERS))
    assert items is not None
    beside = items.beside(np.arange(6))
    assert sorted(zip(beside.at.tolist(), beside.labels.tolist(), strict=True)) == [
        (0, 0), (0, 1), (2, 0), (2, 0), (4, 0), (4, 1), (5, 1)
    ]  # fmt: skip
    assert beside.counts.tolist() == [2, 0, 2, 0, 2, 1]
    assert beside.first(1).counts.tolist() == [1, 0, 1, 0, 1, 1]
    assert beside.first(0).counts.sum() == 0
    assert beside.own[0] == beside.own[1] != beside.own[2]
    agree, count = beside.of_class(np.array([0, 0, 0, 0, 1, 1], np.int32))
    assert agree.tolist() == [1, 0, 2, 0, 1, 1]
    assert count.tolist() == [2, 0, 2, 0, 2, 1]


@given(st.permutations(range(6)))
def test_others_come_in_the_same_order_however_rows_are_ordered(order: list[int]) -> None:
    usual, moved = (Items.of(manifest([ANSWERS[row] for row in rows])) for rows in (range(6), order))
    assert usual is not None
    assert moved is not None
    one, two = usual.beside(np.array(order)), moved.beside(np.arange(6))
    for name in ("own", "at", "labels", "who"):
        np.testing.assert_array_equal(getattr(one, name), getattr(two, name))


def test_rows_without_a_named_annotator_are_one_unknown_ones() -> None:
    nobody = manifest(ANSWERS)
    assert nobody.annotators is not None
    nobody.annotators[[1, 3]] = None
    items = Items.of(nobody)
    assert items is not None
    assert items.keys[1] == items.keys[3]
    assert len(set(items.keys.tolist())) == 4


def test_a_label_that_an_answer_changed_is_not_its_annotators() -> None:
    number, wrong = np.array([1, 0, 1, 0, 0, 0], np.int32), np.array([True, False, False, True, False, False])
    rounds = Rounds(number, np.zeros(6), wrong, np.full(6, -1, np.int32))
    plain, answered = Items.of(manifest(ANSWERS)), Items.of(manifest(ANSWERS, rounds=rounds))
    assert plain is not None
    assert answered is not None
    assert (plain.keys != answered.keys).tolist() == [True, False, False, False, False, False]
    assert answered.keys[0] == MENDED != CoAnswers.nobody(1).own[0]


def test_a_manifest_without_annotators_has_no_items() -> None:
    alone = Manifest(np.array(["x"], object), np.zeros(1, np.int32), ("a", "b"), None)
    assert Items.of(alone) is None


def test_keys_name_annotators_in_every_manifest_alike() -> None:
    one, two = Items.of(manifest(ANSWERS)), Items.of(manifest(ANSWERS[::-1]))
    assert one is not None
    assert two is not None
    assert one.keys.tolist() == two.keys[::-1].tolist()


def test_trusted_answers_are_known() -> None:
    items = Items.of(manifest(ANSWERS, trusted=np.array([False, False, True, False, False, False])))
    assert items is not None
    assert items.beside(np.array([0])).trusted.tolist() == [True, False]


def test_answers_about_different_images_are_of_different_items() -> None:
    told = manifest(ANSWERS)
    content = np.ones((6, 16), np.uint8)
    assert several_images(told, content) == []
    content[2] = 7
    content[5] = 0  # y's second row cannot be read
    assert several_images(told, content) == ["x"]
    items = Items.of(told, content=content)
    assert items is not None
    assert items.beside(np.arange(6)).at.tolist() == [0, 4]


def test_labels_may_be_others_than_the_manifests() -> None:
    items = Items.of(manifest(ANSWERS), np.array([0, 1, -1, 0, 1, 1], np.int32))
    assert items is not None
    assert items.beside(np.array([0])).labels.tolist() == [1]
    assert items.shared(np.arange(6)) == pytest.approx(5 / 6)


@given(st.lists(st.tuples(st.sampled_from("uvw"), st.integers(0, 1)), min_size=1, max_size=30), st.data())
def test_some_of_the_rows_or_chunks_of_them_are_the_same(
    rows: list[tuple[str, int]], data: st.DataObject
) -> None:
    answers = [(item, f"who{at}", label) for at, (item, label) in enumerate(rows)]
    items = Items.of(manifest(answers))
    assert items is not None
    picked = np.array(data.draw(st.lists(st.integers(0, len(rows) - 1), min_size=1, unique=True)))
    direct, taken = items.beside(picked), items.beside(np.arange(len(rows))).take(picked)
    parts = [items.beside(np.array([row])) for row in picked]
    for same in (taken, CoAnswers.joined(parts)):
        for name in vars(direct):
            np.testing.assert_array_equal(getattr(direct, name), getattr(same, name))
    assert direct.first(99).at.tolist() == direct.at.tolist()
