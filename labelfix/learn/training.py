"""Training: one timm model on its way through the epochs, and the clean pass that says what it has learnt.

An epoch's order, crops and drop-outs come from (seed, model, epoch) alone, so that an epoch is the same whatever
process ran the ones before: on a processor to the byte, on a GPU within rounding.

Several processes split each batch; its gradient is the mean over all its images, as with one process. BatchNorm
normalises by the images of each process on a processor, so that a model that has it is not quite the same then, and
by the whole batch on GPUs, through SyncBatchNorm.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from labelfix.errors import UsageError
from labelfix.learn import augmentation, processes
from labelfix.learn.classifier import Classifier
from labelfix.learn.decoding import ahead
from labelfix.learn.graphs import Graphs, Step
from labelfix.learn.probe import recorded_steps, schedule_share
from labelfix.learn.recipe import Recipe
from labelfix.learn.recording import Recording, condense
from labelfix.learn.spacing import evenly
from labelfix.learn.targets import Targets
from labelfix.progress import Progress
from labelfix.rundir import writing

Rows = NDArray[np.intp]
Advance = Callable[[int], None]

SETTLED = 2048
"""Images, at most, that BatchNorm's statistics are measured on before each recorded epoch."""


@dataclass(frozen=True)
class Plan:
    """What a recipe's choices of fine-tuning come to for a model."""

    epochs: int
    """Passes over the training rows."""
    recorded: tuple[int, ...]
    """[E] epochs, counted from 1, after which the model is asked; the last one is always among them."""
    optimiser: str
    """adamw or sgd."""
    learning_rate: float
    """Peak."""
    weight_decay: float
    """Of weights."""

    @classmethod
    def of(cls, recipe: Recipe, trained: bool) -> Plan:
        """Fill in what the recipe leaves open."""
        choice = recipe.finetune
        epochs = choice.epochs or (10 if trained else 40)
        optimiser = choice.optimiser or ("adamw" if trained else "sgd")
        usual = choice.batch_size * (5e-4 / 256 if optimiser == "adamw" else 0.1 / 128)
        decay = 0.05 if optimiser == "adamw" else 5e-4
        return cls(
            epochs,
            tuple(recorded_steps(epochs, recipe.checkpoints)),
            optimiser,
            usual if choice.learning_rate is None else choice.learning_rate,
            decay if choice.weight_decay is None else choice.weight_decay,
        )


class Data(NamedTuple):
    """What is learnt from; n rows in canonical order."""

    pixels: NDArray[np.uint8]
    """[n, S, S, 3], memory-mapped."""
    targets: Targets
    """Of the n rows; those that are recorded have hard ones."""
    classes: int
    """K."""


class _Part(NamedTuple):
    """This process's part of a batch."""

    at: Rows
    """[b] rows."""
    moves: augmentation.Moves | None
    """Of its images."""
    whole: int
    """Rows of the batch."""


class Training:
    """Weights, optimiser and average of one model; `number` tells it from other models of the same recipe."""

    def __init__(self, classifier: Classifier, plan: Plan, recipe: Recipe, number: int) -> None:
        from timm.utils.model_ema import ModelEmaV3

        self.classifier, self.plan, self.number, self.seed = classifier, plan, number, recipe.seed
        self.choice = recipe.finetune
        model = self.model = classifier.model
        self.net: nn.Module = model
        if processes.count() > 1:
            self.model, self.net = _shared(model, classifier.device)
        self.step: Step = partial(_descend, classifier, self.net, self.choice.clip_norm)
        if processes.count() == 1 and classifier.device.type == "cuda":
            self.step = Graphs(model, self.step)
        matrices, vectors = (  # vectors are biases and norms
            [p for p in self.model.parameters() if (p.ndim > 1) == decays] for decays in (True, False)
        )
        groups = [
            {"params": matrices, "weight_decay": plan.weight_decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        self.optimiser: torch.optim.Optimizer
        if plan.optimiser == "adamw":
            self.optimiser = torch.optim.AdamW(groups, lr=plan.learning_rate, fused=True)
        else:
            momentum: dict[str, Any] = {"momentum": 0.9, "nesterov": True}
            self.optimiser = torch.optim.SGD(groups, lr=plan.learning_rate, fused=True, **momentum)
        ema = self.choice.ema
        self.average: Any = None if ema is None else ModelEmaV3(self.model, decay=ema, use_warmup=True)

    @property
    def asked(self) -> nn.Module:
        """The model that is recorded: the average of the weights where one is kept."""
        average: nn.Module = self.model if self.average is None else self.average.module
        return average

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint needs."""
        average = None if self.average is None else self.average.module.state_dict()
        return {
            "model": self.model.state_dict(), "optimiser": self.optimiser.state_dict(), "average": average
        }  # fmt: skip

    def restore(self, state: dict[str, Any]) -> None:
        """Continue where `state` was taken."""
        self.model.load_state_dict(state["model"])
        self.optimiser.load_state_dict(state["optimiser"])
        if self.average is not None:
            self.average.module.load_state_dict(state["average"])

    def epochs(self, data: Data, rows: Rows, checkpoint: Path, progress: Progress) -> Iterator[int]:
        """Pass over some rows as often as is planned, and yield the epochs done, counted from 1, after each pass.

        What the caller does with the model before it goes on belongs to the epoch: then all processes meet, and a
        checkpoint is written. One of this model that is there already is where training begins.
        """
        held, done = load_checkpoint(checkpoint), 0
        if held is not None and held["number"] == self.number:
            self.restore(held["state"])
            done = held["epochs"]
        for epoch in range(done, self.plan.epochs):
            name = f"fine-tune {epoch + 1}/{self.plan.epochs}"
            with progress.stage(name, len(rows), "images") as advance:
                self.learn(data, rows, epoch, advance)
            yield epoch + 1
            processes.wait()
            if processes.rank() == 0:
                with writing(checkpoint) as temporary:
                    state = {"number": self.number, "epochs": epoch + 1, "state": self.state()}
                    torch.save(state, temporary)

    def learn(self, data: Data, rows: Rows, epoch: int, advance: Advance) -> None:
        """Pass once over some rows, in the order of this epoch, counted from 0.

        Raises UsageError when the loss is no number.
        """
        rng = np.random.default_rng([self.seed, self.number, epoch])
        seed, batches = int(rng.integers(2**31)), split(rng.permutation(rows), self.choice.batch_size)
        draws = rng if self.choice.augment else None
        device, total = self.classifier.device, len(batches) * self.plan.epochs
        lost = torch.zeros((), device=device)
        self.net.train()
        with (
            torch.random.fork_rng(devices=[] if device.type == "cpu" else [device]),
            contextlib.closing(self._read(data, self._parts(batches, draws))) as parts,
        ):
            torch.manual_seed(seed)
            for step, (part, pixels, wanted) in enumerate(parts, epoch * len(batches) + 1):
                for group in self.optimiser.param_groups:
                    group["lr"] = self.plan.learning_rate * schedule_share(step, total, self.choice.warm_up)
                lost += self.step(pixels, wanted, part.whole)
                self.optimiser.step()
                self.optimiser.zero_grad()
                if self.average is not None:
                    self.average.update(self.model, step)
                advance(part.whole)
        if not math.isfinite(processes.total(lost)):
            remedy = f"choose a lower one with --finetune-rate, for instance {self.plan.learning_rate / 10:g}"
            raise UsageError(
                f"fine-tuning: the loss is no number any more in epoch {epoch + 1}, at a learning rate of "
                f"{self.plan.learning_rate:g}; {remedy}"
            )

    def settle(self, data: Data, rows: Rows) -> None:
        """Measure BatchNorm's statistics again, on some of the rows learnt from, with the weights as they are now.

        Running means lag behind a model that learns fast: in its first epochs it would be sure of nonsense (Wu and
        Johnson 2021, Rethinking "Batch" in BatchNorm, §3).
        """
        model = self.asked.eval()
        norms = [m for m in model.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
        if not norms:
            return
        some = rows[evenly(len(rows), SETTLED)]
        usual = [norm.momentum for norm in norms]
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the plain mean over batches
            norm.train()
        parts = self._parts(split(some, self.choice.batch_size), None)
        with torch.inference_mode(), contextlib.closing(self._read(data, parts)) as read:
            for _, pixels, _ in read:
                self.classifier.logits(model, pixels)
        for norm, momentum in zip(norms, usual, strict=True):
            norm.momentum = momentum
        processes.average_buffers(model)

    def record(self, data: Data, rows: Rows, recording: Recording, epoch: int, advance: Advance) -> None:
        """Ask the model, in eval mode and without augmentation, about some rows; `epoch` counts recorded ones."""
        model = self.asked.eval()
        mine = np.array_split(rows, processes.count())[processes.rank()]
        batches = split(mine, self.choice.batch_size) if len(mine) else []
        parts = (_Part(at, None, len(at)) for at in batches)
        with torch.inference_mode(), contextlib.closing(self._read(data, parts)) as read:
            for part, pixels, wanted in read:
                log_p = torch.log_softmax(self.classifier.logits(model, pixels), dim=1)
                said = condense(log_p, wanted.argmax(dim=1), recording.wants_whole(epoch))
                recording.write(epoch, part.at, said)
                advance(len(part.at) * processes.count())
        recording.flush()

    def _parts(self, batches: list[Rows], rng: np.random.Generator | None) -> Iterator[_Part]:
        """Yield this process's part of each batch, with moves drawn from `rng`; all processes draw alike."""
        for batch in batches:
            moves = None if rng is None else augmentation.draw(rng, len(batch), self.classifier.size)
            edges = np.linspace(0, len(batch), processes.count() + 1).astype(int)
            mine = slice(*edges[processes.rank() : processes.rank() + 2])
            yield _Part(batch[mine], None if moves is None else moves.part(mine), len(batch))

    def _read(
        self, data: Data, parts: Iterator[_Part]
    ) -> Generator[tuple[_Part, torch.Tensor, torch.Tensor]]:
        """Yield parts with their pixels [b, S, S, 3] and labels [b, K] on the device; a thread works ahead."""
        device = self.classifier.device

        def put(values: NDArray[Any]) -> torch.Tensor:
            held = torch.from_numpy(np.ascontiguousarray(values))
            if device.type == "cuda":  # pinned memory is copied beside the computation
                held = held.pin_memory()
            return held.to(device, non_blocking=True)

        def read(part: _Part) -> tuple[_Part, torch.Tensor, torch.Tensor]:
            pixels, wanted = put(data.pixels[part.at]), put(data.targets.dense(part.at, data.classes))
            return part, pixels if part.moves is None else augmentation.move(pixels, part.moves), wanted

        return ahead(read, parts)


def _descend(
    classifier: Classifier, net: nn.Module, clip_norm: float | None, pixels: torch.Tensor, wanted: torch.Tensor,
    whole: int,
) -> torch.Tensor:  # fmt: skip
    """Leave clipped gradients of the mean over a batch of `whole` images; return the sum of this part's losses."""
    logits = classifier.logits(net, pixels)
    loss = functional.cross_entropy(logits, wanted, reduction="sum")
    # The mean over processes that DDP takes of this is the mean over the batch.
    (loss * (processes.count() / whole)).backward()  # type: ignore[no-untyped-call]  # torch's own
    if clip_norm is not None:
        nn.utils.clip_grad_norm_(classifier.model.parameters(), clip_norm)
    return loss.detach()


def load_checkpoint(path: Path) -> dict[str, Any] | None:
    """Return the number of a model, its epochs done and its state; None where no checkpoint is."""
    held: dict[str, Any] | None = torch.load(path, "cpu", weights_only=True) if path.exists() else None
    return held


def split(rows: Rows, most: int) -> list[Rows]:
    """Part rows into batches of nearly equal size: a last one of a single image would break BatchNorm."""
    return np.array_split(rows, -(-len(rows) // most))


def _shared(model: nn.Module, device: torch.device) -> tuple[nn.Module, nn.Module]:
    """Return the model and what trains it together with other processes."""
    from timm.layers.norm_act import convert_sync_batchnorm
    from torch.nn.parallel import DistributedDataParallel

    if device.type == "cpu":
        return model, DistributedDataParallel(model, broadcast_buffers=False)
    model = convert_sync_batchnorm(model)  # type: ignore[no-untyped-call]  # timm's own
    return model, DistributedDataParallel(model, [torch.cuda.current_device()], broadcast_buffers=False)
