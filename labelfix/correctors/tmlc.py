"""TMLC as a corrector: its judgement of the target is the state, the shipped net scores."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np

from labelfix.correctors.building import sparse, state_of
from labelfix.correctors.interface import Needs
from labelfix.evidence import Evidence, EvidenceChunk
from labelfix.findings import Correction, State
from labelfix.tmlc.judgement import Judgement
from labelfix.tmlc.net import load_net


class TMLC:
    """Meta-learned correction (Li 2025), equivariant over classes, blended with margins and a second learner."""

    needs: ClassVar[Needs] = Needs(
        required=frozenset({"trajectories"}),
        optional=frozenset({"out_of_fold", "neighbours", "kernel", "annotators", "trusted"}),
    )

    def __init__(self, weights: Path | None = None) -> None:
        self.weights = weights
        self._fitted: tuple[State, Judgement] | None = None  # what the last fit heard is not heard again

    def fit(self, evidence: Evidence) -> State:
        """Judge the training rows."""
        net, _ = load_net(self.weights)
        judgement = Judgement.fit(net, evidence)
        state = state_of("tmlc", evidence, judgement.arrays(), **judgement.settings())
        self._fitted = state, judgement
        return state

    def score(self, state: State, rows: EvidenceChunk) -> Correction:
        """The score is the log-odds that the given label is wrong; suspicion is the same as a probability."""
        net, _ = load_net(self.weights)
        judgement = Judgement.of(state.arrays, state.settings)
        if self._fitted is not None and self._fitted[0] is state:
            judgement = replace(judgement, heard=self._fitted[1].heard)
        score, p = judgement(net, rows)
        suspicion = (1.0 - p[:, 0]).clip(0.0, 1.0).astype(np.float32)
        return sparse("tmlc", score, rows.candidates, p, suspicion=suspicion)
