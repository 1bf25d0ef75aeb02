"""How far the true error rate lies outside the estimates of it: where the slack of the interval comes from.

    python examples/benchmarks/rate_interval.py flowers.parquet pacs.parquet --truth label \
        --noise symmetric:0 --noise annotators:0.1
    python examples/benchmarks/rate_interval.py labelme.parquet@embedding:label_clean --label label_majority

For each set and each kind of wrong labels: the 95 % quantile of how far the log-odds of the true rate lie above those
of the highest estimate, and below those of the lowest; how often the 90 % interval holds the true rate; its width; its
interval score (Gneiting & Raftery 2007) beside that of the interval 0 … 1, which always holds it.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from labelfix.benchmarking import metrics
from labelfix.benchmarking.trials import Noise, load
from labelfix.evidence import Evidence
from labelfix.learn.cache import default_cache
from labelfix.learn.recipe import Recipe
from labelfix.progress import Silent
from labelfix.readers.interface import Columns
from labelfix.tmlc.calibrate import error_rate, log_odds
from labelfix.tmlc.judgement import SAMPLE, Judgement
from labelfix.tmlc.net import TMLCNet, load_net


@dataclass(frozen=True)
class Estimated:
    """One trial."""

    data: str
    noise: str
    true: float
    views: tuple[float, ...]
    rate: float
    low: float
    high: float

    @property
    def above(self) -> float:
        """How far the true rate lies above the highest estimate, log-odds."""
        return float(log_odds(self.true) - log_odds(max(self.rate, *self.views)))

    @property
    def below(self) -> float:
        """How far it lies below the lowest, log-odds."""
        return float(log_odds(min(self.rate, *self.views)) - log_odds(self.true))


def main() -> None:
    """Print a line for each set, each kind of wrong labels, and all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("manifests", nargs="+")
    parser.add_argument("--truth")
    parser.add_argument("--label", action="append", default=[])
    parser.add_argument("--noise", action="append", default=[])
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--cache", type=Path, default=default_cache())
    given = parser.parse_args()
    net, _ = load_net()
    trials = []
    for manifest in given.manifests:
        data = load(
            manifest, given.truth, given.label, Columns(), None, None, False, Recipe(),
            given.cache, Silent(),
        )  # fmt: skip
        kinds = [(data.labelled, column) for column in given.label]
        kinds += [(data.corrupted, Noise.parse(spec)) for spec in given.noise]
        for draw, what in kinds:
            for seed in range(given.seeds):
                trial = draw(what, seed)
                truth = data.truth(trial.classes)[0][trial.rows]
                wrong = (truth != trial.given)[truth >= 0]
                evidence = data.evidence(trial, Recipe(seed=seed), Silent())
                views, rate = estimate(net, evidence)
                trials.append(Estimated(trial.data, trial.noise, float(wrong.mean()), views, **rate))
    print("| wrong labels | trials | true above, 95 % | below, 95 % | held | width | score | of 0 … 1 |")
    print("|---|---|---|---|---|---|---|---|")
    for name in dict.fromkeys(t.data for t in trials):
        show(name, [t for t in trials if t.data == name])
    for name in dict.fromkeys(t.noise for t in trials):
        show(name, [t for t in trials if t.noise == name])
    show("all", trials)


def estimate(net: TMLCNet, evidence: Evidence) -> tuple[tuple[float, ...], dict[str, float]]:
    """Return the estimates that the level joins, and the rate with its interval."""
    judgement = Judgement.fit(net, evidence)
    _, p = judgement(net, evidence.sample(SAMPLE))
    return judgement.level.views, error_rate(1.0 - p[:, 0], judgement.level.doubt)


def show(name: str, trials: list[Estimated]) -> None:
    """Print one line."""
    above, below = (np.quantile([getattr(t, side) for t in trials], 0.95) for side in ("above", "below"))
    held = np.mean([t.low <= t.true <= t.high for t in trials])
    width = np.mean([t.high - t.low for t in trials])
    score = np.mean([metrics.interval_score(t.low, t.high, t.true) for t in trials])
    print(
        f"| {name} | {len(trials)} | {above:+.2f} | {below:+.2f} | {held:.2f} | {width:.2f} | {score:.2f} | 1.00 |"
    )


if __name__ == "__main__":
    main()
