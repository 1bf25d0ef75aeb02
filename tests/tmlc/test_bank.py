"""A bank is resumable and depends on the seed only; lessons say what evidence they lack."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from labelfix.errors import InputError
from labelfix.learn.noise import FAMILIES
from labelfix.learn.recipe import Recipe
from labelfix.metatraining import digits
from labelfix.progress import Silent
from labelfix.tmlc.bank import VERSION, build_bank, lesson_of, load_bank
from labelfix.tmlc.perception import STATIC
from labelfix.tmlc.sources import CleanSet, Task, draw_pictured, with_copies, with_strangers


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


def few_digits(rows: int, pictured: bool = True) -> CleanSet:
    whole = digits()
    return CleanSet("few", whole.x[:rows], whole.y[:rows], whole.pixels[:rows] if pictured else None)


def test_a_whole_network_is_trained_beside_the_heads_that_judge_out_of_fold() -> None:
    clean = few_digits(150)
    given = FAMILIES["symmetric"](clean.x, clean.y, 10, 0.2, np.random.default_rng(0))
    task = Task(clean.x.astype(np.float32), clean.y, given, 10, "symmetric", "few", pixels=clean.pixels)
    tuned, probed = (
        lesson_of(task, Recipe(device="cpu"), np.random.default_rng(3), regime)
        for regime in ("finetune", "probe")
    )
    assert (tuned.regime, probed.regime) == ("finetune", "probe")
    assert tuned.spare == probed.spare == {"in_sample", "out_of_fold", "votes"}
    assert len(tuned.target) == len(probed.target) == 150
    assert (tuned.target != 0).mean() == (given != clean.y).mean()
    one, two = (np.sort(lesson.static[:, 0].astype(np.float32), axis=0) for lesson in (tuned, probed))
    np.testing.assert_allclose(one[:, STATIC : 2 * STATIC], two[:, STATIC : 2 * STATIC], atol=0.05)
    assert np.abs(one[:, :STATIC] - two[:, :STATIC]).max() > 0.3


def test_tasks_of_images_hold_the_images_of_their_rows() -> None:
    clean, widths = few_digits(900), set()
    for seed in range(8):
        task = draw_pictured(np.random.default_rng(seed), [few_digits(50, pictured=False), clean])
        assert task.source == "few"
        assert len(task.pixels) == len(task.x) <= 900
        grey = task.pixels[:, ::4, ::4, 0].reshape(len(task.x), 64)
        known = {image.tobytes(): y for image, y in zip(clean.pixels[:, ::4, ::4, 0], clean.y, strict=True)}
        names = {(known[image.tobytes()], k) for image, k in zip(grey, task.truth, strict=True)}
        assert len(names) == task.classes  # each class of the task is one class of the set
        assert np.isfinite(task.x).all()
        widths.add(task.x.shape[1])
    assert min(widths) < 64 == max(widths)  # some of a domain that the backbone does not know


def test_tasks_of_whole_networks_come_beside_the_others_and_change_none(tmp_path: Path) -> None:
    sets = [few_digits(60)]
    build_bank(sets, tmp_path, seed=1, tasks=1, progress=Silent(), processes=1)
    before = (tmp_path / "lesson-00000.npz").read_bytes()
    build_bank(sets, tmp_path, seed=1, tasks=1, progress=Silent(), processes=1, finetuned=1)
    assert (tmp_path / "lesson-00000.npz").read_bytes() == before
    assert load_bank(tmp_path, 1, 1)[1].regime == "finetune"
    assert load_bank(tmp_path, 1)[0].regime != "finetune"


def test_a_bank_of_other_sources_or_of_another_seed_or_version_is_refused(tmp_path: Path) -> None:
    def build(sets: list[CleanSet], seed: int) -> None:
        build_bank(sets, tmp_path, seed=seed, tasks=1, progress=Silent(), processes=1)

    build([few_digits(60)], 1)
    lesson = (tmp_path / "lesson-00000.npz").read_bytes()
    build([few_digits(60)], 1)
    for sets, seed, what in (([few_digits(60)], 2, "seed"), ([few_digits(61)], 1, "sources")):
        with pytest.raises(InputError, match=f"was made with another {what}; delete it, or choose another"):
            build(sets, seed)
    (made_of := tmp_path / "bank.json").write_text(made_of.read_text().replace(f": {VERSION},", ": 0,"))
    with pytest.raises(InputError, match="another version"):
        build([few_digits(60)], 1)
    made_of.write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        build([few_digits(60)], 1)
    made_of.unlink()
    with pytest.raises(InputError, match="made by another labelfix; delete it"):
        build([few_digits(60)], 1)
    assert (tmp_path / "lesson-00000.npz").read_bytes() == lesson


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
