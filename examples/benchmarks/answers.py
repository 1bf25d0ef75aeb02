"""What answers teach: how the next scan ranks the rows nobody was asked about, if it learns from answers and if not.

    python examples/benchmarks/answers.py cifar10n.parquet --truth label_clean --label label_aggre --answers 1000

Asked about are the most suspicious rows, and for a tenth of the answers rows drawn at random, as `--budget` does it;
with `--random` all are drawn. The annotator answers with the truth. Then labels are mended and heads trained again, and
the rows that are left are judged once more: untaught, when answers are forgotten but for the labels that they have
mended and the error rate that those drawn at random show, and taught. Printed: average precision over the rows that are
left, and expected calibration error, means over seeds; a constant score has the rate for its precision. For data that
the shipped weights have seen: `--weights`.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelfix.answers import Audit, Told, Verdicts
from labelfix.benchmarking import metrics
from labelfix.benchmarking.trials import DataSet, Noise, Trial, load
from labelfix.learn.cache import default_cache
from labelfix.learn.recipe import Recipe
from labelfix.learn.replay import Replay
from labelfix.progress import Silent
from labelfix.readers.interface import Columns
from labelfix.tmlc.calibrate import calibration_error
from labelfix.tmlc.judgement import Judgement
from labelfix.tmlc.net import TMLCNet, load_net

AT_RANDOM = 0.1
"""Share of the answers that a budget spends on rows drawn at random."""


def main() -> None:
    """Print one row for each data set, labels and number of answers."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifests", nargs="+", help="FILE, or FILE@EMBEDDINGS:TRUTH")
    parser.add_argument("--truth", help="column of true labels")
    parser.add_argument("--label", action="append", default=[], help="column of real labels")
    parser.add_argument("--noise", action="append", default=[], help="FAMILY:RATE to inject")
    parser.add_argument("--answers", action="append", type=int, required=True, help="how many")
    parser.add_argument("--random", action="store_true", help="draw all of them at random")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--weights", type=Path, help="of a net that has not seen the set")
    parser.add_argument("--cache", type=Path, default=default_cache())
    given = parser.parse_args()
    net, _ = load_net(given.weights)
    print(
        "| set | labels | wrong | answers | of wrong labels | left: wrong | before | untaught | taught | ECE before | "
        "untaught | taught |\n" + "|---" * 12 + "|",
        flush=True,
    )
    for source in given.manifests:
        data = load(
            source, given.truth, given.label, Columns(), None, None, False, Recipe(), given.cache, Silent()
        )
        noises = [Noise.parse(noise) for noise in given.noise]
        found: dict[tuple[str, int], list[tuple[float, ...]]] = {}
        for seed in range(given.seeds):
            labelled = [data.labelled(column, seed) for column in given.label]
            for trial in (*labelled, *(data.corrupted(noise, seed) for noise in noises)):
                name = trial.noise if trial.wanted is None else f"{trial.noise} {trial.wanted:.0%}"
                before = scores(net, data.evidence(trial, Recipe(seed=seed), Silent()))
                for count in given.answers:
                    asked = chosen(before, count, given.random, seed)
                    found.setdefault((name, count), []).append(round_of(net, data, trial, before, asked))
        for (name, count), rows in found.items():
            rate, hit, *rest = np.mean(rows, axis=0)
            told = " | ".join(f"{value:.3f}" for value in rest)
            print(f"| {data.name} | {name} | {rate:.3f} | {count} | {hit:.0f} | {told} |", flush=True)


@dataclass(frozen=True)
class Asked:
    """Rows that are asked about."""

    by_rank: NDArray[np.intp]
    """Places in the trial."""
    at_random: NDArray[np.intp]
    """Likewise."""


def chosen(score: NDArray[np.float64], count: int, at_random: bool, seed: int) -> Asked:
    """Choose by scores [n]."""
    top = 0 if at_random else count - round(AT_RANDOM * count)
    order = np.argsort(-score, kind="stable")
    return Asked(order[:top], np.random.default_rng(seed).permutation(order[top:])[: count - top])


def round_of(
    net: TMLCNet, data: DataSet, trial: Trial, before: NDArray[np.float64], asked: Asked
) -> tuple[float, ...]:
    """Return the numbers of a row of the table."""
    classes, _ = data.truth(trial.classes)
    truth = classes[trial.rows]
    wrong = trial.given != truth
    answered = np.sort(np.concatenate([asked.by_rank, asked.at_random]))
    answered = answered[np.argsort(trial.rows[answered], kind="stable")]
    left = np.setdiff1d(np.arange(len(wrong)), answered)
    mended = trial.given.copy()
    mended[answered] = np.where(truth[answered] < len(trial.classes), truth[answered], mended[answered])
    evidence = data.evidence(replace(trial, given=mended), Recipe(seed=trial.seed), Silent())
    evidence.trusted = np.isin(np.arange(len(wrong)), answered)
    audit = Audit(float(len(asked.at_random)), float(wrong[asked.at_random].sum()))
    untaught = Told(audit, float(wrong[asked.by_rank].sum()) / len(left))
    verdicts = Verdicts(trial.rows[answered], trial.given[answered], wrong[answered])
    judged = [before]
    for told in (untaught, replace(untaught, verdicts=verdicts)):
        evidence.told = told
        judged.append(scores(net, evidence))
    suspicion = [(1 / (1 + np.exp(-score[left]))).astype(np.float32) for score in judged]
    return (
        float(wrong.mean()), float(wrong[answered].sum()), float(wrong[left].mean()),
        *(metrics.average_precision(score[left], wrong[left]) for score in judged),
        *(calibration_error(p, wrong[left]) for p in suspicion),
    )  # fmt: skip


def scores(net: TMLCNet, evidence: Replay) -> NDArray[np.float64]:
    """Return the scores [n] of training rows, in the order of the trial."""
    judgement = Judgement.fit(net, evidence)
    found = np.empty(int(evidence.rows.max()) + 1)
    for chunk in evidence.chunks():
        found[chunk.rows] = judgement(net, chunk)[0]
    return found[evidence.rows]


if __name__ == "__main__":
    main()
