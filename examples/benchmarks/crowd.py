"""What answers of several annotators add: each row is one answer, and rows with the same id are of one item.

    python examples/benchmarks/crowd.py answers.parquet@embedding:truth

Average precision and false negatives at the true budget for finding wrong answers, calibration error, Brier score, and
the estimated error rate, mean of all seeds. `others differ` is the share of the item's other answers that say something
else; CROWDLAB (Goh, Tkachenko & Mueller 2022) is cleanlab's, on the same out-of-fold probabilities. The oracle weighs
images, answers and record by the truth of half of the items, and is scored on the other half.
"""

from __future__ import annotations

import argparse
import dataclasses
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from labelfix.benchmarking import metrics
from labelfix.benchmarking.trials import load
from labelfix.evidence import EvidenceChunk
from labelfix.learn.cache import default_cache
from labelfix.learn.recipe import Recipe
from labelfix.learn.replay import Replay
from labelfix.progress import Silent
from labelfix.readers.interface import Columns
from labelfix.tmlc.calibrate import calibration_error, sigmoid
from labelfix.tmlc.judgement import Judgement
from labelfix.tmlc.net import TMLCNet, load_net

Numbers = NDArray[np.float64]


def main() -> None:
    """Print one row for each method."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest")
    parser.add_argument("--label", default="label")
    parser.add_argument("--id", default="id")
    parser.add_argument("--annotator", default="annotator")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--cache", type=Path, default=default_cache())
    given = parser.parse_args()
    columns, recipe = Columns(id=given.id, annotator=given.annotator), Recipe()
    net, _ = load_net(given.weights)
    data = load(
        given.manifest, None, [given.label], columns, None, None, False, recipe, given.cache, Silent()
    )
    found: dict[str, list[tuple[float, ...]]] = {}
    right: dict[str, list[float]] = {}
    for seed in range(given.seeds):
        trial = data.labelled(given.label, seed)
        evidence = data.evidence(trial, recipe, Silent())
        truth, _ = data.truth(trial.classes)
        for name, wrong, score, p in methods(net, evidence, data.manifest.ids, truth, seed):
            found.setdefault(name, []).append(measured(wrong, score, p))
        for name, share in labels_right(net, evidence, data.manifest.ids, truth, seed):
            right.setdefault(name, []).append(share)
    print("| method | AP | FNR | ECE | Brier | estimated |\n|---|---|---|---|---|---|")
    for name, rows in found.items():
        told = ["" if np.isnan(value) else f"{value:.3f}" for value in np.mean(rows, axis=0)]
        print(f"| {name} | {' | '.join(told)} |", flush=True)
    print(
        "One label an item, right: "
        + ", ".join(f"{name} {np.mean(rows):.3f}" for name, rows in right.items())
    )


def measured(wrong: NDArray[np.bool_], score: Numbers, p: Numbers | None) -> tuple[float, ...]:
    """Return the columns of the table; `p` [n] is the score as a probability, where it is one."""
    ranked = metrics.average_precision(score, wrong), metrics.fnr_at_true_budget(score, wrong)
    if p is None:
        return (*ranked, np.nan, np.nan, np.nan)
    error = calibration_error(p.astype(np.float32), wrong)
    return (*ranked, error, float(((p - wrong) ** 2).mean()), float(p.mean()))


def methods(
    net: TMLCNet, evidence: Replay, ids: NDArray[np.object_], truth: NDArray[np.int32], seed: int
) -> Iterator[tuple[str, NDArray[np.bool_], Numbers, Numbers | None]]:
    """Yield name, which rows are wrong [n], score [n] and, where it is meant as one, probability [n]."""
    chunks = list(evidence.chunks())
    rows, labels = (np.concatenate([getattr(chunk, name) for chunk in chunks]) for name in ("rows", "labels"))
    wrong = labels != truth[rows]
    rate = np.full(len(rows), wrong.mean())
    yield "constant (the true rate)", wrong, rate, rate
    p = np.concatenate([chunk.probabilities for chunk in chunks if chunk.probabilities is not None])
    yield "self-confidence", wrong, -p[np.arange(len(rows)), labels].astype(np.float64), None
    differ = np.concatenate([differing(chunk) for chunk in chunks])
    yield "others differ", wrong, differ, differ
    told, item, who = crowdlab_of(ids[rows], evidence, rows, labels, p)
    crowdlab = 1.0 - told["detailed_label_quality"].to_numpy()[item, who]
    yield "CROWDLAB", wrong, crowdlab, crowdlab
    alone = dataclasses.replace(evidence, items=None, _kept=[])
    images = scores(net, Judgement.fit(net, alone), alone)
    yield "tmlc, annotators unknown", wrong, images, sigmoid(images)
    judgement = Judgement.fit(net, evidence)
    both = scores(net, judgement, evidence)
    yield "**tmlc**", wrong, both, sigmoid(both)
    x = np.stack([images, both, differ], axis=1)
    best = oracle(x, wrong, pd.factorize(ids[rows])[0], seed)
    yield "oracle", wrong, best, best


def differing(chunk: EvidenceChunk) -> Numbers:
    """Return the share [n] of the others who do not say what the row says; 0 where nobody else answered."""
    assert chunk.others is not None
    agree, count = chunk.others.of_class(chunk.labels)
    return np.asarray((count - agree) / np.maximum(count, 1))


def labels_right(
    net: TMLCNet, evidence: Replay, ids: NDArray[np.object_], truth: NDArray[np.int32], seed: int
) -> Iterator[tuple[str, float]]:
    """Yield how often one label an item is right: by most answers, by CROWDLAB, by the mean of tmlc's soft labels."""
    judgement, chunks = Judgement.fit(net, evidence), list(evidence.chunks())
    rows, labels = (np.concatenate([getattr(chunk, name) for chunk in chunks]) for name in ("rows", "labels"))
    p = np.concatenate([chunk.probabilities for chunk in chunks if chunk.probabilities is not None])
    told, item, _ = crowdlab_of(ids[rows], evidence, rows, labels, p)
    true, votes, soft = np.zeros(item.max() + 1, int), *np.zeros((2, item.max() + 1, p.shape[1]))
    true[item] = truth[rows]
    np.add.at(votes, (item, labels), 1.0)
    yield (
        "most answers",
        float((true == (votes + np.random.default_rng(seed).random(votes.shape) / 2).argmax(1)).mean()),
    )
    yield "CROWDLAB", float((true == told["label_quality"]["consensus_label"].to_numpy()).mean())
    start = 0
    for chunk in chunks:
        _, q = judgement(net, chunk)
        np.add.at(soft, (item[start : start + len(chunk), None], chunk.candidates), q)
        start += len(chunk)
    yield "tmlc", float((true == soft.argmax(axis=1)).mean())


def crowdlab_of(
    ids: NDArray[np.object_], evidence: Replay, rows: NDArray[np.int64], labels: NDArray[np.int32],
    p: NDArray[np.float32],
) -> tuple[dict[str, pd.DataFrame], NDArray[np.intp], NDArray[np.intp]]:  # fmt: skip
    """Return what cleanlab says, and the item and the annotator [n] of each row in it."""
    from cleanlab.multiannotator import get_label_quality_multiannotator

    assert evidence.items is not None
    item, _ = pd.factorize(ids)
    who, names = pd.factorize(evidence.items.keys[rows])
    table = np.full((item.max() + 1, len(names)), np.nan)
    table[item, who] = labels
    of_item = np.zeros((len(table), p.shape[1]))
    of_item[item] = p
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        told = get_label_quality_multiannotator(
            pd.DataFrame(table), of_item / of_item.sum(axis=1, keepdims=True), verbose=False
        )
    return told, item, who


def scores(net: TMLCNet, judgement: Judgement, evidence: Replay) -> Numbers:
    """Return log-odds [n]."""
    return np.concatenate([judgement(net, chunk)[0] for chunk in evidence.chunks()]).astype(np.float64)


def oracle(x: Numbers, wrong: NDArray[np.bool_], item: NDArray[np.intp], seed: int) -> Numbers:
    """Return what logistic regression on the truth of half of the items makes of `x` [n, d], for the other half."""
    from sklearn.linear_model import LogisticRegression

    half = np.random.default_rng(seed).random(int(item.max()) + 1)[item] < 0.5
    found = np.empty(len(x))
    for fitted in (half, ~half):
        found[~fitted] = LogisticRegression().fit(x[fitted], wrong[fitted]).predict_proba(x[~fitted])[:, 1]
    return found


if __name__ == "__main__":
    main()
