"""TMLC as a corrector: perception's statistics are its state, the shipped net scores."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import ClassVar

import numpy as np

from labelfix.correctors.building import sparse, state_of
from labelfix.correctors.interface import Needs
from labelfix.evidence import Evidence, EvidenceChunk
from labelfix.findings import Correction, State
from labelfix.tmlc import perception
from labelfix.tmlc.net import load_net

SAMPLE = 20_000
"""Rows that percentiles and medians are taken from; counts are of all rows."""


class TMLC:
    """Meta-learned correction (Li 2025), equivariant over classes."""

    needs: ClassVar[Needs] = Needs(
        required=frozenset({"trajectories"}), optional=frozenset({"out_of_fold", "neighbours", "trusted"})
    )

    def __init__(self, weights: Path | None = None) -> None:
        self.weights = weights

    def fit(self, evidence: Evidence) -> State:
        """Fit the norms."""
        counts = np.bincount(evidence.labels, minlength=evidence.classes).astype(np.float32)
        norms = perception.fit(_unseen(evidence.sample(SAMPLE)), counts, evidence.epochs)
        _, card = load_net(self.weights)
        settings = {"vote_level": norms.vote_level, "epochs": norms.epochs, "rate_slack": card["rate_slack"]}
        return state_of("tmlc", evidence, norms.arrays(), **settings)

    def score(self, state: State, rows: EvidenceChunk) -> Correction:
        """Suspicion is one minus the posterior of the given label; the score is its log-odds."""
        norms = perception.Norms.from_arrays(
            state.arrays, state.settings["vote_level"], state.settings["epochs"]
        )
        net, _ = load_net(self.weights)
        log_q = net.posterior(_unseen(rows), norms)  # [n, C + 1]
        wrong = np.logaddexp.reduce(log_q[:, 1:], axis=1)
        suspicion = np.exp(wrong).clip(0.0, 1.0).astype(np.float32)
        score, p = wrong - log_q[:, 0], np.exp(log_q[:, :-1])
        return sparse("tmlc", score, rows.candidates, p, suspicion=suspicion)


def _unseen(rows: EvidenceChunk) -> EvidenceChunk:
    """Withhold the in-sample block where there are out-of-fold trajectories.

    How far heads learn errors by heart depends on rows per feature, which source tasks cover badly: measured on
    held-out sets (examples/benchmarks/LOG.md), the net ranks better without. Training rows are then scored exactly
    as unseen ones are.
    """
    return rows if rows.out_of_fold is None else dataclasses.replace(rows, in_sample=None)
