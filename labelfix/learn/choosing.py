"""Choosing a mode: do the frozen features tell the classes apart, and if not, can a whole model be trained here?

Given labels may be wrong, so agreement with them says little. But two readers of the same features, a linear head that
did not see the row and the majority of its nearest neighbours, are both wrong where the features are poor, and
differently; noise in the labels, which both average out, hardly moves them apart. How often two classifiers differ on
rows that neither has learnt estimates how often they are wrong (Jiang et al. 2022, Assessing Generalization of SGD via
Disagreement, §3). On ten sets with 14 to 42 % wrong labels it was off by .03 on average, where the share of rows that
differ from the given labels was off by .12 (examples/benchmarks/LOG.md). Ten neighbours average noise out only so far:
with two classes and a third of the labels wrong it is .1 too high. Cohen's kappa makes numbers of classes alike.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from labelfix.learn import processes
from labelfix.learn.recipe import Recipe
from labelfix.learn.spacing import evenly
from labelfix.trajectories import Ints

if TYPE_CHECKING:
    from labelfix.learn.features import Features
    from labelfix.learn.neighbours import Neighbours
    from labelfix.learn.probe import Heads

ASKED = 20_000
"""Rows that the two readers are compared on, at most."""
CHUNK = 4096
POOR = 0.8
"""Kappa of the two readers below which features count as poor: above, agreement is called almost perfect (Landis and
Koch 1977)."""
FEWEST = 500
"""Rows from which on a whole model is expected to learn more than its labels by heart."""
TIMED = 16
"""Images that are timed on a processor, at most: a batch of any size takes as long there, image by image."""
MOST_MINUTES = 30.0
"""A scan that nobody asked to be long takes no longer than this for fine-tuning."""


@dataclass(frozen=True)
class Choice:
    """Which mode, and what speaks for it."""

    mode: Literal["probe", "finetune"]
    """What is done."""
    differ: float | None
    """Share of rows on which linear heads and neighbours differ: about the error rate of the frozen features. None
    where there are no images to fine-tune on."""
    kappa: float | None
    """Cohen's kappa of the two: 1 if they agree on all rows, 0 if as by chance; None likewise."""
    minutes: float | None
    """Estimated time of fine-tuning on this machine; None where it would not help."""
    why: str
    """In words."""

    @property
    def note(self) -> str:
        """A sentence for the user."""
        return f"mode: {self.mode}, because {self.why}"

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for run.json."""
        return asdict(self)


def choose(
    recipe: Recipe, features: Features, rows: NDArray[np.intp], labels: Ints, folds: Ints, heads: Heads,
    found: Neighbours, classes: int, images: bool,
) -> Choice:  # fmt: skip
    """Choose for the rows [n] with labels [n] and folds [n]; `images` says whether there are any to train on.

    Raises UsageError when fine-tuning would be worth its time, but the model cannot be used.
    """
    if not images:
        return Choice("probe", None, None, None, "evidence of your own was given, and no images to train on")
    differ, kappa = compare(features, rows, labels, folds, heads, found)
    said = f"linear heads and nearest neighbours on the frozen features differ on {differ:.0%} of the rows"
    if kappa >= POOR:
        return Choice("probe", differ, kappa, None, f"{said} only: these tell the classes apart")
    if len(rows) < FEWEST:
        few = f"{len(rows):,} rows are too few for a whole model to learn more than its labels by heart"
        return Choice("probe", differ, kappa, None, f"though {said}, {few}")
    minutes = estimate_minutes(recipe, len(rows), classes)
    takes = f"fine-tuning takes about {max(minutes, 1):,.0f} min here"
    if minutes > MOST_MINUTES:
        why = (
            f"though {said}, {takes}, and more than {MOST_MINUTES:.0f} must be asked for with --mode finetune"
        )
        return Choice("probe", differ, kappa, minutes, why)
    return Choice("finetune", differ, kappa, minutes, f"{said}, and {takes}")


def compare(
    features: Features, rows: NDArray[np.intp], labels: Ints, folds: Ints, heads: Heads, found: Neighbours
) -> tuple[float, float]:
    """Return the share of rows on which the out-of-fold head and the majority of the neighbours differ, and kappa.

    Neighbours vote by their similarity. Rows without any are not asked; with none at all the readers never agree.
    """
    have = np.flatnonzero(found.index[:, 0] >= 0)
    asked = have[evenly(len(have), ASKED)]
    K = heads.classes
    linear, local = np.zeros(len(labels), np.intp), np.zeros(len(labels), np.intp)
    for fold in np.unique(folds[asked]):
        weight, bias = (part[..., -K:] for part in heads.out_of_fold(int(fold)))  # of the last checkpoint
        members = asked[folds[asked] == fold]
        for start in range(0, len(members), CHUNK):
            at = members[start : start + CHUNK]
            linear[at] = (features.single(rows[at]) @ weight + bias).argmax(axis=1)
            votes, index = np.zeros((len(at), K), np.float32), found.index[at]
            row, column = np.nonzero(index >= 0)
            nearness = np.maximum(found.similarity[at].astype(np.float32), 1e-3)
            np.add.at(votes, (row, labels[index[row, column]]), nearness[row, column])
            local[at] = votes.argmax(axis=1)
    if not len(asked):
        return 1.0, 0.0
    differ = float((linear[asked] != local[asked]).mean())
    shares = [np.bincount(reader[asked], minlength=K) / len(asked) for reader in (linear, local)]
    by_chance = 1.0 - float(shares[0] @ shares[1])
    # Where both name one class throughout, they agree and know nothing.
    return differ, 1.0 - differ / by_chance if by_chance > 0 else 0.0


def estimate_minutes(recipe: Recipe, rows: int, classes: int) -> float:
    """Estimate how long fine-tuning takes on this machine, as busy as it is now: a small batch is timed.

    Counted are training and recorded passes; decoding, once, is not. All processes of torchrun share the work.
    """
    import torch
    from torch.nn import functional

    from labelfix.learn import classifier
    from labelfix.learn.training import Plan

    net = classifier.build(replace(recipe, mode="finetune"), classes)
    plan, size = Plan.of(recipe, net.trained), min(recipe.finetune.batch_size, rows)
    size = min(size, TIMED) if net.device.type == "cpu" else size
    pixels = torch.zeros(size, net.size, net.size, 3, dtype=torch.uint8, device=net.device)
    wanted = torch.zeros(size, dtype=torch.int64, device=net.device)

    def train() -> None:
        loss = functional.cross_entropy(net.logits(net.model.train(), pixels), wanted)
        loss.backward()  # type: ignore[no-untyped-call]  # torch's own

    def ask() -> None:
        with torch.inference_mode():
            net.logits(net.model.eval(), pixels)

    def seconds(work: Any) -> float:
        work()  # warms up
        began = time.perf_counter()
        work()
        if net.device.type == "cuda":
            torch.cuda.synchronize(net.device)
        return time.perf_counter() - began

    with torch.random.fork_rng(devices=[] if net.device.type == "cpu" else [net.device]):
        passes = plan.epochs * seconds(train) + len(plan.recorded) * seconds(ask)
    models = (
        recipe.folds - 1 if recipe.finetune.by_fold else 1
    )  # each of the folds' models learns from the others
    return rows / size * passes * models / processes.count() / 60
