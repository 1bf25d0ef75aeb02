"""Remembering: what a scan leaves behind so that later batches can be judged by it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from labelfix.correctors.interface import Corrector
from labelfix.findings import State
from labelfix.intake import View, group_keys
from labelfix.learn.recipe import Recipe
from labelfix.learn.replay import Replay
from labelfix.learn.unseen import as_if_unseen, blind_reliability, surroundings
from labelfix.manifest import Manifest
from labelfix.reference import Behaviour, save_unseen
from labelfix.rundir import RunDir
from labelfix.scoring import suspect

BEHAVING = 4_096
"""Training rows that are also scored as unseen ones."""


def remember(
    run: RunDir, manifest: Manifest, view: View, evidence: Replay, methods: Mapping[str, Corrector],
    states: Mapping[str, State], recipe: Recipe,
) -> None:  # fmt: skip
    """Write how the training rows score as unseen ones, and what names them.

    Nothing is written where models were fine-tuned by fold: they are not kept, and no new row can meet them.
    """
    if evidence.heads is None and evidence.given is None:
        return
    reliability, directions, fence = (
        np.zeros((1, len(evidence)), np.float32),
        np.zeros((0, 0), np.float32),
        2.0,
    )
    if evidence.heads is not None and evidence.features is not None and evidence.neighbours is not None:
        seen_by = evidence.heads, evidence.features, evidence.rows, evidence.labels, evidence.trusted
        reliability = blind_reliability(*seen_by, recipe)
        directions, fence = surroundings(evidence.neighbours, evidence.features, evidence.rows)
    sample, picked = as_if_unseen(evidence, reliability, BEHAVING)
    primary = next(iter(methods))
    rows, suspicion = suspect(sample, methods[primary], states[primary])
    order = np.argsort(evidence.rows[picked])
    at = picked[order[np.searchsorted(evidence.rows[picked], rows, sorter=order)]]
    trusted = np.zeros(len(evidence), bool) if evidence.trusted is None else evidence.trusted
    behaviour = Behaviour(suspicion, evidence.labels[at], at, trusted[at], directions, fence)
    named = evidence.rows, view.keys[evidence.rows], evidence.folds, reliability, behaviour
    save_unseen(run.unseen, *named, group_keys(manifest, evidence.rows), evidence.kernel is not None)
