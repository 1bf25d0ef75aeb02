"""Throughput: what training with the recorder costs beside plain loops of the same model and loader.

    python examples/benchmarks/throughput.py
    python examples/benchmarks/throughput.py --model resnet32 --from-scratch --pixels 32 --batch 128 --batches 16

The training pass (soft targets, schedule, clipped gradients, loss check) stands against forward, cross-entropy,
backward and optimiser step; the recording pass (log-probabilities, entropy, memory-mapped files) against forward and
accuracy. Both read the same memory-mapped pixels through the same reader, augmentation included. The two loops of a
pair take turns of a few batches, so that whatever else the machine does weighs on both alike; who goes first changes
from turn to turn. Printed: images a second, and the ratio ours / plain, by the clock, as its median over turns, and by
processor time, which other work on the machine cannot lengthen; on a GPU only the clock counts. 1 is no cost. A few
minutes on two cores; what that printed is in throughput.md.
"""

from __future__ import annotations

import argparse
import contextlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch.nn import functional

from labelfix.learn import augmentation, classifier
from labelfix.learn.decoding import ahead
from labelfix.learn.recipe import FineTuning, Recipe
from labelfix.learn.recording import Recording
from labelfix.learn.targets import Targets
from labelfix.learn.training import Data, Plan, Training, split

Turn = Callable[[int], None]


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", help="default: the default backbone")
    parser.add_argument("--from-scratch", action="store_true")
    parser.add_argument("--pixels", type=int, default=128)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--batches", type=int, default=4, help="of a turn")
    parser.add_argument("--turns", type=int, default=12)
    parser.add_argument("--classes", type=int, default=10)
    parser.add_argument("--device", default="auto")
    given = parser.parse_args()
    tuning = FineTuning(model=given.model, scratch=given.from_scratch, batch_size=given.batch)
    recipe = Recipe(mode="finetune", image_size=given.pixels, device=given.device, finetune=tuning)
    net = classifier.build(recipe, given.classes)
    threads = torch.get_num_threads()
    print(f"{net.name}, {net.size} pixels, batch {given.batch}, {net.dtype}, {net.device}, {threads} threads")
    rows = given.batch * given.batches
    with tempfile.TemporaryDirectory() as folder:
        data = images(Path(folder) / "pixels.npy", rows, net.size, given.classes)
        print("| pass | plain, images/s | ours, images/s | ratio | median of turns | by processor time |")
        print("|---|---|---|---|---|---|")
        for name, plain, ours in pairs(net, data, recipe, Path(folder) / "recorded"):
            clock, processor = taking_turns(plain, ours, given.turns, net.device).transpose(2, 0, 1)
            each = rows * given.turns / clock.sum(axis=1)
            ratios = (
                each[1] / each[0],
                np.median(clock[0] / clock[1]),
                processor[0].sum() / processor[1].sum(),
            )
            cells = [name, *(f"{number:.0f}" for number in each), *(f"{ratio:.3f}" for ratio in ratios)]
            print(f"| {' | '.join(cells)} |", flush=True)


def images(path: Path, rows: int, size: int, classes: int) -> Data:
    """Write noise for images; what they show makes no difference to the time."""
    rng = np.random.default_rng(0)
    np.save(path, rng.integers(0, 256, (rows, size, size, 3), dtype=np.uint8))
    labels = rng.integers(0, classes, rows).astype(np.int32)
    return Data(np.load(path, mmap_mode="r"), Targets.hard(labels), classes)


def pairs(
    net: classifier.Classifier, data: Data, recipe: Recipe, place: Path
) -> list[tuple[str, Turn, Turn]]:
    """Return name, plain loop and our pass, of training and of recording."""
    rows, size = np.arange(len(data.targets)), recipe.finetune.batch_size
    plan = Plan.of(recipe, net.trained)
    training = Training(net, plan, recipe, 0)
    recording = Recording.create(place, len(rows), data.classes, [1.0], whole_last=False)
    labels = torch.from_numpy(data.targets.classes[:, 0].astype(np.int64))
    plain_net = classifier.build(recipe, data.classes)
    optimiser = type(training.optimiser)(
        plain_net.model.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay, fused=True
    )

    def read(part: tuple[np.ndarray, augmentation.Moves | None]) -> tuple[torch.Tensor, torch.Tensor]:
        at, moves = part
        pixels = torch.from_numpy(np.asarray(data.pixels[at])).to(net.device)
        return pixels if moves is None else augmentation.move(pixels, moves), labels[at].to(net.device)

    def plain_training(turn: int) -> None:
        rng, model = np.random.default_rng(turn), plain_net.model.train()
        parts = ((at, augmentation.draw(rng, len(at), net.size)) for at in split(rng.permutation(rows), size))
        with contextlib.closing(ahead(read, parts)) as batches:
            for pixels, given in batches:
                functional.cross_entropy(plain_net.logits(model, pixels), given).backward()
                optimiser.step()
                optimiser.zero_grad()

    def plain_evaluation(_: int) -> None:
        model, right = training.asked.eval(), torch.zeros((), device=net.device)
        parts = ((at, None) for at in split(rows, size))
        with torch.inference_mode(), contextlib.closing(ahead(read, parts)) as batches:
            for pixels, given in batches:
                right += (net.logits(model, pixels).argmax(dim=1) == given).sum()
        right.item()

    def learn(turn: int) -> None:
        training.learn(data, rows, turn % plan.epochs, lambda _: None)

    def record(_: int) -> None:
        training.record(data, rows, recording, 0, lambda _: None)

    return [("training", plain_training, learn), ("recording", plain_evaluation, record)]


def taking_turns(plain: Turn, ours: Turn, turns: int, device: torch.device) -> np.ndarray:
    """Return seconds by the clock and of processors [plain or ours, turn, 2]; first turns do not count."""
    times = np.zeros((2, turns + 1, 2))
    for turn in range(turns + 1):
        for which in (0, 1) if turn % 2 else (1, 0):
            began = np.array([time.perf_counter(), time.process_time()])
            (plain, ours)[which](turn)
            if device.type == "cuda":
                torch.cuda.synchronize(device)
            times[which, turn] = np.array([time.perf_counter(), time.process_time()]) - began
    return times[:, 1:]


if __name__ == "__main__":
    main()
