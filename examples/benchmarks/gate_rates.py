"""How near the gate's estimated error rates are, where reference and batch err in different ways.

    python examples/benchmarks/gate_rates.py flowers5.parquet:label trashnet.parquet:label

References of 400 rows, and of 1,500 or half of the set, with right labels or with a tenth wrong; batches of 1,000 other
rows of the same set, with every share and kind of wrong labels.
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pandas as pd
from gate import labels_of, score, some_of

import labelfix
from labelfix.benchmarking.trials import DataSet, load
from labelfix.gating.judged import Judged
from labelfix.gating.policy import Policy
from labelfix.gating.rate_checks import estimate
from labelfix.gating.rates import AS_SAID
from labelfix.learn.cache import default_cache
from labelfix.learn.recipe import Recipe
from labelfix.progress import Silent
from labelfix.readers.interface import Columns
from labelfix.reference import Reference

SIZES, BATCH = (400, 1500), 1000
REFERENCES = ("symmetric:0", "annotators:0.1", "symmetric:0.1")
KINDS, RATES = ("symmetric", "similarity", "annotators"), (0.05, 0.1, 0.3)
BATCHES = ("symmetric:0", *(f"{kind}:{rate}" for kind in KINDS for rate in RATES))


class Trial(NamedTuple):
    """One batch, judged as it is and as if suspicions were as steep as they say."""

    reference: str
    batch: str
    true: float
    rate: float
    held: bool
    width: float
    one_slope: float
    one_slope_held: bool


def main() -> None:
    """Print one row for each kind of reference and batch."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("manifests", nargs="+")
    parser.add_argument("--cache", type=Path, default=default_cache())
    given = parser.parse_args()
    trials = [
        trial
        for manifest in given.manifests
        for trial in judge(
            load(manifest, None, [], Columns(), None, None, False, Recipe(), given.cache, Silent())
        )
    ]
    table = pd.DataFrame(trials)
    table["kind"] = table.batch.str.partition(":")[0].where(table.true > 0, "none wrong")
    for name in ("rate", "one_slope"):
        table[f"{name}_off"] = (table[name] - table.true).abs()
    print("| reference | batch | trials | off | held | width | off, one slope | held |\n" + "|---" * 8 + "|")
    for (reference, kind), some in [(("all", ""), table), *table.groupby(["reference", "kind"], sort=False)]:
        told = f"{some.rate_off.mean():.3f} | {some.held.mean():.2f} | {some.width.mean():.2f}"
        print(
            f"| {reference} | {kind} | {len(some)} | {told} | {some.one_slope_off.mean():.3f} | "
            f"{some.one_slope_held.mean():.2f} |"
        )


def judge(data: DataSet) -> Iterator[Trial]:
    """Yield the batches of one set."""
    assert data.view.features is not None
    for seed, size in enumerate(SIZES):
        rows = np.random.default_rng([seed, 9]).permutation(np.flatnonzero(data.manifest.labels >= 0))
        known, rest = np.split(rows, [min(size, len(rows) // 2)])
        known, rest = np.sort(known), np.sort(rest[:BATCH])
        with tempfile.TemporaryDirectory(prefix="labelfix-") as scratch:
            for name, some in (("known", known), ("rest", rest)):
                np.save(f"{scratch}/{name}.npy", data.view.features.take(some))
            for kind in REFERENCES:
                manifest, _ = labels_of(data, kind, 2 * seed)
                out = f"{scratch}/{kind}"
                labelfix.scan(
                    some_of(manifest, known),
                    Recipe(seed=seed),
                    features=f"{scratch}/known.npy",
                    out=out,
                    report=False,
                )
                reference = Reference.load(Path(out))
                for batch in BATCHES:
                    manifest, truth = labels_of(data, batch, 2 * seed + 1)
                    judged, _ = score(some_of(manifest, rest), reference, f"{scratch}/rest.npy")
                    true = float((manifest.labels != truth)[rest].mean())
                    one_slope = replace(judged, usual=replace(judged.usual, steep=AS_SAID))
                    yield Trial(kind, batch, true, *_asked(judged, true), *_asked(one_slope, true)[:2])


def _asked(judged: Judged, true: float) -> tuple[float, bool, float]:
    """Return the estimated rate, whether its interval holds the true one, and the interval's width."""
    own = estimate(judged, Policy(), np.zeros(len(judged), bool)).own
    low, high = own.interval()
    return own.middle, low - 0.005 <= true <= high + 0.005, high - low


if __name__ == "__main__":
    main()
