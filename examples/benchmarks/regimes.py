"""What each method makes of less evidence: unseen rows, no neighbours, no second learner, one epoch, probabilities
alone.

    python examples/benchmarks/regimes.py flowers.parquet --truth species --noise symmetric:0.1 --weights W

Average precision, mean over noises and seeds, of tmlc and of the best hand-made score that the regime still has.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Callable
from pathlib import Path

import numpy as np

from labelfix.benchmarking import metrics
from labelfix.benchmarking.opponents import able, opponents
from labelfix.benchmarking.trials import Noise, Trial, load
from labelfix.evidence import EvidenceChunk
from labelfix.learn.cache import default_cache
from labelfix.learn.recipe import Recipe
from labelfix.learn.replay import Replay
from labelfix.progress import Silent
from labelfix.readers.interface import Columns
from labelfix.tmlc.bank import without_trajectories

HAND_MADE = ("aum", "mean-loss", "wrong-events", "cleanlab", "cleanlab:normalised-margin",
             "cleanlab:confidence-weighted-entropy", "argmax-disagreement")  # fmt: skip


def last_epoch(whole: Replay) -> Replay:
    """Keep the last checkpoint only."""
    assert whole.heads is not None
    heads = dataclasses.replace(
        whole.heads,
        weight=whole.heads.weight[-1:],
        bias=whole.heads.bias[-1:],
        progress=whole.heads.progress[-1:],
    )
    return dataclasses.replace(whole, heads=heads, _kept=[])


def probabilities_alone(whole: Replay) -> Replay:
    """Keep what --pred-probs would give: no neighbours either."""
    return dataclasses.replace(without_trajectories(whole), neighbours=None, _kept=[])


def as_unseen(chunk: EvidenceChunk) -> EvidenceChunk:
    """Score the rows as a batch that came later."""
    return chunk.as_unseen()


def as_seen(chunk: EvidenceChunk) -> EvidenceChunk:
    """Score the rows as training rows."""
    return chunk


REGIMES: dict[str, tuple[Callable[[Replay], Replay], Callable[[EvidenceChunk], EvidenceChunk]]] = {
    "everything": (lambda whole: whole, as_seen),
    "unseen rows": (lambda whole: whole, as_unseen),
    "no neighbours": (lambda whole: dataclasses.replace(whole, neighbours=None, _kept=[]), as_seen),
    "no second learner": (lambda whole: dataclasses.replace(whole, kernel=None, _kept=[]), as_seen),
    "one epoch": (last_epoch, as_seen),
    "probabilities alone": (probabilities_alone, as_seen),
}


def main() -> None:
    """Print one row for each regime."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifests", nargs="+")
    parser.add_argument("--truth")
    parser.add_argument("--label", action="append", default=[])
    parser.add_argument("--noise", action="append", default=[])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--weights", type=Path)
    parser.add_argument("--cache", type=Path, default=default_cache())
    given = parser.parse_args()
    recipe, found = Recipe(), dict[str, list[dict[str, float]]]()
    for source in given.manifests:
        data = load(
            source, given.truth, given.label, Columns(), None, None, False, recipe, given.cache, Silent()
        )
        trials = [
            *(data.labelled(column, seed) for column in given.label for seed in range(given.seeds)),
            *(data.corrupted(Noise.parse(n), seed) for n in given.noise for seed in range(given.seeds)),
        ]
        for trial in trials:
            truth, _ = data.truth(trial.classes)
            whole = data.evidence(trial, recipe, Silent())
            for regime, (reduce, seen) in REGIMES.items():
                found.setdefault(regime, []).append(
                    precisions(reduce(whole), seen, trial, truth[trial.rows], given.weights)
                )
    print(f"| regime | trials | constant | {' | '.join(HAND_MADE)} | tmlc |")
    print("|---" * (len(HAND_MADE) + 4) + "|")
    for regime, rows in found.items():
        means = {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}
        told = [f"{means[name]:.3f}" if name in means else "" for name in ("constant", *HAND_MADE, "tmlc")]
        print(f"| {regime} | {len(rows)} | {' | '.join(told)} |", flush=True)


def precisions(
    evidence: Replay, seen: Callable[[EvidenceChunk], EvidenceChunk], trial: Trial, truth: np.ndarray,
    weights: Path | None,
) -> dict[str, float]:  # fmt: skip
    """Return the average precision of each method that the evidence suffices for; `truth` [n]."""
    names = ("tmlc", "aum", "mean-loss", "wrong-events")
    some = able(opponents(names, weights), evidence.present, ())
    place = np.empty(int(trial.rows.max()) + 1, np.intp)
    place[trial.rows] = np.arange(len(trial.rows))
    out = {}
    for name, corrector in some.items():
        state = corrector.fit(evidence)
        chunks = list(evidence.chunks())
        score = np.concatenate([corrector.score(state, seen(chunk)).score for chunk in chunks])
        at = place[np.concatenate([chunk.rows for chunk in chunks])]
        known = truth[at] >= 0
        out[name] = metrics.average_precision(score[known], (trial.given != truth)[at][known])
    return out


if __name__ == "__main__":
    main()
