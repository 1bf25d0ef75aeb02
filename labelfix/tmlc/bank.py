"""The bank: source tasks as lessons, what perception makes of at most `ROWS` rows of each (about 1 MB).

Building it is resumable, and its task t depends on the sources, the seed and t only: a bank of others is refused. Fits
reuse it.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelfix.errors import InputError
from labelfix.evidence import EvidenceChunk
from labelfix.learn import neighbours, probe
from labelfix.learn.features import Features
from labelfix.learn.recipe import Recipe
from labelfix.learn.replay import Replay
from labelfix.progress import Progress, Silent
from labelfix.rundir import writing
from labelfix.tmlc import finetuned, perception
from labelfix.tmlc.memorising import memorised
from labelfix.tmlc.sources import CleanSet, Task, draw_pictured, draw_task
from labelfix.tmlc.spreading import spread

VERSION = 2
"""Of banks: how source tasks are drawn, how heads learn them and what perception makes of that."""
ROWS = 256
REGIMES = {"probe": 0.83, "probabilities": 0.1, "memorised": 0.07}
"""How tasks are learnt and how often: as in a scan, as where the user brings probabilities, and by heart."""
FINETUNED = 2_000_000
"""Number of the first task whose base learner is a whole network, which is fine-tuned; no others get that far."""
FINETUNED_ROWS = 1024
"""Kept of a task that cost the training of a network."""


@dataclass(frozen=True, eq=False)
class Lesson:
    """One task as the net sees it."""

    sequence: NDArray[np.float16]
    """[n, C, STEPS, channels]"""
    static: NDArray[np.float16]
    """[n, C, WIDTH]"""
    target: NDArray[np.int64]
    """[n] position of the true class among the candidates; C = another class, or none."""
    others: bool
    """K > C."""
    source: str
    """generated, or the name of a clean set."""
    family: str
    """Of the noise."""
    regime: str
    """One of `REGIMES`, or finetune."""

    @property
    def spare(self) -> set[str]:
        """Kinds of evidence that may be blanked without leaving none."""
        blocks = {"in_sample", "out_of_fold"} if perception.has_both_blocks(self.static) else set[str]()
        return blocks | {"votes"}


def evidence_of(task: Task, recipe: Recipe) -> Replay:
    """Train the probe on a task's given labels and return its evidence, exactly as a scan would."""
    order, keys, features, found = _neighbours_of(task, recipe)
    folds = probe.assign_folds(found.component, keys, recipe.folds)
    labels, everything = task.given[order], np.arange(len(order))
    heads = probe.train(features, everything, labels, folds, task.classes, recipe, "task", Silent())
    return Replay(everything, labels, task.classes, "task", folds, features, heads, found)


def _neighbours_of(
    task: Task, recipe: Recipe
) -> tuple[NDArray[np.intp], NDArray[np.uint8], Features, neighbours.Neighbours]:
    """Return the canonical order [n]; keys, features and neighbours of the rows in that order."""
    keys = _keys(task.x)
    order = np.lexsort(keys.T[::-1])
    keys, features = keys[order], Features.from_array(task.x[order])
    group = None if task.group is None else task.group[order]
    found = neighbours.find(features, np.arange(len(order)), keys, group, recipe.neighbours, recipe.seed)
    return order, keys, features, found


def without_trajectories(whole: Replay) -> Replay:
    """Keep of the evidence what a user's own probabilities would give."""
    given = np.empty((len(whole), whole.classes), np.float32)
    for chunk in whole.chunks():
        assert chunk.probabilities is not None
        given[chunk.rows] = chunk.probabilities
    return Replay(whole.rows, whole.labels, whole.classes, "task", neighbours=whole.neighbours, given=given)


def lesson_of(task: Task, recipe: Recipe, rng: np.random.Generator, regime: str = "probe") -> Lesson:
    """Perceive a task and keep some rows; statistics are of all rows. `regime` is one of `REGIMES`."""
    if regime == "memorised":
        order, _, _, found = _neighbours_of(task, recipe)
        sample = memorised(task, order, found, rng)
    elif regime == "finetune":
        sample = _fine_tuned(task, finetuned.random_finetuning(rng, recipe))
    else:
        evidence = evidence_of(task, recipe)
        evidence = without_trajectories(evidence) if regime == "probabilities" else evidence
        sample = evidence.sample(len(evidence))
    counts = np.bincount(sample.labels, minlength=task.classes).astype(np.float32)
    norms = perception.fit(sample, counts, sample.dynamics().entropy.shape[1])
    keep = rng.permutation(len(sample))[: FINETUNED_ROWS if regime == "finetune" else ROWS]
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
        regime,
    )


def _fine_tuned(task: Task, recipe: Recipe) -> EvidenceChunk:
    """Return the evidence of a scan in fine-tune mode: in sample of the model, out of fold of heads."""
    assert task.pixels is not None
    evidence, order = evidence_of(task, recipe), canonical_order(task.x)
    with tempfile.TemporaryDirectory(prefix="labelfix-") as scratch:
        what = task.pixels[order], evidence.labels, task.classes, recipe
        seen = finetuned.record(Path(scratch), *what)
        return replace(evidence, seen=seen).sample(len(evidence))


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
    clean: Sequence[CleanSet], bank: Path, seed: int, tasks: int, progress: Progress, processes: int = 2,
    finetuned: int = 0,
) -> None:  # fmt: skip
    """Write so many lessons, and so many of fine-tuned networks, into `bank`; those already there are kept.

    Raises InputError for a bank of other sources, of another seed or version.
    """
    bank.mkdir(parents=True, exist_ok=True)
    _begin(bank, {"version": VERSION, "seed": seed, "sources": [[one.name, _digest(one)] for one in clean]})
    missing = [t for t in numbers(tasks, finetuned) if not _lesson_path(bank, t).exists()]
    missing.sort(key=lambda number: number < FINETUNED)  # long ones first: no process waits for another's
    work = partial(_build_one, list(clean), bank, seed)
    for _ in spread(work, missing, "bank", progress, processes):
        pass


def _begin(bank: Path, made_of: dict[str, Any]) -> None:
    """Write what the bank is made of, or see that it is the same."""
    path = bank / "bank.json"
    if not path.exists():
        if any(bank.glob("lesson-*.npz")):
            raise InputError(f"{bank}: was made by another labelfix; delete it, or choose another --bank")
        with writing(path) as temporary:
            temporary.write_text(json.dumps(made_of, indent=1))
        return
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        other = [name for name, value in made_of.items() if held[name] != value]
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path}: cannot be read ({error}); delete the bank, or choose another --bank"
        ) from error
    if other:
        raise InputError(f"{bank}: was made with another {other[0]}; delete it, or choose another --bank")


def _digest(clean: CleanSet) -> str:
    digest = hashlib.blake2b(np.ascontiguousarray(clean.x).data, digest_size=8)
    digest.update(np.ascontiguousarray(clean.y).data)
    return digest.hexdigest()


def _build_one(clean: list[CleanSet], bank: Path, seed: int, number: int) -> None:
    rng = np.random.default_rng([seed, number])
    if number >= FINETUNED:
        task, regime = draw_pictured(rng, clean), "finetune"
    else:
        task = draw_task(rng, clean)
        regime = str(rng.choice(list(REGIMES), p=list(REGIMES.values())))
    lesson = lesson_of(task, random_recipe(rng, *task.x.shape), rng, regime)
    with writing(_lesson_path(bank, number)) as temporary, temporary.open("wb") as file:
        np.savez(file, **vars(lesson))


def numbers(tasks: int, finetuned: int = 0) -> list[int]:
    """Return the numbers of so many tasks, and of so many whose base learner is fine-tuned."""
    return [*range(tasks), *range(FINETUNED, FINETUNED + finetuned)]


def load_bank(bank: Path, tasks: int, finetuned: int = 0) -> list[Lesson]:
    """Read lessons back."""
    lessons = []
    for number in numbers(tasks, finetuned):
        with np.load(_lesson_path(bank, number)) as file:
            held = {name: file[name] for name in file.files}
        scalars = {name: str(held[name]) for name in ("source", "family", "regime")}
        lessons.append(Lesson(**(held | scalars | {"others": bool(held["others"])})))
    return lessons


def _lesson_path(bank: Path, number: int) -> Path:
    return bank / f"lesson-{number:05d}.npz"


def canonical_order(x: NDArray[np.float32]) -> NDArray[np.intp]:
    """Return the order [n] of evidence rows: by content hash, as in a scan."""
    return np.lexsort(_keys(x).T[::-1])


def _keys(x: NDArray[np.float32]) -> NDArray[np.uint8]:
    digests = [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in x]
    return np.frombuffer(b"".join(digests), np.uint8).reshape(len(x), 16)
