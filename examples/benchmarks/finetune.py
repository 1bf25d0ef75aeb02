"""Transfer to fine-tuning: what each method makes of the trajectories of a whole model that is trained.

    python examples/benchmarks/finetune.py cifar10n.parquet --truth label_clean --label label_worst \
        --noise symmetric:0.2 --noise symmetric:0.4 --noise pair:0.4 --noise instance:0.4 --noise boundary:0.4 \
        --model resnet32:200 --model tf_efficientnet_lite0:10:128 --seed 0 --seed 1 --seed 2

That is full scale, for a GPU: 36 scans of 50,000 images, of 200 epochs of the papers' ResNet-32 from scratch and of 10
epochs of the default backbone. On two cores `--rows 10000 --model resnet32:15` does six noises in 40 minutes. What was
printed is in finetune.md.

Instance-dependent noise goes by the pixels, as published, boundary noise by the frozen features that heads read too.
Every trial is a scan as a user would run it: a manifest with the images and the noisy labels alone, `--mode finetune`.
The mean-loss, aum, wrong-events and last-epoch scores read the trained model, cleanlab's three scores the out-of-fold
probabilities, which are those of heads on the backbone's frozen features. Printed: average precision.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from labelfix import scan
from labelfix.benchmarking import metrics
from labelfix.benchmarking.trials import DataSet, Noise, Trial, load
from labelfix.learn.cache import default_cache
from labelfix.learn.images import decode
from labelfix.learn.recipe import FineTuning, Recipe
from labelfix.progress import Silent
from labelfix.readers.interface import Columns
from labelfix.rundir import RunDir

CORRECTORS = ("tmlc", "aum", "wrong-events", "mean-loss", "cleanlab")
METHODS = ("constant", "cleanlab", "cleanlab: margin", "cleanlab: entropy", "last-epoch loss", "mean-loss",
           "wrong-events", "aum", "tmlc")  # fmt: skip
PIXELS = 32
"""Size at which instance-dependent noise sees an image."""


class Model(NamedTuple):
    """A model to fine-tune, for how long and at what size; None: what a scan would choose."""

    name: str
    epochs: int | None
    pixels: int | None

    @classmethod
    def parse(cls, spec: str) -> Model:
        """Read `NAME[:EPOCHS[:PIXELS]]`."""
        name, *numbers = spec.split(":")
        epochs, pixels, *_ = [*map(int, numbers), None, None]
        return cls(name, epochs, pixels)

    def recipe(self, seed: int, device: str, batch: int) -> Recipe:
        """Return the recipe of its scan."""
        tuning = FineTuning(model=self.name, epochs=self.epochs, batch_size=batch)
        return Recipe(image_size=self.pixels, seed=seed, device=device, mode="finetune", finetune=tuning)


def main() -> None:
    """Print one row for each noise, model and seed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", type=Path, help="Parquet with images and a column of true labels")
    parser.add_argument("--truth", required=True, help="column of true labels")
    parser.add_argument("--image", default="image", help="column of images")
    parser.add_argument("--label", action="append", default=[], help="column of real labels")
    parser.add_argument("--noise", action="append", default=[], help="FAMILY:RATE to inject")
    parser.add_argument("--model", action="append", required=True, help="NAME[:EPOCHS[:PIXELS]]")
    parser.add_argument("--rows", type=int, help="take so many rows at random")
    parser.add_argument("--seed", type=int, action="append", help="default: 0")
    parser.add_argument("--batch", type=int, default=64, help="images a step")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--runs", type=Path, help="keep the scans here, and continue from what is here")
    parser.add_argument("--cache", type=Path, default=default_cache())
    given = parser.parse_args()
    print(f"| set | labels | wrong | model | seed | {' | '.join(METHODS)} | seconds |")
    print("|---" * (len(METHODS) + 6) + "|", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        place = given.runs or Path(scratch)
        place.mkdir(parents=True, exist_ok=True)
        table = subset(pq.read_table(given.manifest), given.rows)
        source = place / given.manifest.name
        pq.write_table(table, source)
        data = load(
            str(source), given.truth, given.label, Columns(image=given.image), None, None, False,
            Recipe(device=given.device), given.cache, Silent(),
        )  # fmt: skip
        for seed in given.seed or [0]:
            labelled = [data.labelled(column, seed) for column in given.label]
            corrupted = [corrupt(data, Noise.parse(noise), seed, table[given.image]) for noise in given.noise]
            for model in map(Model.parse, given.model):
                for trial in (*labelled, *corrupted):
                    began = time.perf_counter()
                    found, wrong = run(data, trial, table[given.image], model, place, given)
                    told = [f"{metrics.average_precision(found[name], wrong):.3f}" for name in METHODS]
                    name = trial.noise if trial.wanted is None else f"{trial.noise} {trial.wanted:g}"
                    about = f"{data.name} | {name} | {wrong.mean():.3f} | {model.name} | {seed}"
                    spent = time.perf_counter() - began
                    print(f"| {about} | {' | '.join(told)} | {spent:.0f} |", flush=True)


def subset(table: pa.Table, rows: int | None) -> pa.Table:
    """Return so many rows, drawn at random, in their order."""
    if rows is None or rows >= len(table):
        return table
    return table.take(np.sort(np.random.default_rng(0).permutation(len(table))[:rows]))


def corrupt(data: DataSet, noise: Noise, seed: int, images: pa.ChunkedArray) -> Trial:
    """Inject noise."""
    if noise.family != "instance":
        return data.corrupted(noise, seed)
    pixels = [decode(image, PIXELS).ravel() for image in images.to_pylist()]
    return data.corrupted(noise, seed, np.array(pixels, np.float32))


def run(
    data: DataSet, trial: Trial, images: pa.ChunkedArray, model: Model, place: Path, given: argparse.Namespace
) -> tuple[dict[str, NDArray[np.float64]], NDArray[np.bool_]]:
    """Scan the noisy labels of one trial; return each method's score [n] and which labels are wrong [n]."""
    name = f"{trial.noise}-{trial.wanted}-{model.name}-{trial.seed}"
    noisy = place / f"{data.name}-{name}.parquet"
    labels = pa.array(trial.classes).take(pa.array(trial.given))
    ids = pa.array(data.manifest.ids[trial.rows], pa.string())
    pq.write_table(pa.table({"id": ids, "image": images.take(trial.rows), "label": labels}), noisy)
    out = noisy.with_suffix("")
    recipe = model.recipe(trial.seed, given.device, given.batch)
    findings = scan(str(noisy), recipe, correctors=CORRECTORS, out=out, cache=given.cache, resume=True)
    truth, _ = data.truth(trial.classes)
    found = {name: findings.column(f"{name}.score").astype(np.float64) for name in CORRECTORS}
    return found | from_trajectories(out), trial.given != truth[trial.rows]


def from_trajectories(out: Path) -> dict[str, NDArray[np.float64]]:
    """Return the scores that no corrector has [n], from what a scan recorded of the last epoch.

    Cleanlab's normalised margin is p(likeliest other) - p(given), its confidence-weighted entropy H / p(given).
    """
    table = pq.read_table(RunDir(out).trajectories)

    def last(column: str) -> NDArray[np.float64]:
        return np.array([values[-1] for values in table.column(column).to_pylist()], np.float64)

    loss, margin = last("out_of_fold.loss"), last("out_of_fold.margin")
    return {
        "constant": np.zeros(len(table)),
        "last-epoch loss": last("in_sample.loss"),
        "cleanlab: margin": np.exp(-loss - margin) - np.exp(-loss),
        "cleanlab: entropy": last("out_of_fold.entropy") / np.exp(-loss),
    }


if __name__ == "__main__":
    main()
