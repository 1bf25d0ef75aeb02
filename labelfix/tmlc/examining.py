"""Examination: fresh source tasks, judged as in a scan by nets fitted on other sources; what the model card says."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelfix.learn.recipe import Recipe
from labelfix.progress import Progress
from labelfix.tmlc.bank import Lesson, canonical_order, evidence_of
from labelfix.tmlc.calibrate import calibration_error
from labelfix.tmlc.judgement import Judgement
from labelfix.tmlc.net import TMLCNet
from labelfix.tmlc.sources import CleanSet, draw_task
from labelfix.tmlc.spreading import spread

FIRST = 1_000_000
"""Number of the first fresh task: no bank gets that far."""


def late_sources(lessons: Sequence[Lesson]) -> frozenset[str]:
    """Part sources by the order of their names, so that sets of one maker stay together; return the later half."""
    names = sorted({lesson.source for lesson in lessons} - {"generated"})
    return frozenset(names[len(names) // 2 :])


def is_late(source: str, number: int, late: frozenset[str]) -> bool:
    """Say on which side a task is; generated ones alternate."""
    return number % 2 == 1 if source == "generated" else source in late


def examine(
    nets: tuple[TMLCNet, TMLCNet], late: frozenset[str], clean: Sequence[CleanSet], seed: int, count: int,
    progress: Progress, processes: int = 2,
) -> dict[str, Any]:  # fmt: skip
    """Score judgements of fresh tasks: ranking and calibration.

    `nets` are fitted on the early sources and on the late ones; each judges tasks of the others.
    """
    from sklearn.metrics import average_precision_score

    work = partial(_judge_one, nets, late, list(clean), seed)
    judged = list(spread(work, range(FIRST, FIRST + count), "examination", progress, processes))
    precisions = [average_precision_score(wrong, suspicion) for suspicion, wrong in judged if wrong.any()]
    suspicions, wrongs = (np.concatenate(parts) for parts in zip(*judged, strict=True))
    return {
        "unseen_source_tasks": count,
        "unseen_source_average_precision": round(float(np.mean(precisions)), 4) if precisions else None,
        "unseen_source_calibration_error": round(calibration_error(suspicions, wrongs), 4),
    }


def _judge_one(
    nets: tuple[TMLCNet, TMLCNet], late: frozenset[str], clean: list[CleanSet], seed: int, number: int
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Return suspicion and truth [n] of one fresh task, learnt by the default recipe."""
    task = draw_task(np.random.default_rng([seed, number]), clean)
    evidence = evidence_of(task, Recipe(device="cpu"))
    net = nets[0 if is_late(task.source, number, late) else 1]
    everything = evidence.sample(len(evidence))
    _, p = Judgement.fit(net, evidence)(net, everything)
    wrong = (task.given != task.truth)[canonical_order(task.x)][everything.rows]
    return 1.0 - p[:, 0].astype(np.float32), wrong
