"""Meta-training: a bank of tasks with known truth, and the fit of the net on it. Two steps, so that fits reuse banks.

The bank holds, for each task, what perception makes of at most `ROWS` of its rows (about 2 MB); building it is
resumable and its task t depends on the seed and t only.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from labelfix.errors import UsageError
from labelfix.learn import neighbours, probe
from labelfix.learn.features import Features
from labelfix.learn.recipe import Recipe
from labelfix.learn.replay import Replay
from labelfix.progress import Progress, Silent
from labelfix.rundir import writing
from labelfix.tmlc import perception
from labelfix.tmlc.calibrate import calibration_error, measured_slack
from labelfix.tmlc.net import TMLCNet, save_net
from labelfix.tmlc.sources import CleanSet, Task, draw_task

ROWS = 256
STEPS = 2500
ROWS_A_STEP = 96
TASKS_A_STEP = 4
DROPOUT = (
    (set[str](), 0.45),
    ({"in_sample"}, 0.2),
    ({"votes"}, 0.12),
    ({"in_sample", "votes"}, 0.08),
    ({"out_of_fold"}, 0.08),
    ({"out_of_fold", "votes"}, 0.07),
)
"""Kinds of evidence blanked in training and how often. Measured: a net that practises all regimes ranks better in
each than one that practises only the one it is used in."""
GENERATED_WEIGHT = 0.1
"""Of a generated task against a real one; measured, they transfer worse to held-out real sets. Those of many classes
weigh three times that, since clean sets at hand have few."""


@dataclass(frozen=True, eq=False)
class Lesson:
    """One task as the net sees it."""

    sequence: NDArray[np.float16]
    """[n, C, STEPS, channels]"""
    static: NDArray[np.float16]
    """[n, C, WIDTH]"""
    target: NDArray[np.int64]
    """[n] position of the true class among the candidates; C = another class."""
    others: bool
    """K > C."""
    source: str
    """generated, or the name of a clean set."""
    family: str
    """Of the noise."""


def evidence_of(task: Task, recipe: Recipe, only_probabilities: bool = False) -> Replay:
    """Train the probe on a task's given labels and return its evidence, exactly as a scan would."""
    keys, order = _keys(task.x), canonical_order(task.x)
    features = Features.from_array(task.x[order])
    labels, everything = task.given[order], np.arange(len(order))
    found = neighbours.find(features, everything, keys[order], None, recipe.neighbours, recipe.seed)
    folds = probe.assign_folds(found.component, keys[order], recipe.folds)
    heads = probe.train(features, everything, labels, folds, task.classes, recipe, "task", Silent())
    whole = Replay(everything, labels, task.classes, "task", folds, features, heads, found)
    if not only_probabilities:
        return whole
    given = np.empty((len(order), task.classes), np.float32)
    for chunk in whole.chunks():
        assert chunk.probabilities is not None
        given[chunk.rows] = chunk.probabilities
    return Replay(everything, labels, task.classes, "task", neighbours=found, given=given)


def lesson_of(
    task: Task, recipe: Recipe, rng: np.random.Generator, only_probabilities: bool = False
) -> Lesson:
    """Perceive a task and keep some rows; statistics are of all rows."""
    evidence = evidence_of(task, recipe, only_probabilities)
    sample = evidence.sample(len(evidence))
    counts = np.bincount(sample.labels, minlength=task.classes).astype(np.float32)
    norms = perception.fit(sample, counts, evidence.epochs)
    keep = rng.permutation(len(sample))[:ROWS]
    rows = sample.take(keep)
    sequence, static = perception.perceive(rows, norms)
    truth = task.truth[canonical_order(task.x)][rows.rows]
    matches = rows.candidates == truth[:, None]
    target = np.where(matches.any(axis=1), matches.argmax(axis=1), rows.candidates.shape[1])
    others = task.classes > rows.candidates.shape[1]
    return Lesson(
        sequence.astype(np.float16),
        static.astype(np.float16),
        target.astype(np.int64),
        others,
        task.source,
        task.family,
    )


def random_recipe(rng: np.random.Generator, rows: int, width: int) -> Recipe:
    """Draw a base learner: mostly the scan's own, near its learning rate; else other schedules, rates and batches."""
    seed, usual = int(rng.integers(1 << 30)), probe.learning_rate(rows, width)
    if rng.random() < 0.7:
        return Recipe(learning_rate=usual * float(np.exp(rng.uniform(-0.4, 0.4))), seed=seed, device="cpu")
    return Recipe(
        learning_rate=usual * float(np.exp(rng.uniform(-1.2, 1.2))),
        epochs=int(rng.choice([6, 10, 25])),
        checkpoints=int(rng.choice([4, 7, 10])),
        weight_decay=float(rng.choice([1e-2, 1.0])),
        probe_batch=int(rng.choice([128, 512])),
        seed=seed,
        device="cpu",
    )


def build_bank(
    clean: Sequence[CleanSet], bank: Path, seed: int, tasks: int, progress: Progress, processes: int = 2
) -> None:
    """Write lessons 0 … tasks − 1 into `bank`; those already there are kept."""
    bank.mkdir(parents=True, exist_ok=True)
    missing = [t for t in range(tasks) if not _lesson_path(bank, t).exists()]
    work = partial(_build_one, list(clean), bank, seed)
    context = multiprocessing.get_context("spawn")
    with (
        progress.stage("bank", len(missing), "tasks") as advance,
        context.Pool(processes, _one_thread) as pool,
    ):
        for _ in pool.imap_unordered(work, missing):
            advance(1)


def _one_thread() -> None:
    torch.set_num_threads(1)


def _build_one(clean: list[CleanSet], bank: Path, seed: int, number: int) -> None:
    rng = np.random.default_rng([seed, number])
    task = draw_task(rng, clean)
    lesson = lesson_of(task, random_recipe(rng, *task.x.shape), rng, only_probabilities=rng.random() < 0.1)
    with writing(_lesson_path(bank, number)) as temporary, temporary.open("wb") as file:
        np.savez(file, **vars(lesson))


def load_bank(bank: Path, tasks: int) -> list[Lesson]:
    """Read lessons back."""
    lessons = []
    for number in range(tasks):
        with np.load(_lesson_path(bank, number)) as file:
            held = {name: file[name] for name in file.files}
        scalars = {
            "others": bool(held["others"]),
            "source": str(held["source"]),
            "family": str(held["family"]),
        }
        lessons.append(Lesson(**(held | scalars)))
    return lessons


def fit(
    lessons: Sequence[Lesson], seed: int, progress: Progress, steps: int = STEPS, **sizes: int
) -> TMLCNet:
    """Fit the net: likelihood of the true class, plus that of "the given label is wrong", plus its ranking.

    Targets are true labels of source tasks. Given labels would make identity the optimum (Li 2025 avoids that
    by a bi-level loss; measured: AUROC .5).
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    net = TMLCNet(**sizes)
    optimiser = torch.optim.AdamW(net.parameters(), lr=3e-3, weight_decay=1e-2)
    averaged: Any = torch.optim.swa_utils.AveragedModel(
        net,
        multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.995),  # type: ignore[no-untyped-call]  # torch's own
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, 3e-3, total_steps=steps, pct_start=0.05)
    kinds, odds = [k for k, _ in DROPOUT], [o for _, o in DROPOUT]
    odds_of = np.array([_weight(lesson) for lesson in lessons])
    with progress.stage("fit", steps, "steps") as advance:
        for _ in range(steps):
            loss: Any = 0.0
            for number in rng.choice(len(lessons), size=TASKS_A_STEP, p=odds_of / odds_of.sum()):
                lesson = lessons[number]
                rows = rng.permutation(len(lesson.target))[:ROWS_A_STEP]
                sequence = torch.from_numpy(lesson.sequence[rows]).float()
                static = torch.from_numpy(lesson.static[rows]).float()
                perception.forget(sequence, static, kinds[int(rng.choice(len(kinds), p=odds))])
                loss = loss + objective(
                    net(sequence, static, lesson.others), torch.from_numpy(lesson.target[rows])
                )
            optimiser.zero_grad()
            (loss / TASKS_A_STEP).backward()
            torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
            optimiser.step()
            schedule.step()
            averaged.update_parameters(net)
            advance(1)
    smoothed: TMLCNet = averaged.module
    return smoothed.eval()


def _weight(lesson: Lesson) -> float:
    if lesson.source != "generated":
        return 1.0
    return 3 * GENERATED_WEIGHT if lesson.others else GENERATED_WEIGHT


def objective(log_q: Tensor, target: Tensor) -> Tensor:
    """Return the loss of log-posteriors [n, C + 1] against positions of the true class [n]."""
    likelihood = functional.nll_loss(log_q.clamp(min=-30.0), target)
    right = log_q[:, 0]
    wrong = torch.log1p(-right.exp().clamp(max=1 - 1e-6))
    is_wrong = target != 0
    detection = -torch.where(is_wrong, wrong, right).mean()
    score = wrong - right
    if is_wrong.any() and not is_wrong.all():
        difference = score[is_wrong][:, None] - score[~is_wrong][None, :]
        ranking = functional.softplus(-difference).mean()
    else:
        ranking = score.new_zeros(())
    return likelihood + 0.5 * detection + 0.3 * ranking


def meta_train(
    clean: Sequence[CleanSet],
    out: Path,
    *,
    bank: Path,
    seed: int,
    tasks: int,
    progress: Progress,
    command: str = "",
    steps: int = STEPS,
) -> dict[str, Any]:
    """Build the bank (or continue it), fit, write weights with their model card; returns the card.

    Every tenth task is held out of the fit; the scores in the card are measured on those. Raises UsageError for
    fewer than ten tasks.
    """
    if tasks < 10:
        raise UsageError(
            f"--tasks is {tasks}, but at least 10 are needed: every tenth is held out to measure on"
        )
    started = time.time()
    build_bank(clean, bank, seed, tasks, progress)
    lessons = load_bank(bank, tasks)
    held_out = lessons[9::10]
    net = fit([lesson for at, lesson in enumerate(lessons) if at % 10 != 9], seed, progress, steps)
    card = {
        "sources": sorted({lesson.source for lesson in lessons}),
        "noise": sorted({lesson.family for lesson in lessons}),
        "tasks": tasks,
        "steps": steps,
        "seed": seed,
        "command": command,
        "seconds": round(time.time() - started),
        "torch": torch.__version__,
        **examine(net, held_out),
    }
    save_net(net, card, out)
    return card


def examine(net: TMLCNet, lessons: Sequence[Lesson]) -> dict[str, Any]:
    """Score lessons that the net was not fitted on, by what a scan gives it: ranking, calibration, slack of rates."""
    from sklearn.metrics import average_precision_score

    suspicions, wrongs, precisions = [], [], []
    for lesson in lessons:
        with torch.inference_mode():
            sequence, static = (
                torch.from_numpy(lesson.sequence).float(),
                torch.from_numpy(lesson.static).float(),
            )
            suspicion = 1.0 - net(sequence, static, lesson.others)[:, 0].exp().numpy()
        wrong = lesson.target != 0
        suspicions.append(suspicion)
        wrongs.append(wrong)
        if wrong.any():
            precisions.append(average_precision_score(wrong, suspicion))
    estimated = np.array([s.mean(dtype=np.float64) for s in suspicions])
    true = np.array([w.mean() for w in wrongs])
    return {
        "held_out_tasks": len(lessons),
        "held_out_average_precision": round(float(np.mean(precisions)), 4) if precisions else None,
        "held_out_calibration_error": round(
            calibration_error(np.concatenate(suspicions), np.concatenate(wrongs)), 4
        ),
        "rate_slack": round(measured_slack(estimated, true), 4),
    }


def _lesson_path(bank: Path, number: int) -> Path:
    return bank / f"lesson-{number:05d}.npz"


def canonical_order(x: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the order [n] of evidence rows: by content hash, as in a scan."""
    return np.lexsort(_keys(x).T[::-1])


def _keys(x: NDArray[np.float32]) -> NDArray[np.uint8]:
    digests = [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in x]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(len(x), 16)
