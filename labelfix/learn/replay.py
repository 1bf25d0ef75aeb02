"""Replay: any rows × head checkpoints → evidence, chunk by chunk, two multiplications a row and checkpoint.

A block that fine-tuning recorded is read instead. One pass more says how far the heads believe each row's own label,
which weighs its votes on its neighbours. What the second learner says is told once for each row, and kept.

Chunks hold rows of one fold, so that a fold's heads are unpacked once. Memory: E × K floats a row of the
chunk, bounded by `CHUNK_FLOATS`; small data sets keep their (reduced) chunks, large ones compute them again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from labelfix.answers import NOTHING, Told
from labelfix.coanswers import CoAnswers, Items
from labelfix.evidence import MAX_CANDIDATES, EvidenceChunk, in_question
from labelfix.learn.base import Base
from labelfix.learn.kernel import Kernel
from labelfix.learn.neighbours import Neighbours
from labelfix.learn.probe import Heads
from labelfix.learn.recording import Recording
from labelfix.learn.spacing import evenly
from labelfix.trajectories import FLOOR, Floats, Ints, belief, summarise

if TYPE_CHECKING:
    from labelfix.learn.features import Features
    from labelfix.learn.tuned import Tuned

CHUNK_FLOATS = 8_000_000
CHUNK_ROWS = 8192
KEEP_BYTES = 256 << 20
NAMED = 4.0
"""More than probabilities of two blocks and votes add up to."""
ANSWERS = 16_384
"""Answers that are learnt from; of more, as many, evenly spaced."""


@dataclass(eq=False)
class Replay:
    """Evidence of training rows: n rows in canonical order (by content hash)."""

    rows: NDArray[np.int64]
    """[n] manifest position of each."""
    labels: Ints
    """[n] given class."""
    classes: int
    """K."""
    fitted_on: str
    """Names the rows."""
    folds: Ints | None = None
    """[n] fold of each; None where only probabilities are given."""
    features: Features | None = None
    """Features by manifest position."""
    heads: Heads | None = None
    """Checkpoints."""
    neighbours: Neighbours | None = None
    """Over the same n rows."""
    given: Floats | None = None
    """[N, K] the user's own out-of-sample probabilities, by manifest position."""
    trusted: NDArray[np.bool_] | None = None
    """[n]"""
    seen: Recording | None = None
    """The in-sample block that fine-tuning recorded; None: that of the heads, or none."""
    unseen: Recording | None = None
    """The out-of-fold block that fine-tuning recorded, likewise."""
    tuned: Tuned | None = None
    """The models that fine-tuning by fold has kept; None: none were asked for."""
    told: Told = NOTHING
    """What annotators said before."""
    kernel: Kernel | None = None
    """Regressions on the same features."""
    items: Items | None = None
    """Who gave the labels, by manifest position."""
    _kept: list[EvidenceChunk] = field(default_factory=list, repr=False)
    _heard: Floats | None = field(default=None, init=False, repr=False)
    """[n, C] of the second learner, from the first pass over all rows."""

    @property
    def epochs(self) -> int:
        """E, of the out-of-fold block."""
        return len(self.progress["out_of_fold"])

    @property
    def progress(self) -> dict[str, list[float]]:
        """Share of training done at each recorded epoch [E], by block."""
        heads = [1.0] if self.heads is None else self.heads.progress.tolist()
        return {
            name: heads if block is None else block.about["progress"]
            for name, block in (("in_sample", self.seen), ("out_of_fold", self.unseen))
        }

    @property
    def present(self) -> frozenset[str]:
        """Kinds of evidence that are there."""
        kinds = {"trajectories", "out_of_fold"}
        kinds |= {"in_sample"} if self.heads is not None or self.seen is not None else set()
        kinds |= {"features"} if self.heads is not None else set()
        kinds |= {"base model"} if self.heads is not None or self.tuned is not None else set()
        kinds |= {"neighbours"} if self.neighbours is not None else set()
        kinds |= {"kernel"} if self.kernel is not None else set()
        kinds |= {"annotators"} if self.items is not None else set()
        kinds |= {"trusted"} if self.trusted is not None else set()
        return frozenset(kinds)

    @property
    def base(self) -> Base | None:
        """Features and heads; None where only probabilities are given."""
        if self.features is None or self.heads is None or self.folds is None:
            return None
        return Base(self.features, self.heads, self.rows, self.folds)

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def reliability(self) -> Floats:
        """[n] how far the heads believe each row's label, 0 … 1, over all epochs and both blocks; 1 where the label is
        trusted."""
        margin = np.empty(len(self), np.float32)
        for at, _, blocks in self._scores(np.arange(len(self))):
            margin[at] = self._margin(at, blocks)
        return self._believed(margin)

    def _margin(self, at: NDArray[np.intp], blocks: list[Floats]) -> Floats:
        return np.asarray(np.mean([mean_margin(scores, self.labels[at]) for scores in blocks], axis=0))

    def _believed(self, margin: Floats) -> Floats:
        believed = belief(margin)
        return believed if self.trusted is None else np.where(self.trusted, np.float32(1.0), believed)

    def chunks(self) -> Iterator[EvidenceChunk]:
        """Yield all rows, fold by fold, in fixed chunks."""
        if self._keeps and not self._kept:
            self._kept = self._whole()
        yield from self._kept or self._compute(np.arange(len(self)), whole=True)

    def _whole(self) -> list[EvidenceChunk]:
        """Return all chunks; one pass over the features tells how far labels are believed, too."""
        margin, bare = np.empty(len(self), np.float32), []
        for at, x, blocks in self._scores(np.arange(len(self))):
            margin[at] = self._margin(at, blocks)
            bare.append((at, self._chunk(at, x, None, False, *map(log_softmax, blocks))))
        self.reliability = self._believed(margin)
        return [self._voted(at, chunk) for at, chunk in bare]

    def sample(self, rows: int, asked: bool = False) -> EvidenceChunk:
        """Return at most this many rows, evenly spaced by content hash; `asked` as in `Evidence`."""
        among = in_question(self.trusted if asked else None, len(self))
        picked = among[evenly(len(among), rows)]
        if not self._keeps:
            return EvidenceChunk.joined(list(self._compute(picked)))
        wanted = self.rows[picked]
        return EvidenceChunk.joined(
            [chunk.take(np.flatnonzero(np.isin(chunk.rows, wanted))) for chunk in self.chunks()]
        )

    def answered(self) -> tuple[EvidenceChunk, NDArray[np.bool_]] | None:
        """Return what answered rows would show, had they still the label that was asked about, and which were wrong.

        No head that judges a row out of fold has seen its label; heads in its sample have, and are left out.
        """
        told = self.told.verdicts
        if told is None:
            return None
        even = evenly(len(told.rows), ANSWERS)
        picked = np.flatnonzero(np.isin(self.rows, told.rows[even]))
        labels = self.labels.copy()
        labels[picked] = told.labels[np.searchsorted(told.rows, self.rows[picked])]
        rows = EvidenceChunk.joined(list(self._compute(picked, labels))).as_unseen()
        return rows, told.wrong[np.searchsorted(told.rows, rows.rows)]

    @property
    def _keeps(self) -> bool:
        block = (
            sum(map(len, self.progress.values())) * min(self.classes, MAX_CANDIDATES) * 8 + 4 * self.classes
        )
        if self.items is not None:
            block += int(24 * self.items.sizes[self.rows].mean())  # what each other answer takes
        return len(self) * block <= KEEP_BYTES

    def _compute(
        self, picked: NDArray[np.intp], labels: Ints | None = None, whole: bool = False
    ) -> Iterator[EvidenceChunk]:
        """Yield rows, with other `labels` [n] than they have where these are given; `whole` says that all are."""
        for at, x, blocks in self._scores(picked):
            yield self._voted(at, self._chunk(at, x, labels, whole, *map(log_softmax, blocks)))

    def _scores(self, picked: NDArray[np.intp]) -> Iterator[tuple[NDArray[np.intp], Floats, list[Floats]]]:
        """Yield positions of a chunk, which are of one fold, features [n, d] and logits [n, E, K].

        These are out of fold, then in sample where that was trained.
        """
        longest = max(map(len, self.progress.values()))
        size = max(1, min(CHUNK_ROWS, CHUNK_FLOATS // (longest * self.classes)))
        if self.folds is None:
            assert self.given is not None
            for start in range(0, len(picked), size):
                at = picked[start : start + size]
                given = self.given[self.rows[at]].astype(np.float32)
                yield at, self._features_at(at), [np.log(np.maximum(given, np.exp(FLOOR)))[:, None, :]]
            return
        folds = self.folds[picked]
        for fold in np.unique(folds):
            members = picked[folds == fold]
            blocks = (
                self._block(self.unseen, Heads.out_of_fold, fold),
                self._block(self.seen, Heads.in_sample, fold),
            )
            for start in range(0, len(members), size):
                at = members[start : start + size]
                x = self._features_at(at)
                yield at, x, [block(at, x) for block in blocks]

    def _features_at(self, at: NDArray[np.intp]) -> Floats:
        """Return features [n, d] for the heads; [n, 0] where there are none."""
        if self.features is None or self.heads is None:
            return np.empty((len(at), 0), np.float32)
        return self.features.single(self.rows[at])

    def _block(
        self, recorded: Recording | None, of_heads: Callable[[Heads, int], tuple[Floats, Floats]], fold: int
    ) -> Callable[[NDArray[np.intp], Floats], Floats]:
        """Return what gives logits [n, E, K] of rows of a fold and their features: the recording, else heads."""
        if recorded is not None:
            return lambda at, _: recorded.log_p(at, self.labels[at])
        assert self.heads is not None
        weight, bias = of_heads(self.heads, fold)
        return lambda _, x: (x @ weight + bias).reshape(len(x), -1, self.classes)

    def _chunk(
        self, at: NDArray[np.intp], x: Floats, given_labels: Ints | None, whole: bool, oof: Floats,
        ins: Floats | None = None,
    ) -> EvidenceChunk:  # fmt: skip
        """Return the evidence of rows without votes; `whole` as in `_compute`."""
        given = self.given[self.rows[at]].astype(np.float32) if self.given is not None else None
        probabilities = given if given is not None else np.exp(oof[:, -1])
        labels = (self.labels if given_labels is None else given_labels)[at]
        liking = np.exp(oof).mean(axis=1)
        if ins is not None:
            liking += np.exp(ins).mean(axis=1)
        voters = None
        if self.neighbours is not None:
            index = self.neighbours.index[at]
            voters = np.where(index >= 0, self.labels[index], -1)
        others = None if self.items is None else self.items.beside(self.rows[at])
        candidates = likeliest(labels, liking, voters, others)
        trusted = self.trusted[at] if self.trusted is not None else None
        return EvidenceChunk(
            self.rows[at], labels, self.classes, candidates,
            summarise(ins, candidates, _entropy(self.seen, at)) if ins is not None else None,
            summarise(oof, candidates, _entropy(self.unseen, at)), probabilities, None, None, trusted,
            self._second(at, x, candidates, whole), others, self.seen is not None and self.unseen is None,
        )  # fmt: skip

    def _voted(self, at: NDArray[np.intp], chunk: EvidenceChunk) -> EvidenceChunk:
        if self.neighbours is None:
            return chunk
        votes, reliable = self.neighbours.votes(self.labels, self.reliability, at, chunk.candidates)
        return replace(chunk, votes=votes, reliable_votes=reliable)

    def _second(self, at: NDArray[np.intp], x: Floats, candidates: Ints, whole: bool) -> Floats | None:
        """Return what the second learner says of rows [n, C]; passes over all rows compute it once."""
        if self.kernel is None or self.folds is None:
            return None
        if not whole:
            return self.kernel.scores(x, int(self.folds[at[0]]), candidates)
        if self._heard is None:
            self._heard = np.full((len(self), candidates.shape[1]), np.nan, np.float32)
        if np.isnan(self._heard[at]).any():
            self._heard[at] = self.kernel.scores(x, int(self.folds[at[0]]), candidates)
        return np.asarray(self._heard[at])


def log_softmax(logits: Floats) -> Floats:
    """Turn logits [n, E, K] into log-probabilities, in place."""
    logits -= logits.max(axis=2, keepdims=True)
    logits -= np.log(np.exp(logits).sum(axis=2, keepdims=True))
    return logits


def _entropy(recorded: Recording | None, at: NDArray[np.intp]) -> Floats | None:
    return None if recorded is None else recorded.entropy(at)


def mean_margin(scores: Floats, labels: Ints) -> Floats:
    """Return the mean over epochs [n] by which `scores` [n, E, K] of the label exceed those of the best other class.

    Logits and log-probabilities have the same margins.
    """
    at = np.arange(len(labels))
    own = scores[at, :, labels]
    scores[at, :, labels] = -np.inf
    best = scores.max(axis=2)
    scores[at, :, labels] = own
    return np.asarray((own - best).mean(axis=1), np.float32)


def likeliest(labels: Ints, liking: Floats, voters: Ints | None, others: CoAnswers | None = None) -> Ints:
    """Return the given class, then the likeliest others [n, C], at most `MAX_CANDIDATES`.

    By `liking` [n, K], any measure of probability, plus the share of the neighbours' labels `voters` [n, k], -1
    where there is none. Classes that `others` gave come before all that nobody did.
    """
    n, K = liking.shape
    liking = liking.copy()
    if voters is not None:
        row, column = np.nonzero(voters >= 0)
        np.add.at(liking, (row, voters[row, column]), 1.0 / voters.shape[1])
    liking[np.arange(n), labels] = np.inf
    count = min(K, MAX_CANDIDATES)
    if count < K:
        wanted = liking
        if others is not None:
            wanted = liking.copy()
            wanted[others.at, others.labels] += NAMED
        top = np.argpartition(-wanted, count - 1, axis=1)[:, :count]
        top.sort(axis=1)  # ties are then broken by class number
    else:
        top = np.broadcast_to(np.arange(K), (n, K))
    order = np.argsort(-np.take_along_axis(liking, top, axis=1), axis=1, kind="stable")
    return np.take_along_axis(top, order, axis=1).astype(np.int32)
