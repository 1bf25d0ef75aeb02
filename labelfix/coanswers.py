"""Co-answers: who gave each label, and what other annotators said of the same item.

Where a manifest names annotators, a row is one answer, and rows with the same id are of one item. Work and memory for n
rows of a chunk: one number a pair of answers, 50 answers an item make 49 of them a row.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray

from labelfix.manifest import Manifest
from labelfix.trajectories import Ints

UNKNOWN = np.iinfo(np.int64).min
"""Key of annotators of whom nothing is known."""
MENDED = UNKNOWN + 1
"""Key of whoever gave the labels that answers have changed: not of the annotators of those rows, who were wrong."""


@dataclass(frozen=True, eq=False)
class CoAnswers:
    """Of n rows and the m answers that others gave to their items."""

    own: NDArray[np.int64]
    """[n] key of the row's annotator."""
    at: NDArray[np.intp]
    """[m] which of the n rows it is beside; ascending."""
    labels: Ints
    """[m] the class that it says."""
    who: NDArray[np.int64]
    """[m] key of its annotator."""
    trusted: NDArray[np.bool_]
    """[m] it is known to be right."""

    def take(self, rows: NDArray[np.intp]) -> CoAnswers:
        """Return what concerns some of the rows."""
        starts = np.searchsorted(self.at, rows)
        counts = np.searchsorted(self.at, rows, side="right") - starts
        at, some = _runs(starts, counts)
        return CoAnswers(self.own[rows], at, self.labels[some], self.who[some], self.trusted[some])

    @property
    def counts(self) -> NDArray[np.intp]:
        """How many others answered [n]."""
        return np.bincount(self.at, minlength=len(self.own))

    def first(self, most: int) -> CoAnswers:
        """Return what is left if at most so many others had answered about each item."""
        kept = np.arange(len(self.at)) - np.searchsorted(self.at, self.at) < most
        return CoAnswers(self.own, self.at[kept], self.labels[kept], self.who[kept], self.trusted[kept])

    @classmethod
    def nobody(cls, rows: int) -> Self:
        """Return those of rows of which nothing is known."""
        none = np.zeros(0, np.int64)
        return cls(np.full(rows, UNKNOWN), none, none.astype(np.int32), none, none.astype(bool))

    @classmethod
    def joined(cls, parts: Sequence[CoAnswers]) -> Self:
        """Return those of all rows of several chunks."""
        before = np.cumsum([0, *(len(part.own) for part in parts)])
        at = [part.at + start for part, start in zip(parts, before, strict=False)]
        rest = (
            np.concatenate([getattr(part, name) for part in parts]) for name in ("labels", "who", "trusted")
        )
        return cls(np.concatenate([part.own for part in parts]), np.concatenate(at), *rest)

    def of_class(self, classes: Ints) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return how many others say a class [n] of each row, and how many others there are."""
        n = len(self.own)
        agree = np.bincount(self.at, self.labels == classes[self.at], n)
        return agree.astype(np.int64), self.counts


@dataclass(frozen=True, eq=False)
class Items:
    """Which of the N rows of a manifest are answers about the same item, and whose they are."""

    keys: NDArray[np.int64]
    """[N] annotator of each row: a hash of the name. Who has the names can tell whose it is."""
    labels: Ints
    """[N] class; -1 where the row has none."""
    trusted: NDArray[np.bool_] | None
    """[N]"""
    order: NDArray[np.intp]
    """[L] rows with a label, by item; those of one item in an order that neither the manifest nor a name decides."""
    starts: NDArray[np.intp]
    """[N] where in `order` the row's item begins."""
    sizes: NDArray[np.intp]
    """[N] rows with a label that its item has."""

    @classmethod
    def of(
        cls, manifest: Manifest, labels: Ints | None = None, content: NDArray[np.uint8] | None = None
    ) -> Self | None:
        """Find the items of a manifest, whose rows may be given other labels [N]; None where it names no annotators.

        Rows with one id are of one item only if their images are the same, where hashes of the `content` [N, 16] tell.
        """
        if manifest.annotators is None:
            return None
        import pyarrow as pa
        import pyarrow.compute as pc

        labels = manifest.labels if labels is None else labels
        named = pc.fill_null(pa.array(manifest.annotators, pa.string()), "").dictionary_encode()
        each = np.array([_key(name) for name in named.dictionary.to_pylist()], np.int64)
        keys = each[named.indices.to_numpy()]
        if manifest.rounds is not None:
            keys[manifest.rounds.changed] = MENDED
        ids = pa.array(manifest.ids, pa.string()).dictionary_encode()
        item = ids.indices.to_numpy()
        mixed = np.array([_key(name) for name in ids.dictionary.to_pylist()], np.int64)[item] ^ keys
        if content is not None:
            item = np.unique(_by_content(item, content), return_inverse=True)[1]
        labelled = np.flatnonzero(labels >= 0)
        order = labelled[np.lexsort((mixed[labelled], item[labelled]))]
        sizes = np.bincount(item[labelled], minlength=int(item.max(initial=-1)) + 1)
        starts = np.cumsum(sizes) - sizes
        return cls(keys, labels, manifest.trusted, order, starts[item], sizes[item])

    def shared(self, rows: NDArray[np.integer]) -> float:
        """Return the share of some rows, by manifest position, whose items others answered, too."""
        return float((self.sizes[rows] > 1).mean()) if len(rows) else 0.0

    def beside(self, rows: NDArray[np.integer]) -> CoAnswers:
        """Return what others said of the items of some rows [n], by manifest position."""
        at, places = _runs(self.starts[rows], self.sizes[rows])
        found = self.order[places]
        others = found != rows[at]
        at, found = at[others], found[others]
        trusted = np.zeros(len(found), bool) if self.trusted is None else self.trusted[found]
        return CoAnswers(self.keys[rows], at, self.labels[found], self.keys[found], trusted)


def several_images(manifest: Manifest, content: NDArray[np.uint8]) -> list[str]:
    """Return the ids whose rows show different images, by hashes of the content [N, 16]; zeros are not known."""
    import pyarrow as pa

    ids = pa.array(manifest.ids, pa.string()).dictionary_encode()
    seen = content.any(axis=1)
    pairs = np.unique(_by_content(ids.indices.to_numpy(), content)[seen]) >> np.uint64(32)
    number, count = np.unique(pairs, return_counts=True)
    return sorted(ids.dictionary.take(pa.array(number[count > 1].astype(np.int64))).to_pylist())


def _by_content(item: NDArray[np.integer], content: NDArray[np.uint8]) -> NDArray[np.uint64]:
    """Return a number [N] that tells items, and images of one item, apart."""
    image = np.ascontiguousarray(content[:, :4]).view("<u4")[:, 0]
    return (item.astype(np.uint64) << np.uint64(32)) | image.astype(np.uint64)


def _runs(starts: NDArray[np.intp], counts: NDArray[np.intp]) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Return the members of runs, one after the other: number of the run, and position."""
    run = np.repeat(np.arange(len(starts)), counts)
    before = np.cumsum(counts) - counts
    return run, np.arange(len(run)) - before[run] + starts[run]


def _key(name: str) -> int:
    digest = hashlib.blake2b(name.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little", signed=True)
