"""Evidence: all that is known of each row, in chunks; what is there and what is not.

The cost of holding evidence of N rows is N × E × C floats a block, C ≤ 12 candidates; it is made and
dropped chunk by chunk, so nothing here has the size samples × classes × epochs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from labelfix.answers import Told
from labelfix.coanswers import CoAnswers
from labelfix.trajectories import Floats, Ints, Trajectories, belief

MAX_CANDIDATES = 12
"""The given label and the eleven likeliest others; the rest is pooled as "other"."""
ENOUGH = 100
"""Rows whose label is not known to be right, from which on they alone say how rows in question look."""


@dataclass(frozen=True, eq=False)
class EvidenceChunk:
    """Evidence of n rows, of the training set or of an unseen batch. Missing blocks are None."""

    rows: NDArray[np.int64]
    """[n] positions in the manifest."""
    labels: Ints
    """[n] given class."""
    classes: int
    """K."""
    candidates: Ints
    """[n, C] candidate classes, the given one first, then descending by what the evidence says."""
    in_sample: Trajectories | None
    """Heads that saw the row's label; None for unseen rows and where only probabilities are given."""
    out_of_fold: Trajectories | None
    """The head that saw neither the row nor its group or duplicates."""
    probabilities: Floats | None
    """[n, K] final out-of-fold probabilities (the user's own where given)."""
    votes: Floats | None
    """[n, C] share of the nearest labelled neighbours, group-mates and duplicates excluded, per
    candidate, weighted by similarity; sums to at most 1."""
    reliable_votes: Floats | None
    """[n, C] the same votes, each also multiplied by how far the heads believe that neighbour's own label, 0 … 1: a
    neighbourhood under one wrong label votes for it, but is not believed."""
    trusted: NDArray[np.bool_] | None = None
    """[n] the label is known to be right."""
    kernel: Floats | None = None
    """[n, C] what a kernel regression that saw neither the row nor its group or duplicates expects of each candidate,
    about 0 … 1."""
    others: CoAnswers | None = None
    """Who gave the labels, and what other annotators said of the same items."""
    two_learners: bool = False
    """The in-sample block is that of a fine-tuned model, the out-of-fold block that of heads on frozen features. Else
    one kind of learner gave both."""

    def __len__(self) -> int:
        return len(self.rows)

    def take(self, rows: NDArray[np.intp]) -> EvidenceChunk:
        """Return the evidence of some of its rows."""

        def some(value: Any) -> Any:
            if value is None or isinstance(value, int):
                return value
            return value.take(rows) if isinstance(value, Trajectories | CoAnswers) else value[rows]

        return EvidenceChunk(**{name: some(value) for name, value in vars(self).items()})

    @classmethod
    def joined(cls, chunks: Sequence[EvidenceChunk]) -> EvidenceChunk:
        """Put chunks of the same evidence one after the other."""

        def all_of(parts: list[Any]) -> Any:
            if parts[0] is None or isinstance(parts[0], int):
                return parts[0]
            if isinstance(parts[0], Trajectories | CoAnswers):
                return type(parts[0]).joined(parts)
            return np.concatenate(parts)

        return cls(**{name: all_of([getattr(chunk, name) for chunk in chunks]) for name in vars(chunks[0])})

    def as_unseen(self) -> EvidenceChunk:
        """Return what rows no head has seen would show: no in-sample block, where there is an out-of-fold one."""
        return self if self.out_of_fold is None else replace(self, in_sample=None)

    def relabelled(self, columns: NDArray[np.intp]) -> EvidenceChunk:
        """Return what the same rows would show, had they carried the candidate at `columns` [n] for a label.

        Exact but for the one row of the head's training set that nobody sees: no head that judges out of fold has
        seen the label. The in-sample block is dropped, since its heads have.
        """
        n, C = self.candidates.shape
        order = np.broadcast_to(np.arange(C), (n, C)).copy()
        order[np.arange(n), columns], order[:, 0] = 0, columns

        def swapped(values: Any) -> Any:
            return np.take_along_axis(values, order[:, None, :] if values.ndim == 3 else order, axis=-1)

        block, candidates = self.out_of_fold, swapped(self.candidates)
        if block is not None:
            block = Trajectories(swapped(block.log_p), swapped(block.margin), block.entropy)
        votes, reliable, kernel = (
            None if some is None else swapped(some) for some in (self.votes, self.reliable_votes, self.kernel)
        )
        return replace(
            self, labels=candidates[:, 0].copy(), candidates=candidates, in_sample=None, out_of_fold=block,
            votes=votes, reliable_votes=reliable, kernel=kernel,
        )  # fmt: skip

    @property
    def belief(self) -> Floats:
        """How far the heads believe each given label [n], 0 … 1, over all epochs and both blocks."""
        margins = [block.margin[:, :, 0].mean(axis=1) for block in self.blocks if block is not None]
        return belief(np.mean(margins, axis=0))

    @property
    def blocks(self) -> tuple[Trajectories | None, Trajectories | None]:
        """The two trajectory blocks, in-sample first."""
        return self.in_sample, self.out_of_fold

    def dynamics(self) -> Trajectories:
        """Return the block hand-made scores are computed on: in-sample, else out-of-fold."""
        block = self.in_sample if self.in_sample is not None else self.out_of_fold
        if block is None:
            raise ValueError("this evidence holds no trajectories")
        return block


def in_question(trusted: NDArray[np.bool_] | None, rows: int) -> NDArray[np.intp]:
    """Return which of so many rows are not known to be right; all where hardly any is left that could tell anything."""
    left = np.arange(rows) if trusted is None else np.flatnonzero(~trusted)
    return left if len(left) >= ENOUGH else np.arange(rows)


class LinearBase(Protocol):
    """The base model of probe mode, for correctors that train on it: frozen features and the recorded heads.

    Nothing is computed before it is asked for. `rows` [n] are positions in the manifest, as in EvidenceChunk.
    """

    @property
    def folds(self) -> int:
        """F; the head of a fold saw every row that is not in it."""
        ...

    def fold(self, rows: NDArray[np.int64]) -> Ints:
        """Return the fold [n] of each row."""
        ...

    def features(self, rows: NDArray[np.int64]) -> Floats:
        """Return features [n, d], standardised as the heads read them."""
        ...

    def head(self, epoch: int, fold: int) -> tuple[Floats, Floats]:
        """Return weight [d, K] and bias [K] at a recorded epoch: logits are features @ weight + bias."""
        ...


class Evidence(Protocol):
    """Evidence of the rows that can be scored, read by chunks as often as needed."""

    @property
    def classes(self) -> int:
        """K."""
        ...

    @property
    def epochs(self) -> int:
        """Recorded epochs E."""
        ...

    @property
    def present(self) -> frozenset[str]:
        """Which of "trajectories", "out_of_fold", "in_sample", "base model", "features", "neighbours", "kernel",
        "annotators", "trusted"."""
        ...

    @property
    def fitted_on(self) -> str:
        """Names the rows: digest and count, as every fitted state repeats it."""
        ...

    @property
    def labels(self) -> Ints:
        """[n] given class of all rows."""
        ...

    @property
    def told(self) -> Told:
        """What annotators said before of the untrusted rows."""
        ...

    @property
    def base(self) -> LinearBase | None:
        """The heads that trajectories came from; None where there are none."""
        ...

    @property
    def tuned(self) -> Any:
        """The whole models that trajectories came from, a `learn.tuned.Tuned`; None where none were kept."""
        ...

    def __len__(self) -> int: ...

    def chunks(self) -> Iterator[EvidenceChunk]:
        """Yield all rows in a fixed order and fixed chunk boundaries."""
        ...

    def answered(self) -> tuple[EvidenceChunk, NDArray[np.bool_]] | None:
        """Return evidence of m rows that annotators answered, had they still the label that was asked about, as unseen
        rows show it, and which [m] of these labels were wrong; None without any."""
        ...

    def sample(self, rows: int, asked: bool = False) -> EvidenceChunk:
        """Return evidence of at most this many rows, evenly spaced by content hash: for percentiles.

        With `asked`, of those that `in_question` picks.
        """
        ...
