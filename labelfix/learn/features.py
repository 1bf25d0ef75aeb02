"""Features of images: looked up in the cache, else extracted once by the backbone; read by rows."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from labelfix.errors import ImageUnreadable, InputError
from labelfix.learn import decoding
from labelfix.learn.cache import ShardWriter, Store
from labelfix.learn.images import KEY_BYTES, ImageDataset, content_key
from labelfix.learn.recipe import Recipe
from labelfix.manifest import Images
from labelfix.progress import Progress

if TYPE_CHECKING:
    from labelfix.learn.backbone import Backbone, Identity

_IN_MEMORY = 1 << 30  # bytes
_CHUNK = 256  # rows hashed at a time while all are cached
_CONVERTED = 1024  # rows converted at a time

Rows = NDArray[np.intp]
Half = NDArray[np.float16]


class Features:
    """Features [N, d] by manifest position, gathered from memory maps or arrays.

    Rows that have none (not asked for, or unreadable) are zeros.
    """

    def __init__(self, parts: Sequence[NDArray[Any]], where: Rows, width: int) -> None:
        """`where` [N] counts through the rows of `parts` [n_i, d]; -1 = zeros."""
        self._parts, self._where, self._width = parts, where, width
        self._starts = np.cumsum([0, *(len(part) for part in parts)])

    @classmethod
    def from_array(cls, array: NDArray[Any]) -> Self:
        """Wrap the user's own features [N, d] of any number type, memory-mapped or not; raises InputError.

        Up to 1 GB they are converted and loaded here.
        """
        if array.ndim != 2 or not array.shape[1] or array.dtype.kind not in "fiu":
            found = f"{array.dtype} {list(array.shape)}"
            raise InputError(f"features: an array of numbers [rows, width] is needed, but this is {found}")
        every = np.arange(len(array))
        made = cls([array], every, array.shape[1])
        return cls([made.take(every)], every, array.shape[1]) if array.size * 2 <= _IN_MEMORY else made

    @property
    def shape(self) -> tuple[int, int]:
        """N, d."""
        return len(self._where), self._width

    @property
    def dtype(self) -> np.dtype[np.float16]:
        """float16."""
        return np.dtype(np.float16)

    def __len__(self) -> int:
        return len(self._where)

    def take(self, rows: Rows) -> Half:
        """Return a new array [n, d] of these rows; raises InputError for values float16 cannot hold."""
        at = self._where[rows]
        order = np.argsort(at, kind="stable")  # part by part, and forwards through each memory map
        at = at[order]
        bounds = np.searchsorted(at, self._starts)
        taken = np.empty((len(at), self._width), dtype=np.float16)
        taken[: bounds[0]] = 0.0
        try:
            with np.errstate(over="raise"):
                for part in np.flatnonzero(np.diff(bounds)).tolist():
                    some = slice(bounds[part], bounds[part + 1])
                    _copy(self._parts[part], at[some] - self._starts[part], taken[some])
        except FloatingPointError as error:
            remedy = "values beyond ±65504 do not fit into float16; scale them down"
            raise InputError(f"features: {remedy}") from error
        if (order[1:] > order[:-1]).all():
            return taken
        back = np.empty_like(order)
        back[order] = np.arange(len(order))
        found = np.empty_like(taken)
        _copy(taken, back, found)
        return found

    def single(self, rows: Rows) -> NDArray[np.float32]:
        """Return a new array [n, d] of these rows in single precision; raises InputError as `take` does."""
        import torch  # converts in the processor's cache many times as fast as numpy

        converted = np.empty((len(rows), self._width), np.float32)
        into = torch.from_numpy(converted)
        for start in range(0, len(rows), _CONVERTED):
            some = slice(start, start + _CONVERTED)
            into[some] = torch.from_numpy(self.take(rows[some]))
        return converted


def _copy(part: NDArray[Any], at: Rows, into: Half) -> None:
    """Copy the rows at these positions."""
    if part.dtype == into.dtype:
        np.take(part, at, axis=0, out=into, mode="clip")  # twenty times as fast as part[at]
    else:
        into[:] = part[at]


@dataclass(frozen=True, eq=False)
class Extraction:
    """What `extract` found out; N images in the manifest."""

    features: Features
    """[N, d]; zeros where not extracted."""
    keys: NDArray[np.uint8]
    """[N, 16] content keys; zeros where not extracted or where the bytes cannot be read."""
    unreadable: dict[int, str]
    """Manifest position → reason."""
    identity: Identity
    """Of the backbone: what the recipe's choices came to here, and the digest of the weights."""
    forwarded: int
    """Images that went through the backbone; the others were cached, copies or unreadable."""
    timings: dict[str, float]
    """Seconds: read_hash (rows found in the cache first), load, forward, decode_wait, write, total."""


def extract(
    images: Images, rows: Rows, recipe: Recipe, cache: Path, progress: Progress, later: Sequence[str] = ()
) -> Extraction:
    """Return the features of the images at `rows` [n], through the backbone where the cache has none.

    `later` names modules that the next stages need: they are imported while the backbone computes.

    Equal images go through once. A feature's bytes depend on the image and the recipe only, not on order,
    neighbours in the batch, workers, or what was cached. What was done when an error or an interrupt comes
    is kept. Raises UsageError for a backbone that cannot be used, OutputError for a cache that cannot be
    written, InputError when no image at all is readable.
    """
    from labelfix.learn.backbone import identify

    began = time.perf_counter()
    work = _Work(images, recipe, np.zeros((len(images), KEY_BYTES), dtype=np.uint8), later)
    identity = identify(recipe)
    if identity is None:  # hub weights are named by their values
        identity = work.load().identity
    store = Store.open(cache, identity)
    with progress.stage("features", len(rows), "images") as advance:
        left = _cached_first(work, rows, store, advance)
        if len(left):
            _forward(work, left, store, identity.size, advance)
    store = Store.open(cache, identity)  # with the shards just written
    where = np.full(len(images), -1, dtype=np.intp)
    readable = np.setdiff1d(rows, np.fromiter(work.unreadable, dtype=np.intp, count=len(work.unreadable)))
    where[readable] = store.locate(work.keys[readable])
    if len(rows) and not len(readable):
        row, reason = next(iter(work.unreadable.items()))
        raise InputError(f"none of {len(rows)} images can be read; the first, {images.name(row)}: {reason}")
    if (where[readable] < 0).any():
        raise InputError(f"{store.path}: another process removed features while they were used; run again")
    features = Features(store.features, where, store.width)
    work.timings["total"] = time.perf_counter() - began
    return Extraction(features, work.keys, work.unreadable, identity, work.forwarded, work.timings)


@dataclass(eq=False)
class _Work:
    """What one extraction gathers."""

    images: Images
    recipe: Recipe
    keys: NDArray[np.uint8]
    later: Sequence[str] = ()
    unreadable: dict[int, str] = field(default_factory=dict)
    forwarded: int = 0
    timings: dict[str, float] = field(
        default_factory=lambda: dict.fromkeys(("read_hash", "load", "decode_wait", "forward", "write"), 0.0)
    )
    backbone: Backbone | None = None

    def load(self) -> Backbone:
        """Load the backbone when the first image needs it."""
        if self.backbone is None:
            from labelfix.learn.backbone import load_backbone

            with self.timed("load"):
                self.backbone = load_backbone(self.recipe)
        return self.backbone

    @contextlib.contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Add the seconds spent inside."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.timings[what] += time.perf_counter() - began


@contextlib.contextmanager
def _importing(modules: Sequence[str]) -> Iterator[None]:
    """Import modules in a thread, on the core that the backbone leaves half idle; end when it has ended.

    Nobody else may import them meanwhile: two threads inside one package with circular imports end in an
    error of the interpreter. Nor may a process be forked.
    """

    def run() -> None:
        for module in modules:
            with contextlib.suppress(ImportError):  # who needs it will say so
                import_module(module)

    thread = Thread(target=run)
    thread.start()
    try:
        yield
    finally:
        thread.join()


def _cached_first(work: _Work, rows: Rows, store: Store, advance: Callable[[int], None]) -> Rows:
    """Read and hash rows while all are in the cache; return those from the first miss on."""
    if not len(store.sorted_keys):
        return rows
    with work.timed("read_hash"):
        for start in range(0, len(rows), _CHUNK):
            some = rows[start : start + _CHUNK]
            for row in some:
                try:
                    work.keys[row] = np.frombuffer(content_key(work.images.read(int(row))), dtype=np.uint8)
                except ImageUnreadable as error:
                    work.unreadable[int(row)] = str(error)
            known = store.locate(work.keys[some]) >= 0
            if not all(hit or int(row) in work.unreadable for hit, row in zip(known, some, strict=True)):
                return rows[start:]
            advance(len(some))
    return rows[:0]


def _forward(work: _Work, rows: Rows, store: Store, size: int, advance: Callable[[int], None]) -> None:
    """Decode what the cache does not have, send it through the backbone and write shards."""
    dataset = ImageDataset(work.images, size, rows, known=store.sorted_keys)
    workers = decoding.worker_count(work.recipe, dataset)
    queued: set[bytes] = set()
    decoded = contextlib.closing(decoding.batches(dataset, work.recipe.batch_size, workers))
    with decoded as batches, store.writer() as shards, contextlib.ExitStack() as imports:
        full = _FullBatches(work, shards, imports)
        while True:
            with work.timed("decode_wait"):
                batch = next(batches, None)
            if batch is None:
                break
            at = batch.seen
            work.keys[at] = batch.keys
            work.unreadable.update(batch.reasons)
            chosen = []
            for i, key in enumerate(work.keys[batch.rows].view(f"V{KEY_BYTES}").reshape(-1).tolist()):
                if key not in queued:
                    queued.add(key)
                    chosen.append(i)
            if chosen:
                all_new = len(chosen) == len(batch.rows)
                full.add(work.keys[batch.rows[chosen]], batch.images if all_new else batch.images[chosen])
            advance(len(at))
        full.finish()
    work.timings["write"] = shards.seconds


class _FullBatches:
    """Collects pixels into full batches, sends them through the backbone, and hands on the features."""

    def __init__(self, work: _Work, shards: ShardWriter, imports: contextlib.ExitStack) -> None:
        self._work, self._shards, self._imports = work, shards, imports
        self._pixels: list[NDArray[np.uint8]] = []
        self._keys: list[NDArray[np.uint8]] = []

    def add(self, keys: NDArray[np.uint8], pixels: NDArray[np.uint8]) -> None:
        """Take keys [n, 16] and images [n, S, S, 3]."""
        self._pixels.append(pixels)
        self._keys.append(keys)
        while sum(map(len, self._pixels)) >= self._work.recipe.batch_size:
            self._forward(self._work.recipe.batch_size)

    def finish(self) -> None:
        """Send the rest through the backbone."""
        if self._pixels:
            self._forward(self._work.recipe.batch_size)

    def _forward(self, count: int) -> None:
        pixels = self._pixels[0] if len(self._pixels) == 1 else np.concatenate(self._pixels)
        keys = np.concatenate(self._keys)
        self._pixels, self._keys = ([pixels[count:]], [keys[count:]]) if len(keys) > count else ([], [])
        backbone = self._work.load()
        if not self._work.forwarded:  # by now the worker processes are there
            self._imports.enter_context(_importing(self._work.later))
        with self._work.timed("forward"):
            features = backbone(pixels[:count])
        self._work.forwarded += len(features)
        self._shards.add(keys[:count], features)
