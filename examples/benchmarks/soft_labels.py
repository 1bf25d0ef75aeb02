"""Soft labels against the votes of many people, where scans saw one vote an image (CIFAR-10H).

    python examples/benchmarks/soft_labels.py cifar10h.parquet --votes counts --truth label_clean

KL: mean divergence of each method's distribution from that of the votes (a fiftieth of a vote added to each class), in
nats. ECE: expected calibration error of its likeliest class, where right is the share of votes it got, and where right
is the true class. People err, too, so that by votes who knows the truth has an error about as large as theirs.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from labelfix import plugins
from labelfix.benchmarking.trials import load
from labelfix.correctors.tmlc import TMLC
from labelfix.findings import Correction
from labelfix.learn.cache import default_cache
from labelfix.learn.recipe import Recipe
from labelfix.progress import Silent
from labelfix.readers.interface import Columns

SMOOTHING = 0.1
"""Probability mass spread over all classes where a method gives a hard label."""
FLOOR = 1e-3
"""Least probability of a class, so that no divergence is infinite."""

Numbers = NDArray[np.float64]


def main() -> None:
    """Print one row for each distribution."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--votes", default="counts", help="column of vote counts, one a class")
    parser.add_argument("--truth", default="label_clean")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--cache", type=Path, default=default_cache())
    given = parser.parse_args()
    measured = [run(given, seed) for seed in range(given.seeds)]
    print(
        f"| distribution | KL, mean of {given.seeds} seeds | ECE by votes | ECE by the truth |\n|---|---|---|---|"
    )
    for name in measured[0]:
        kl, voted, true = (np.mean([one[name][at] for one in measured]) for at in range(3))
        print(f"| {name} | {kl:.4f} | {voted:.4f} | {true:.4f} |")


def run(given: argparse.Namespace, seed: int) -> dict[str, tuple[float, float, float]]:
    """Draw one vote an image, judge it, and return KL and both ECE of each distribution."""
    table = pq.read_table(given.manifest)
    counts = np.array(table.column(given.votes).to_pylist(), np.float64)
    truth = np.array([str(name) for name in table.column(given.truth).to_pylist()])
    names = np.unique(truth)
    order = [int(counts[truth == name].sum(axis=0).argmax()) for name in names]  # each class's own column
    counts = counts[:, order]
    share = counts / counts.sum(axis=1, keepdims=True)
    drawn = (share.cumsum(axis=1) < np.random.default_rng(seed).random((len(share), 1))).sum(axis=1)
    table = table.append_column("one", pa.array(names[drawn]))
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "one_vote.parquet"
        pq.write_table(table, path)
        data = load(
            str(path), given.truth, ["one"], Columns(), None, None, False, Recipe(), given.cache, Silent()
        )
        trial = data.labelled("one", seed)
        evidence = data.evidence(trial, Recipe(seed=seed), Silent())
    classes = [int(np.flatnonzero(names == name)[0]) for name in trial.classes]
    counts = counts[:, classes]
    true = np.argsort(classes)[np.searchsorted(names, truth)].astype(np.int32)
    K = len(classes)
    rows, parts = [], dict[str, list[Numbers]]()
    ours, theirs = TMLC(given.weights), plugins.load("correctors", "cleanlab")()
    our_state, their_state = ours.fit(evidence), theirs.fit(evidence)
    for chunk in evidence.chunks():
        assert chunk.probabilities is not None
        rows.append(chunk.rows)
        verdict = theirs.score(their_state, chunk)
        fixed = np.where(verdict.is_issue, verdict.suggested(chunk.labels)[0], chunk.labels)
        for name, q in {
            "constant (uniform)": np.full((len(chunk), K), 1 / K),
            "given labels, smoothed": smoothed(chunk.labels, K),
            "cleanlab's suggestions, smoothed": smoothed(fixed, K),
            "out-of-fold probabilities": chunk.probabilities.astype(np.float64),
            "soft labels of tmlc": dense(ours.score(our_state, chunk), K),
            "oracle: true labels": smoothed(true[chunk.rows], K, 0.0),
            "oracle: true labels, smoothed": smoothed(true[chunk.rows], K),
        }.items():
            parts.setdefault(name, []).append(q)
    at = np.concatenate(rows)
    return {name: distance(np.concatenate(q), counts[at], true[at]) for name, q in parts.items()}


def smoothed(labels: NDArray[np.int32], classes: int, smoothing: float = SMOOTHING) -> Numbers:
    """Return hard labels [n] as distributions [n, K]."""
    q = np.full((len(labels), classes), smoothing / classes)
    q[np.arange(len(labels)), labels] += 1 - smoothing
    return q


def dense(correction: Correction, classes: int) -> Numbers:
    """Return a correction's soft labels [n, K]; what is left is spread over the classes not listed."""
    q = np.full((len(correction.p), classes), np.nan)
    np.put_along_axis(q, correction.classes, correction.p.astype(np.float64), axis=1)
    unlisted = np.isnan(q)
    left = (1 - np.nansum(q, axis=1)).clip(0) / np.maximum(unlisted.sum(axis=1), 1)
    return np.where(unlisted, left[:, None], q)


def distance(q: Numbers, counts: Numbers, true: NDArray[np.int32]) -> tuple[float, float, float]:
    """Return mean KL(votes ‖ q) and how far the likeliest class's probability is off.

    Namely from its share of the votes, by counts [n, K], and from how often it is the `true` class [n].
    """
    share = counts / counts.sum(axis=1, keepdims=True)
    votes = counts + 1 / 50
    votes /= votes.sum(axis=1, keepdims=True)
    q = np.maximum(q, FLOOR)
    q /= q.sum(axis=1, keepdims=True)
    kl = float((votes * np.log(votes / q)).sum(axis=1).mean())
    best = q.argmax(axis=1)
    confidence, voted = q.max(axis=1), share[np.arange(len(q)), best]
    return (
        kl,
        calibration_error(confidence, voted),
        calibration_error(confidence, (best == true).astype(float)),
    )


def calibration_error(p: Numbers, share: Numbers) -> float:
    """Return mean |p − share| over 15 equal bins of p, weighted by their size."""
    number = np.minimum((p * 15).astype(int), 14)
    gap = np.abs(np.bincount(number, p, 15) - np.bincount(number, share, 15))
    return float(gap.sum() / len(p))


if __name__ == "__main__":
    main()
