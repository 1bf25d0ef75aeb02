"""The published recipe of TMLC-Net as a corrector, so that what ours adds to it can be measured."""

from __future__ import annotations

from dataclasses import asdict
from typing import ClassVar

import numpy as np
import torch

from labelfix.correctors.building import sparse, state_of
from labelfix.correctors.interface import Needs
from labelfix.evidence import Evidence, EvidenceChunk
from labelfix.findings import Correction, State
from labelfix.tmlc import paper
from labelfix.trajectories import Trajectories

SAMPLE = 20_000
"""Rows that statistics are taken from and that training draws from: time and memory do not grow beyond."""


class TMLCPaper:
    """TMLC-Net's own training (Li 2025) on the target; see `labelfix.tmlc.paper` for what the paper leaves open."""

    needs: ClassVar[Needs] = Needs(required=frozenset({"trajectories", "base model"}))

    def __init__(self, recipe: paper.PaperRecipe | None = None) -> None:
        self.recipe = recipe or paper.PaperRecipe()

    def fit(self, evidence: Evidence) -> State:
        """Train the trust net; the state is it and the norms, so that unseen rows need neither features nor models."""
        heads = evidence.base
        # One of the two is there: required above.
        base: paper.Base = evidence.tuned if heads is None else paper.Head(heads)
        sample = evidence.sample(SAMPLE)
        if self.recipe.normalised:
            norms = paper.PaperNorms.fit(_block(sample), sample.labels, evidence.classes)
        else:
            norms = paper.PaperNorms.off(_block(sample).loss.shape[1], evidence.classes)
        data = paper.practise_on(sample, _block(sample), base, norms)
        net = paper.fit(data, base, evidence.epochs, self.recipe)
        arrays = {f"norms.{name}": array for name, array in norms.arrays().items()}
        arrays |= {f"net.{name}": tensor.numpy() for name, tensor in net.state_dict().items()}
        return state_of("tmlc-paper", evidence, arrays, **asdict(self.recipe))

    def score(self, state: State, rows: EvidenceChunk) -> Correction:
        """Score by the log-odds of distrust. It is no calibrated probability, so no suspicion is claimed."""
        norms = paper.PaperNorms(**_part(state, "norms."))
        net = paper.TrustNet()
        net.load_state_dict({name: torch.from_numpy(array) for name, array in _part(state, "net.").items()})
        block = _block(rows)
        distrust = -net.log_odds(norms.scalars(block, rows.labels))
        p = paper.others(block) / (1.0 + np.exp(-distrust))[:, None]
        p[:, 0] = 1.0 / (1.0 + np.exp(distrust))
        return sparse("tmlc-paper", distrust, rows.candidates, p)


def _block(rows: EvidenceChunk) -> Trajectories:
    """Return the out-of-fold block, which training rows and unseen ones have alike; else the in-sample one.

    In-sample loss, the paper's own, would meet statistics of another kind in an unseen batch.
    """
    return rows.dynamics() if rows.out_of_fold is None else rows.out_of_fold


def _part(state: State, prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): a for name, a in state.arrays.items() if name.startswith(prefix)}
