"""How much the choices that the TMLC-Net paper leaves open matter: support share and meta learning rate.

Command:   python examples/benchmarks/paper_sensitivity.py flowers5.npy flowers5.parquet --truth label \
               --noise symmetric:0.2 --noise pair:0.2 --noise symmetric:0.02
Hardware:  1 CPU core, no GPU
Time:      about half a minute for each noise and seed of 3,000 rows × 1,088 features
Expected:  the table in README.md beside this file

Average precision and AUROC for finding the injected errors, mean over the seeds; a seed draws the rows, the noise, the
folds and the nets. All scores read the same evidence. The truth is used to inject noise and to measure, nowhere else.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from sklearn.metrics import average_precision_score, roc_auc_score

from labelfix.correctors.dynamics import AverageMargin, MeanLoss
from labelfix.correctors.interface import Corrector
from labelfix.correctors.tmlc import TMLC
from labelfix.correctors.tmlc_paper import TMLCPaper
from labelfix.learn import kernel, neighbours, probe
from labelfix.learn.features import Features
from labelfix.learn.noise import FAMILIES
from labelfix.learn.recipe import Recipe
from labelfix.learn.replay import Replay
from labelfix.progress import Silent
from labelfix.tmlc.paper import PaperRecipe

SUPPORT = (0.5, 0.8, 0.9)
META_RATE = (3e-4, 1e-3, 3e-3)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("features", type=Path, help=".npy [N, d], rows as in the manifest")
    parser.add_argument("manifest", type=Path, help="Parquet")
    parser.add_argument("--truth", required=True, help="column of the true labels")
    parser.add_argument("--noise", action="append", required=True, help="FAMILY:RATE; repeatable")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--rows", type=int, default=3000, help="at most, drawn by the seed")
    options = parser.parse_args()
    x = np.load(options.features, mmap_mode="r")
    names = np.array(pq.read_table(options.manifest, columns=[options.truth])[options.truth].to_pylist())
    classes, truth = np.unique(names.astype(str), return_inverse=True)
    assert len(x) == len(truth), f"{len(x)} rows of features, but {len(truth)} of labels"
    found: dict[str, list[list[float]]] = {}
    for noise in options.noise:
        for seed in range(options.seeds):
            for name, pair in judge(x, truth, len(classes), noise, seed, options.rows).items():
                found.setdefault(name, []).append(list(pair))
    print("| score | " + " | ".join(f"{noise} AP | AUROC" for noise in options.noise) + " |")
    print("|---" * (1 + 2 * len(options.noise)) + "|")
    for name, pairs in found.items():
        means = np.array(pairs).reshape(len(options.noise), options.seeds, 2).mean(axis=1)
        print(f"| {name} | " + " | ".join(f"{value:.3f}" for value in means.ravel()) + " |")


def judge(
    x: np.ndarray, truth: np.ndarray, K: int, noise: str, seed: int, most: int
) -> dict[str, tuple[float, float]]:
    """Average precision and AUROC of every score on one draw of rows and noise."""
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(x))[:most])
    family, _, rate = noise.partition(":")
    some, y = np.asarray(x[rows], np.float32), truth[rows].astype(np.int32)
    given = FAMILIES[family](some, y, K, float(rate), rng)
    data, order = evidence(some, given, K, seed)
    wrong = (given != y)[order]
    correctors: dict[str, Corrector] = {
        f"tmlc-paper, support {share:.0%}, rate {rate:g}": TMLCPaper(
            PaperRecipe(support=share, meta_rate=rate, seed=seed)
        )
        for share in SUPPORT
        for rate in META_RATE
    }
    correctors |= {"mean loss": MeanLoss(), "AUM": AverageMargin(), "tmlc": TMLC()}
    scores = {"constant": np.zeros(len(wrong))}
    for name, corrector in correctors.items():
        state, score = corrector.fit(data), np.empty(len(wrong))
        for chunk in data.chunks():
            score[chunk.rows] = corrector.score(state, chunk).score
        scores[name] = score
    return {
        name: (average_precision_score(wrong, score), roc_auc_score(wrong, score))
        for name, score in scores.items()
    }


def evidence(x: np.ndarray, given: np.ndarray, K: int, seed: int) -> tuple[Replay, np.ndarray]:
    """What a scan would see, and the order [n] its rows have there."""
    digests = [hashlib.blake2b(row.tobytes(), digest_size=16).digest() for row in x]
    keys = np.frombuffer(b"".join(digests), np.uint8).reshape(-1, 16)
    order = np.lexsort(keys.T[::-1])
    features, at, recipe = Features.from_array(x[order]), np.arange(len(x)), Recipe(seed=seed)
    near = neighbours.find(features, at, keys[order], None, recipe.neighbours, recipe.seed)
    folds = probe.assign_folds(near.component, keys[order], recipe.folds)
    heads = probe.train(features, at, given[order], folds, K, recipe, "benchmark", Silent())
    second = kernel.fit(features, at, given[order], folds, heads, Silent())
    return Replay(at, given[order], K, "benchmark", folds, features, heads, near, kernel=second), order


if __name__ == "__main__":
    main()
