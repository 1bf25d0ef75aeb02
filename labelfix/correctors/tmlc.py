"""TMLC as a corrector: perception's statistics and the blend are its state, the shipped net scores."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import numpy as np

from labelfix.correctors.building import sparse, state_of
from labelfix.correctors.interface import Needs
from labelfix.evidence import Evidence, EvidenceChunk
from labelfix.findings import Correction, State
from labelfix.tmlc import perception
from labelfix.tmlc.blend import Blend
from labelfix.tmlc.calibrate import confident_share
from labelfix.tmlc.net import load_net
from labelfix.trajectories import Floats

SAMPLE = 20_000
"""Rows that percentiles and medians are taken from; counts are of all rows."""
BLENDED = 4_096
"""Rows of these that the blend is fitted on."""


class TMLC:
    """Meta-learned correction (Li 2025), equivariant over classes, blended with the average margin.

    The in-sample block is withheld from the net. How far heads learn errors by heart depends on rows per feature,
    which source tasks cover badly: measured on held-out sets (examples/benchmarks/LOG.md), the net ranks better
    without, and the blend takes from that block what is robust. Unseen rows have none, and are scored by the net just
    as training rows are.
    """

    needs: ClassVar[Needs] = Needs(
        required=frozenset({"trajectories"}), optional=frozenset({"out_of_fold", "neighbours", "trusted"})
    )

    def __init__(self, weights: Path | None = None) -> None:
        self.weights = weights

    def fit(self, evidence: Evidence) -> State:
        """Fit the norms and the blend; its level is that of the confident joint where there are probabilities."""
        counts = np.bincount(evidence.labels, minlength=evidence.classes).astype(np.float32)
        sample = evidence.sample(SAMPLE)
        norms = perception.fit(sample.as_unseen(), counts, evidence.epochs)
        net, card = load_net(self.weights)
        some = sample.take(np.linspace(0, len(sample) - 1, min(BLENDED, len(sample))).astype(np.intp))
        rate = None if sample.probabilities is None else confident_share(sample.probabilities, sample.labels)
        blend = Blend.fit(_log_odds(net.posterior(some.as_unseen(), norms)), some, rate)
        settings = {
            "vote_level": norms.vote_level,
            "epochs": norms.epochs,
            "blend": blend.to_dict(),
            "rate_slack": card["rate_slack"],
        }
        return state_of("tmlc", evidence, norms.arrays(), **settings)

    def score(self, state: State, rows: EvidenceChunk) -> Correction:
        """The score is the log-odds that the given label is wrong; suspicion is the same as a probability."""
        norms = perception.Norms.from_arrays(
            state.arrays, state.settings["vote_level"], state.settings["epochs"]
        )
        net, _ = load_net(self.weights)
        log_q = net.posterior(rows.as_unseen(), norms)  # [n, C + 1]
        score = Blend.from_dict(state.settings["blend"])(_log_odds(log_q), rows)
        right = -np.logaddexp(0.0, score)  # log of the posterior of the given label
        others = (
            log_q[:, 1:-1] - np.logaddexp.reduce(log_q[:, 1:], axis=1)[:, None] + (right + score)[:, None]
        )
        p = np.exp(np.concatenate([right[:, None], others], axis=1))
        suspicion = (1.0 - p[:, 0]).clip(0.0, 1.0).astype(np.float32)
        return sparse("tmlc", score, rows.candidates, p, suspicion=suspicion)


def _log_odds(log_q: Floats) -> Floats:
    """Of the given label being wrong [n], from log-posteriors [n, C + 1] of which it is the first."""
    return np.asarray(np.logaddexp.reduce(log_q[:, 1:], axis=1) - log_q[:, 0])
