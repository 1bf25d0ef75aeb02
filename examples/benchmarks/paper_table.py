"""The table of the TMLC-Net paper in its own setting: what a ResNet-32 from scratch makes of corrected labels.

    python examples/benchmarks/paper_table.py cifar10n.parquet:label_clean --test cifar10h.parquet:label_clean \
        --noise symmetric:0.2 --noise symmetric:0.4 --moved cifar100_test.parquet:label_better --epochs 200 --folds 5 \
        --seed 0 --seed 1 --seed 2

That is full scale, for a GPU: 50,000 images, 200 epochs, 5 models a scan. On two cores `--rows 3000 --epochs 15 --folds
2` takes about six minutes a method. What was printed is in paper_table.md.

Every model is trained by fold, so that all evidence is the network's own, and the published recipe looks ahead with it.
These models are trained once for all methods. tmlc has the shipped weights, which have seen no CIFAR image; its last
row is what a scan with default settings makes of the labels, from features that were learnt on other images. With
`--moved` the trust net that the published recipe has learnt on the first set is moved to the second, whose statistics
are fitted there; a fifth of that set is held out.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from finetune import subset

from labelfix import scan
from labelfix.benchmarking import metrics
from labelfix.correctors.confident import ConfidentLearning
from labelfix.correctors.interface import Corrector
from labelfix.correctors.tmlc import TMLC
from labelfix.correctors.tmlc_paper import TMLCPaper
from labelfix.evidence import Evidence
from labelfix.findings import Findings, State
from labelfix.learn.cache import default_cache
from labelfix.learn.noise import FAMILIES
from labelfix.learn.recipe import FineTuning, Recipe
from labelfix.retraining.results import Results
from labelfix.retraining.running import train
from labelfix.rundir import RunDir
from labelfix.tmlc.paper import PaperRecipe

PAPER, OWN, CLEANLAB = "tmlc-paper", "tmlc", "cleanlab"
CHOSEN = "chosen"
"""Every scan calls its primary corrector so: then it can go on where the first one has trained the models."""


class First(TMLCPaper):
    """The published recipe, which leaves the models to the scans that follow, in copies of its run."""

    def __init__(self, run: Path, others: Sequence[Path]) -> None:
        super().__init__()
        self._run, self._others = run, others

    def fit(self, evidence: Evidence) -> State:
        """Copy, then train."""
        for other in self._others:
            if not (other / "run.json").exists():
                shutil.copytree(self._run, other, dirs_exist_ok=True)
        return super().fit(evidence)


class Moved(TMLCPaper):
    """The trust net of another run; only the statistics are the target's."""

    def __init__(self, run: Path) -> None:
        super().__init__(PaperRecipe(meta_steps=0))
        self._learnt = State.load(RunDir(run).state(CHOSEN))

    def fit(self, evidence: Evidence) -> State:
        """Keep the net."""
        own = super().fit(evidence)
        own.arrays.update({name: a for name, a in self._learnt.arrays.items() if name.startswith("net.")})
        return own


@dataclass(frozen=True)
class Noisy:
    """A noisy manifest beside its held-out rows."""

    name: str
    """Of the set and its noise."""
    path: Path
    """Images and noisy labels."""
    wrong: np.ndarray
    """[N] which labels are wrong."""
    test: str
    """Held-out manifest."""
    test_truth: str
    """Column of its labels."""

    def run(self, name: str) -> Path:
        """Return where the scan by a method is kept."""
        return self.path.with_name(f"{self.name}-{name.replace(', ', '-').replace(' ', '-')}")


def main() -> None:
    """Print one row for each variant of the labels."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", help="FILE:COLUMN of images and true labels")
    parser.add_argument("--test", required=True, help="FILE:COLUMN of held-out images and their labels")
    parser.add_argument("--moved", help="FILE:COLUMN of another set, of which a fifth is held out")
    parser.add_argument("--noise", action="append", required=True, help="FAMILY:RATE to inject")
    parser.add_argument("--rows", type=int, help="take so many rows of each set at random")
    parser.add_argument("--epochs", type=int, default=200)
    parser.add_argument("--folds", type=int, default=5)
    parser.add_argument("--seed", type=int, action="append", help="default: 0")
    parser.add_argument("--batch", type=int, default=64, help="images a step")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--runs", type=Path, help="keep the scans here, and continue from what is here")
    parser.add_argument("--cache", type=Path, default=default_cache())
    given = parser.parse_args()
    print(
        "| set | wrong | seed | labels | average precision | test accuracy | seconds |\n" + "|---" * 7 + "|"
    )
    with tempfile.TemporaryDirectory() as scratch:
        place = given.runs or Path(scratch)
        place.mkdir(parents=True, exist_ok=True)
        for seed in given.seed or [0]:
            for noise in given.noise:
                first = made(given.manifest, noise, seed, given.rows, place, given.test)
                judge(first, None, seed, given)
                if given.moved:
                    judge(
                        made(given.moved, noise, seed, given.rows, place, None), first.run(PAPER), seed, given
                    )


def made(source: str, noise: str, seed: int, rows: int | None, place: Path, test: str | None) -> Noisy:
    """Write a manifest with injected noise, and one of held-out rows where no `test` is named."""
    file, truth_column = source.rsplit(":", 1)
    table = pq.read_table(file)
    table = table.filter(pc.is_valid(table[truth_column]))
    name = f"{Path(file).stem}-{noise.replace(':', '')}-{seed}"
    if test is None:
        held = np.zeros(len(table), bool)
        held[np.random.default_rng([seed, 1]).permutation(len(table))[: len(table) // 5]] = True
        test = f"{place / f'{name}-test.parquet'}:{truth_column}"
        pq.write_table(table.filter(pa.array(held)), place / f"{name}-test.parquet")
        table = table.filter(pa.array(~held))
    table = subset(table, rows)
    classes, truth = np.unique(np.array(table[truth_column].to_pylist()).astype(str), return_inverse=True)
    family, rate = noise.split(":")
    labels = FAMILIES[family](None, truth, len(classes), float(rate), np.random.default_rng([seed, 2]))
    path = place / f"{name}.parquet"
    pq.write_table(
        pa.table({"image": table["image"], "label": pa.array(classes).take(pa.array(labels))}), path
    )
    return Noisy(name, path, labels != truth, *test.rsplit(":", 1))


def judge(data: Noisy, learnt: Path | None, seed: int, given: argparse.Namespace) -> None:
    """Scan by each method and train on what it makes of the labels; `learnt` is a run whose trust net is moved here."""
    tuning = FineTuning(model="resnet32", epochs=given.epochs, batch_size=given.batch, by_fold=True)
    recipe = Recipe(
        seed=seed, device=given.device, image_size=32, folds=given.folds, mode="finetune", finetune=tuning
    )
    other = f"{PAPER}, moved" if learnt else f"{PAPER}, no NNP"
    rest = Moved(learnt) if learnt else TMLCPaper(PaperRecipe(normalised=False))
    methods: dict[str, Corrector] = {
        PAPER: First(data.run(PAPER), [data.run(name) for name in (OWN, other)]), OWN: TMLC(), other: rest
    }  # fmt: skip
    for name, method in methods.items():
        began = time.perf_counter()
        found = scanned(data, name, method, recipe, given.cache)
        wanted = ("given", "cleanlab-pruned", "soft") if name == OWN else ("soft",)
        tell(data, name, found, train_on(data, name, wanted, recipe), seed, began)
    began, name = time.perf_counter(), f"{OWN}, default scan"
    found = scanned(data, name, TMLC(), Recipe(seed=seed, device=given.device), given.cache)
    tell(data, name, found, train_on(data, name, ("soft",), recipe), seed, began)


def scanned(data: Noisy, name: str, method: Corrector, recipe: Recipe, cache: Path) -> Findings:
    """Judge the labels by a method, and by cleanlab."""
    methods = {CHOSEN: method, CLEANLAB: ConfidentLearning()}
    return scan(
        str(data.path), recipe, correctors=methods, out=data.run(name), cache=cache, resume=True, report=False
    )


def train_on(data: Noisy, name: str, labels: Sequence[str], recipe: Recipe) -> Results:
    """Train on what a run makes of the labels, and ask about the held-out rows."""
    return train(
        data.run(name), labels=labels, recipe=recipe, evaluate=data.test, truth=data.test_truth, resume=True
    )


def tell(data: Noisy, name: str, found: Findings, trained: Results, seed: int, began: float) -> None:
    """Print a row for each variant of the labels."""
    precision = {
        labels: metrics.average_precision(found.column(f"{method}.score").astype(np.float64), data.wrong)
        for labels, method in (("soft", CHOSEN), ("cleanlab-pruned", CLEANLAB))
    }
    spent = time.perf_counter() - began
    for row in trained.classifiers:
        assert row.evaluation is not None
        labels = f"{name}: soft" if row.labels == "soft" else row.labels
        told = f"{row.evaluation.accuracy:.4f} ± {row.evaluation.accuracy_error:.4f}"
        ranked = precision.get(row.labels, data.wrong.mean())
        print(
            f"| {data.name} | {data.wrong.mean():.3f} | {seed} | {labels} | {ranked:.3f} | {told} | {spent:.0f} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
