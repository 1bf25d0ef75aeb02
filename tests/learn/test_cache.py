"""The cache: whole shards, found again by content, damaged ones dropped."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from labelfix.learn.backbone import Identity
from labelfix.learn.cache import Store, default_cache

IDENTITY = Identity("some", "0123", 32, (0.5,), (0.5,), "float32")


def keys(*numbers: int) -> np.ndarray:
    """[n, 16]; zeros at the end must tell keys apart as any other byte does."""
    return np.array([[n, *[0] * 15] for n in numbers], dtype=np.uint8)


def features(*numbers: int) -> np.ndarray:
    return np.array([[n, -n] for n in numbers], dtype=np.float16)


def fill(cache: Path, *numbers: int) -> None:
    with Store.open(cache, IDENTITY).writer() as shards:
        shards.add(keys(*numbers), features(*numbers))


def test_what_was_added_is_found_by_its_key_in_any_shard(tmp_path: Path) -> None:
    fill(tmp_path, 3, 1)
    fill(tmp_path, 2)
    store = Store.open(tmp_path, IDENTITY)
    where = store.locate(keys(2, 7, 3, 0))
    assert where.tolist()[1] == where.tolist()[3] == -1
    rows = np.concatenate(store.features)
    assert (rows[where[[0, 2]]] == features(2, 3)).all()


def test_another_identity_sees_nothing_of_it(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    other = Identity("some", "4567", 32, (0.5,), (0.5,), "float32")
    assert Store.open(tmp_path, other).locate(keys(1)).tolist() == [-1]


def test_an_error_while_writing_keeps_what_was_added(tmp_path: Path) -> None:
    def fail() -> None:
        with Store.open(tmp_path, IDENTITY).writer() as shards:
            shards.add(keys(1), features(1))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fail()
    assert Store.open(tmp_path, IDENTITY).locate(keys(1)).tolist() == [0]


def test_a_damaged_shard_is_dropped_and_the_others_stay(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    (shard,) = tmp_path.glob("*/*.safetensors")
    fill(tmp_path, 2)
    shard.write_bytes(shard.read_bytes()[:-1])
    store = Store.open(tmp_path, IDENTITY)
    assert store.locate(keys(1, 2)).tolist() == [-1, 0]
    assert not shard.exists()


def test_the_cache_is_in_the_users_cache_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert default_cache() == tmp_path / "labelfix"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert default_cache() == Path.home() / ".cache" / "labelfix"
