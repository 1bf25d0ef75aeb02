"""The feature cache, shared by all runs: a directory per backbone identity, and in it shards.

A shard is a safetensors file of at most 4096 rows with `keys` [n, 16] uint8 (content keys) and `features`
[n, d] float16. It is written whole and renamed, so several processes may write; a damaged one is dropped and
its features are made again.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from labelfix.learn.images import KEY_BYTES
from labelfix.rundir import output_error, writing

if TYPE_CHECKING:
    from labelfix.learn.backbone import Identity

VERSION = 1
"""Of the cache's layout; part of every directory's name."""
_SHARD = 4096  # rows
_FLUSH_AFTER = 60.0  # seconds: a slow backbone keeps what it has
_KEY = np.dtype(f"S{KEY_BYTES}")


def default_cache() -> Path:
    """Return the user's cache folder: `$XDG_CACHE_HOME/labelfix`, else `~/.cache/labelfix`."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "labelfix"


class Store:
    """The features of one backbone identity: all its shards, seen as one list of rows."""

    def __init__(self, path: Path, features: list[NDArray[Any]], keys: NDArray[np.bytes_]) -> None:
        """`features` are those of each shard [n_i, d], memory-mapped; `keys` [sum of n_i] of dtype S16."""
        self.path, self.features = path, features
        self._order = np.argsort(keys, kind="stable")
        self.sorted_keys = keys[self._order]
        self.width = features[0].shape[1] if features else 0

    @classmethod
    def open(cls, cache: Path, identity: Identity) -> Store:
        """Read the keys of all whole shards, making the directory if there is none; raises OutputError."""
        path = cache / f"features-{VERSION}-{identity.key}"
        about = path / "about.json"
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise output_error(path, error) from error
        if not about.exists():
            with writing(about) as temporary:
                temporary.write_text(json.dumps({"version": VERSION, **asdict(identity)}, indent=2) + "\n")
        files = sorted(path.glob("*.safetensors"))
        shards = [shard for file in files if (shard := _read_shard(file)) is not None]
        widths = {features.shape[1] for _, features in shards}
        assert len(widths) <= 1, f"{path}: shards of widths {widths}"
        keys = np.concatenate([keys for keys, _ in shards]) if shards else np.zeros(0, dtype=_KEY)
        return cls(path, [features for _, features in shards], keys)

    def locate(self, keys: NDArray[np.uint8]) -> NDArray[np.intp]:
        """Return for keys [n, 16] the row counted through all shards; -1 = not there."""
        wanted = np.ascontiguousarray(keys).view(_KEY).reshape(-1)
        if not len(self.sorted_keys):
            return np.full(len(wanted), -1, dtype=np.intp)
        at = np.searchsorted(self.sorted_keys, wanted).clip(max=len(self.sorted_keys) - 1)
        return np.where(self.sorted_keys[at] == wanted, self._order[at], -1)

    @contextlib.contextmanager
    def writer(self) -> Iterator[ShardWriter]:
        """Yield a writer of new shards; what it holds is written on the way out, even after an error."""
        writer = ShardWriter(self.path)
        try:
            yield writer
        except BaseException:
            with contextlib.suppress(Exception):  # the first error is the one to tell
                writer.flush()
            raise
        writer.flush()


class ShardWriter:
    """Collects features into shards; a new `Store` sees them."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._keys: list[NDArray[np.uint8]] = []
        self._features: list[NDArray[np.float16]] = []
        self._flushed = time.monotonic()
        self.seconds = 0.0
        """Spent writing."""

    def add(self, keys: NDArray[np.uint8], features: NDArray[np.float16]) -> None:
        """Take keys [n, 16] and features [n, d]; writes a shard when as many again would overfill it."""
        self._keys.append(keys)
        self._features.append(features)
        held = sum(map(len, self._keys))
        if held + len(keys) > _SHARD or time.monotonic() - self._flushed > _FLUSH_AFTER:
            self.flush()

    def flush(self) -> None:
        """Write what there is as one shard, named by its keys; raises OutputError."""
        from safetensors.numpy import save

        self._flushed = began = time.monotonic()
        if not self._keys:
            return
        keys, features = np.concatenate(self._keys), np.concatenate(self._features)
        with writing(self._path / f"{_shard_name(keys)}.safetensors") as temporary:
            temporary.write_bytes(
                save({"keys": keys, "features": features}, metadata={"version": str(VERSION)})
            )
        self._keys, self._features = [], []
        self.seconds += time.monotonic() - began


def _shard_name(keys: NDArray[np.uint8]) -> str:
    return hashlib.blake2b(keys.tobytes(), digest_size=16).hexdigest()


def _read_shard(path: Path) -> tuple[NDArray[np.bytes_], NDArray[Any]] | None:
    """Return keys [n] and memory-mapped features [n, d] of a shard; drop it when it is damaged."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as shard:  # checks the header against the file's length
            keys = shard.get_tensor("keys")
            rows, width = shard.get_slice("features").get_shape()
        if _shard_name(keys) == path.stem and keys.shape == (rows, KEY_BYTES):
            with path.open("rb") as file:
                start = 8 + int.from_bytes(
                    file.read(8), "little"
                )  # safetensors: length, header, then tensors
                offset = start + json.loads(file.read(start - 8))["features"]["data_offsets"][0]
            features = np.memmap(path, dtype=np.float16, mode="r", offset=offset, shape=(rows, width))
            return keys.view(_KEY).reshape(-1), features
    except (SafetensorError, ValueError, TypeError):
        pass
    except OSError:  # gone meanwhile, or not readable now: as if it were not there
        return None
    with contextlib.suppress(OSError):
        path.unlink()
    return None
