"""A bank is resumable and depends on the seed only; lessons say what evidence they lack."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from labelfix.learn.noise import FAMILIES
from labelfix.learn.recipe import Recipe
from labelfix.metatraining import digits
from labelfix.progress import Silent
from labelfix.tmlc.bank import build_bank, lesson_of, load_bank
from labelfix.tmlc.sources import Task, with_copies, with_strangers


def test_a_bank_is_continued_where_it_stopped_and_does_not_depend_on_that(tmp_path: Path) -> None:
    build_bank([digits()], tmp_path / "one", seed=1, tasks=4, progress=Silent(), processes=1)
    build_bank([digits()], tmp_path / "two", seed=1, tasks=2, progress=Silent(), processes=1)
    first = (tmp_path / "two" / "lesson-00000.npz").stat().st_mtime_ns
    build_bank([digits()], tmp_path / "two", seed=1, tasks=4, progress=Silent(), processes=1)
    assert (tmp_path / "two" / "lesson-00000.npz").stat().st_mtime_ns == first
    for one, two in zip(load_bank(tmp_path / "one", 4), load_bank(tmp_path / "two", 4), strict=True):
        np.testing.assert_array_equal(one.static, two.static)
        np.testing.assert_array_equal(one.target, two.target)


def test_every_regime_gives_a_lesson_that_says_what_it_lacks() -> None:
    clean = digits()
    for regime, present in (("probe", (1, 1)), ("probabilities", (0, 1)), ("memorised", (1, 0))):
        rng = np.random.default_rng(0)
        given = FAMILIES["symmetric"](clean.x, clean.y, 10, 0.2, rng)
        task = Task(clean.x.astype(np.float32), clean.y, given, 10, "symmetric", "digits")
        lesson = lesson_of(task, Recipe(device="cpu"), rng, regime)
        held = lesson.static[0, 0, -4:-2]
        assert tuple(held.astype(int)) == present
        assert ("in_sample" in lesson.spare) == all(present)
        assert np.isfinite(lesson.static).all()


def test_images_of_none_of_the_classes_and_copies_keep_labels_in_range() -> None:
    clean, rng = digits(), np.random.default_rng(0)
    given = FAMILIES["pair"](clean.x, clean.y, 10, 0.1, rng)
    task = Task(clean.x.astype(np.float32), clean.y, given, 10, "pair", "digits")
    strange = with_strangers(task, rng)
    assert strange.classes == 9
    assert 0 < (strange.truth == -1).mean() < 0.1
    assert ((strange.given >= 0) & (strange.given < 9)).all()
    copied = with_copies(task, rng)
    assert len(copied.x) > len(task.x)
    np.testing.assert_array_equal(copied.given[: len(given)], given)
