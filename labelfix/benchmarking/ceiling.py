"""The ceiling: the net of the tmlc corrector, fitted on half of the target's rows with their true labels.

It scores the other half, and the other way round, so that every row is scored by a net that did not see it.
An oracle: what a net of this kind can make of this evidence, had its source tasks been the target itself.
"""

from __future__ import annotations

import time

import numpy as np
import torch
from numpy.typing import NDArray

from labelfix.benchmarking.opponents import Opinion, opinion_of
from labelfix.correctors.building import sparse
from labelfix.learn.replay import Replay
from labelfix.manifest import Manifest
from labelfix.progress import Silent
from labelfix.scoring import Opinions
from labelfix.tmlc import perception
from labelfix.tmlc.bank import Lesson
from labelfix.tmlc.judgement import SAMPLE
from labelfix.tmlc.metatrain import fit
from labelfix.tmlc.net import BATCH

STEPS = 1500
"""Of each of the two fits; fixed, whatever the weights that are judged were fitted with."""
ROWS_A_LESSON = 512


def ceiling(
    evidence: Replay, rows: Manifest, truth: NDArray[np.int32], seed: int, steps: int = STEPS
) -> Opinion:
    """Return the opinion of nets fitted on `truth` [n], −1 where unknown; in canonical order."""
    began = time.perf_counter()
    counts = np.bincount(evidence.labels, minlength=evidence.classes).astype(np.float32)
    norms = perception.fit(evidence.sample(SAMPLE).as_unseen(), counts, evidence.epochs)
    chunks = list(evidence.chunks())
    perceived = [perception.perceive(chunk.as_unseen(), norms) for chunk in chunks]
    sequence = np.concatenate([one.astype(np.float16) for one, _ in perceived])  # [n, C, STEPS, channels]
    static = np.concatenate([one.astype(np.float16) for _, one in perceived])
    candidates = np.concatenate([chunk.candidates for chunk in chunks])
    where = np.concatenate([chunk.rows for chunk in chunks])
    order = np.argsort(evidence.rows)
    at = order[np.searchsorted(evidence.rows, where, sorter=order)]  # scored row → canonical position
    others = evidence.classes > candidates.shape[1]

    matches = candidates == truth[at][:, None]
    target = np.where(matches.any(axis=1), matches.argmax(axis=1), candidates.shape[1])
    known = (truth[at] >= 0) & (matches.any(axis=1) | others)
    side = halves(evidence, seed)[at]
    log_q = np.empty((len(at), candidates.shape[1] + 1), np.float32)
    rng = np.random.default_rng(seed)
    for half in (False, True):
        seen = rng.permutation(np.flatnonzero(known & (side == half)))
        pieces = np.array_split(seen, max(1, len(seen) // ROWS_A_LESSON))
        lessons = [
            Lesson(sequence[some], static[some], target[some], others, "target", "given", "probe")
            for some in pieces
        ]
        net = fit(lessons, seed, Silent(), steps)
        judged = np.flatnonzero(side != half)
        with torch.inference_mode():
            for start in range(0, len(judged), BATCH):
                some = judged[start : start + BATCH]
                log_q[some] = net(
                    torch.from_numpy(sequence[some]).float(), torch.from_numpy(static[some]).float(), others
                ).numpy()
    wrong = np.logaddexp.reduce(log_q[:, 1:], axis=1)
    suspicion = np.exp(wrong).clip(0.0, 1.0).astype(np.float32)
    said = sparse(
        "ceiling", wrong - log_q[:, 0], candidates, np.exp(log_q[:, :-1]), suspicion=suspicion
    )  # fmt: skip
    nothing = np.full(len(at), np.nan, np.float32)
    scored = Opinions(where, {"ceiling": said}, nothing, nothing, np.zeros((len(at), 2), np.int64))
    return opinion_of(scored, evidence, rows, {}, time.perf_counter() - began)


def halves(evidence: Replay, seed: int) -> NDArray[np.bool_]:
    """Return the half [n] that each row belongs to, in canonical order; copies stay together."""
    n = len(evidence)
    member = np.arange(n)
    if evidence.neighbours is not None:
        copies = evidence.neighbours.copies
        member = np.where(copies >= 0, n + copies, member)
    _, number = np.unique(member, return_inverse=True)
    chosen: NDArray[np.bool_] = np.random.default_rng([seed, 1]).permutation(number.max() + 1) % 2 == 0
    return chosen[number]
