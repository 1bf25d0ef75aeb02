"""The example data are what their README says."""

from __future__ import annotations

import csv
import runpy
from collections import Counter
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLE = Path(__file__).parent.parent / "examples" / "clothing"


def rows(name: str) -> list[dict[str, str]]:
    with (EXAMPLE / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_manifest_and_truth_name_the_same_images_and_all_of_them_exist():
    given = [row["file_name"] for row in rows("manifest.csv")]
    assert given == [row["file_name"] for row in rows("truth.csv")]
    assert sorted(given) == sorted(f"images/{path.name}" for path in (EXAMPLE / "images").iterdir())
    assert len(set(given)) == 600


def test_a_label_is_wrong_exactly_where_the_truth_says_it_was_planted():
    planted = Counter()
    for given, truth in zip(rows("manifest.csv"), rows("truth.csv"), strict=True):
        assert (given["label"] != truth["label_true"]) == bool(truth["planted"])
        planted[truth["planted"]] += 1
    assert planted == {"": 552, "similar": 24, "random": 24}


def test_there_are_ten_classes_of_the_same_size():
    assert sorted(Counter(row["label_true"] for row in rows("truth.csv")).values()) == [60] * 10
    assert {row["label"] for row in rows("manifest.csv")} == {row["label_true"] for row in rows("truth.csv")}


def test_nothing_but_the_image_tells_the_class():
    assert set(rows("manifest.csv")[0]) == {"file_name", "label"}
    truth = rows("truth.csv")
    for n, row in enumerate(truth):
        assert row["file_name"] == f"images/{n:04}.jpg"
    neighbours_agree = sum(a["label_true"] == b["label_true"] for a, b in pairwise(truth))
    assert neighbours_agree < 100  # 60 expected of 599 in a random order


def test_images_are_small_and_carry_no_metadata():
    for path in (EXAMPLE / "images").iterdir():
        with Image.open(path) as image:
            assert max(image.size) <= 128
            assert image.mode == "RGB"
            assert not image.getexif()


def test_the_example_is_under_four_megabytes():
    assert sum(path.stat().st_size for path in EXAMPLE.rglob("*") if path.is_file()) < 4_000_000


@pytest.mark.parametrize("seed", [20, 21])
def test_the_recipe_plants_half_similar_and_half_random_mistakes(seed):
    recipe = runpy.run_path(str(EXAMPLE / "make_example.py"))
    truth = [row["label_true"] for row in rows("truth.csv")]
    planted = recipe["plant"](truth, np.random.default_rng(seed))
    assert Counter(kind for _, kind in planted.values()) == {"similar": 24, "random": 24}
    for row, (label, kind) in planted.items():
        assert label != truth[row]
        assert kind == "random" or label in recipe["SIMILAR"][truth[row]]
