"""Confident learning: cleanlab's own functions on the out-of-fold probabilities (Northcutt et al. 2021).

The only file that imports cleanlab. Up to `DENSE_BYTES` of probabilities its standard filter judges; above,
its batched inspector, which never holds more than a chunk.
"""

from __future__ import annotations

import warnings
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from labelfix.correctors.building import sparse, state_of
from labelfix.correctors.interface import Needs
from labelfix.evidence import Evidence, EvidenceChunk
from labelfix.findings import Correction, State
from labelfix.trajectories import Floats, Ints

DENSE_BYTES = 512 << 20
NONE = np.float32(np.inf)


class ConfidentLearning:
    """The baseline that always stands beside ours."""

    needs: ClassVar[Needs] = Needs(required=frozenset({"out_of_fold"}))

    def fit(self, evidence: Evidence) -> State:
        """Find what cleanlab flags and keep the cuts that reproduce it on rows seen or unseen."""
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # cleanlab warns of rare classes; the findings say it by row
            if len(evidence) * evidence.classes * 4 <= DENSE_BYTES:
                return state_of("cleanlab", evidence, {"margin_cut": _pair_cuts(evidence)})
            return state_of("cleanlab", evidence, {}, quality_cut=_quality_cut(evidence))

    def score(self, state: State, rows: EvidenceChunk) -> Correction:
        """Score 1 − self-confidence; a row is an issue where its margin reaches the cut of its class pair."""
        from cleanlab.rank import get_label_quality_scores

        p, labels = _probabilities(rows), rows.labels
        quality = get_label_quality_scores(labels, p, method="self_confidence")
        if "margin_cut" in state.arrays:
            margin = p - p[np.arange(len(p)), labels][:, None]
            flagged = (margin >= state.arrays["margin_cut"][labels]).any(axis=1)
            is_issue = flagged & (p.argmax(axis=1) != labels)
        else:
            is_issue = quality <= state.settings["quality_cut"]
        listed = np.take_along_axis(p, rows.candidates.astype(np.intp), axis=1)
        return sparse("cleanlab", 1.0 - quality, rows.candidates, listed, is_issue=is_issue)


def _probabilities(rows: EvidenceChunk) -> Floats:
    assert rows.probabilities is not None  # required above
    return rows.probabilities


def _pair_cuts(evidence: Evidence) -> Floats:
    """Return the least margin [K, K] of given k towards j that prune-by-noise-rate flags; inf where none."""
    from cleanlab.count import compute_confident_joint
    from cleanlab.filter import _keep_at_least_n_per_class

    labels, p = labels_and_probabilities(evidence)
    K = evidence.classes
    joint = compute_confident_joint(labels, p)
    prune = _keep_at_least_n_per_class(prune_count_matrix=joint.T, n=1, frac_noise=1.0)  # [true j, given k]
    cuts = np.full((K, K), NONE, np.float32)
    for k in range(K):
        of_class = p[labels == k]
        if len(of_class) <= 1:
            continue
        for j in np.flatnonzero(prune[:, k] > 0):
            if j != k:
                margin = of_class[:, j] - of_class[:, k]
                count = min(int(prune[j, k]), len(margin))
                cuts[k, j] = np.partition(margin, len(margin) - count)[len(margin) - count]
    return cuts


def _quality_cut(evidence: Evidence) -> float:
    from cleanlab.experimental.label_issues_batched import LabelInspector

    inspector = LabelInspector(num_class=evidence.classes, store_results=True, verbose=False, n_jobs=1)
    for rows in evidence.chunks():
        inspector.update_confident_thresholds(rows.labels, _probabilities(rows))
    for rows in evidence.chunks():
        inspector.score_label_quality(rows.labels, _probabilities(rows))
    count = inspector.get_num_issues(silent=True)
    quality = np.sort(np.asarray(inspector.get_quality_scores()))
    return float(quality[count - 1]) if count else -1.0


def labels_and_probabilities(evidence: Evidence) -> tuple[Ints, Floats]:
    """Return labels [n] and final out-of-fold probabilities [n, K] of all rows, in chunk order."""
    parts: list[tuple[NDArray[Any], NDArray[Any]]] = [
        (c.labels, _probabilities(c)) for c in evidence.chunks()
    ]
    return np.concatenate([y for y, _ in parts]), np.concatenate([p for _, p in parts])
