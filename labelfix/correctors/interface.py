"""What a corrector must be: it fits a small state on training rows, then scores rows seen or unseen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from labelfix.evidence import Evidence, EvidenceChunk
from labelfix.findings import Correction, State

KINDS = frozenset({
    "trajectories", "out_of_fold", "base model", "features", "neighbours", "kernel", "annotators", "trusted", "images"
})  # fmt: skip


@dataclass(frozen=True)
class Needs:
    """Kinds of evidence a corrector reads; the pipeline computes no other."""

    required: frozenset[str]
    """Without one of these the corrector refuses."""
    optional: frozenset[str] = field(default_factory=frozenset)
    """Used where present."""

    def __post_init__(self) -> None:
        strange = (self.required | self.optional) - KINDS
        if strange:
            raise ValueError(f"unknown kinds of evidence {sorted(strange)}; known: {sorted(KINDS)}")


class Corrector(Protocol):
    """A method. It is made without arguments; everything it learns is in the state it returns."""

    needs: ClassVar[Needs]

    def fit(self, evidence: Evidence) -> State:
        """Read the training rows by chunks and return what scoring needs: small, saved in the run."""
        ...

    def score(self, state: State, rows: EvidenceChunk) -> Correction:
        """Score training rows or unseen ones by the state alone: never normalised by `rows`."""
        ...
