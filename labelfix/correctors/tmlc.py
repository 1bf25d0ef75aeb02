"""TMLC as a corrector: its judgement of the target is the state, the shipped net scores."""

from __future__ import annotations

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

    def fit(self, evidence: Evidence) -> State:
        """Judge the training rows."""
        net, _ = load_net(self.weights)
        judgement = Judgement.fit(net, evidence)
        return state_of("tmlc", evidence, judgement.arrays(), **judgement.settings())

    def score(self, state: State, rows: EvidenceChunk) -> Correction:
        """The score is the log-odds that the given label is wrong; suspicion is the same as a probability."""
        net, _ = load_net(self.weights)
        score, p = Judgement.of(state.arrays, state.settings)(net, rows)
        suspicion = (1.0 - p[:, 0]).clip(0.0, 1.0).astype(np.float32)
        return sparse("tmlc", score, rows.candidates, p, suspicion=suspicion)
