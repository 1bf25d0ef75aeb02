"""Meta-training's sources: labelled sets of any kind become clean sets of features."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelfix.errors import InputError, UsageError
from labelfix.learn.recipe import Recipe
from labelfix.metatraining import Source, clean_sets, digits, meta_train
from labelfix.progress import Silent

CLOTHING = Path(__file__).parent.parent / "examples" / "clothing"


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ("flowers.parquet", ("flowers.parquet", None, None)),
        ("a/flowers.parquet:species", ("a/flowers.parquet", None, "species")),
        ("flowers.parquet@emb:species", ("flowers.parquet", "emb", "species")),
        ("flowers.parquet@emb", ("flowers.parquet", "emb", None)),
        ("https://x.org:80/flowers.parquet:y", ("https://x.org:80/flowers.parquet", None, "y")),
        ("some/folder", ("some/folder", None, None)),
        ("s3://bucket/folder", ("s3://bucket/folder", None, None)),
    ],
)
def test_a_table_may_name_its_columns(spec: str, expected: tuple[str, ...]) -> None:
    assert Source.parse(spec) == expected


def test_the_model_card_names_no_directories() -> None:
    assert Source.parse("/home/me/flowers.parquet@emb:species").spec == "flowers@emb:species"
    assert Source.parse("/home/me/flowers/").spec == "flowers"


def test_embeddings_are_taken_from_their_column_and_rows_without_a_label_left_out(tmp_path: Path) -> None:
    x = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    table = pa.table({"emb": x.tolist(), "kind": ["b", "a", None, "b", "a", "b"], "label": [0] * 6})
    pq.write_table(table, tmp_path / "some.parquet")
    (found,) = clean_sets([f"{tmp_path / 'some.parquet'}@emb:kind"], Recipe(), tmp_path / "cache", Silent())
    assert found.name == "some"
    assert found.y.tolist() == [1, 0, 1, 0, 1]
    assert (found.x == x[[0, 1, 3, 4, 5]].astype(np.float16)).all()
    assert found.pixels is None


def test_images_become_features_through_the_cache(cache: Path) -> None:
    (found,) = clean_sets([f"{CLOTHING / 'truth.csv'}:label_true"], Recipe(), cache, Silent(), pictured=True)
    assert found.name == "truth"
    assert found.x.shape == (600, 1088)
    assert np.bincount(found.y).tolist() == [60] * 10
    assert found.pixels.shape == (600, 32, 32, 3)
    assert len(np.unique(found.pixels.reshape(600, -1), axis=0)) > 590  # each its own image


def test_the_bundled_digits_are_a_clean_set() -> None:
    assert digits().x.shape == (1797, 64)
    assert sorted(set(digits().y.tolist())) == list(range(10))
    assert digits().pixels.shape == (1797, 32, 32, 3)
    assert digits().pixels.max() == 255


def test_what_would_fail_after_hours_fails_at_once(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="its directory does not exist"):
        meta_train([], tmp_path / "nowhere" / "weights.safetensors")
    with pytest.raises(UsageError, match="'digit' is none of the sources: digits"):
        meta_train([], tmp_path / "weights.safetensors", without=["digit"])
    with pytest.raises(InputError, match="no such file"):
        meta_train([str(tmp_path / "none.parquet")], tmp_path / "weights.safetensors")


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_weights_are_made_by_one_command_and_load(tmp_path: Path) -> None:
    from labelfix.tmlc.net import load_net

    bank = tmp_path / "bank"
    card = meta_train([], tmp_path / "weights.safetensors", bank=bank, tasks=12, seed=1, steps=200)
    net, held = load_net(tmp_path / "weights.safetensors")
    assert held == json.loads(json.dumps(card))
    assert not net.training
    assert held["command"] == "labelfix meta-train -o weights --seed 1 --tasks 12"
    assert held["sources"] == ["digits", "generated"]
    before = {path: path.stat().st_mtime_ns for path in bank.iterdir()}
    blind = meta_train(
        [], tmp_path / "w.safetensors", bank=bank, tasks=12, seed=1, steps=200, without=["digits"]
    )
    assert blind["sources"] == ["generated"]
    assert blind["command"].endswith("--tasks 12 --without digits")
    assert {path: path.stat().st_mtime_ns for path in bank.iterdir()} == before
    assert set(held["sources"]) <= {"digits", "generated"}
