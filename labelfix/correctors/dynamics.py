"""Hand-made scores of the trajectory: mean loss, average margin, wrong events."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import ClassVar

import numpy as np

from labelfix.correctors.building import sparse, state_of
from labelfix.correctors.interface import Needs
from labelfix.evidence import Evidence, EvidenceChunk
from labelfix.findings import Correction, State
from labelfix.trajectories import Floats, Trajectories


class Dynamics(ABC):
    """A score that is a pure function of the in-sample block (out-of-fold for unseen rows); no state."""

    needs: ClassVar[Needs] = Needs(required=frozenset({"trajectories"}))
    name: ClassVar[str]

    @staticmethod
    @abstractmethod
    def of(block: Trajectories) -> Floats:
        """[n] higher is more suspicious."""

    def fit(self, evidence: Evidence) -> State:
        """Nothing is fitted."""
        return state_of(self.name, evidence, {})

    def score(self, state: State, rows: EvidenceChunk) -> Correction:  # noqa: ARG002 (Protocol)
        """Score, with the probability averaged over epochs as the soft label."""
        block = rows.dynamics()
        return sparse(self.name, self.of(block), rows.candidates, np.exp(block.log_p).mean(axis=1))


class MeanLoss(Dynamics):
    """Mean cross-entropy of the given label over epochs."""

    name = "mean-loss"

    @staticmethod
    def of(block: Trajectories) -> Floats:
        """[n] nats."""
        return np.asarray(block.loss.mean(axis=1), np.float32)


class AverageMargin(Dynamics):
    """Area under the margin, negated (Pleiss et al. 2020, §3.1)."""

    name = "aum"

    @staticmethod
    def of(block: Trajectories) -> Floats:
        """[n] minus the mean margin of the given label."""
        return np.asarray(-block.margin[:, :, 0].mean(axis=1), np.float32)


class WrongEvents(Dynamics):
    """Share of epochs in which another class is preferred (IDO, 2025); ties are broken by the mean margin."""

    name = "wrong-events"

    @staticmethod
    def of(block: Trajectories) -> Floats:
        """[n] share, plus a tie-break below one event."""
        margin = block.margin[:, :, 0]
        return np.asarray((margin < 0).mean(axis=1) - 1e-4 * margin.mean(axis=1), np.float32)
