"""What a corrector must be: it fits a small state on training rows, then scores rows seen or unseen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np

from labelfix.evidence import Evidence, EvidenceChunk
from labelfix.findings import SOFT, Correction, State

KINDS = frozenset({"trajectories", "out_of_fold", "features", "neighbours", "trusted", "images"})


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


def state_of(corrector: str, evidence: Evidence, arrays: dict[str, Any], **settings: Any) -> State:
    """Build a state that names the rows it was fitted on."""
    return State(corrector, evidence.fitted_on, arrays, settings)


def sparse(corrector: str, score: Any, classes: Any, p: Any, **rest: Any) -> Correction:
    """Build a correction from scores [n] and the probabilities of listed classes [n, C], sorted here."""
    order = np.argsort(-p, axis=1, kind="stable")[:, :SOFT]
    return Correction(
        corrector,
        np.asarray(score, np.float32),
        np.take_along_axis(classes, order, axis=1).astype(np.int32),
        np.take_along_axis(p, order, axis=1).astype(np.float32),
        **rest,
    )
