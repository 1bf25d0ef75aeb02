"""One summary of several `labelfix bench` runs, for instance of data sets that were judged by different weights.

python examples/benchmarks/summarise.py with-weights-A/results.parquet with-weights-B/results.parquet
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow.parquet as pq

from labelfix.benchmarking.results import CEILING, NOTHING, Results
from labelfix.benchmarking.summary import comparisons, lost

OURS = "tmlc"
COUNTED = "cleanlab"
"""The opponent whose interval is a bootstrap of what it flags."""


def main() -> None:
    """Print ranking, what was lost, calibration, and what unseen fixes do."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+")
    tables = [pq.read_table(file) for file in parser.parse_args().files]
    rows = tuple(row for table in tables for row in table.to_pylist())
    results = Results(rows, OURS, "", {}, "", {})
    for column, heading, higher in (
        ("average_precision", "AP", True),
        ("fnr_at_true_budget", "FNR at the true budget", False),
    ):
        print(
            f"\n| {heading} | trials | tmlc | best other | difference | 95 % interval |\n|---|---|---|---|---|---|"
        )
        for one in comparisons(results, column, higher):
            told = f"{one.difference:+.3f} | {one.low:+.3f} … {one.high:+.3f}"
            print(f"| {one.group} | {one.trials} | {one.ours:.3f} | {one.other} | {told} |")
    worse = lost(results)
    print(f"\nLost: {len(worse)} tables")
    for cell, other, difference in worse:
        print(f"- {cell.title}: {other}, {difference:+.3f}")
    level(pd.DataFrame(rows))


def level(rows: pd.DataFrame) -> None:
    """Print how well suspicion and rates are calibrated, and what flags and fixes do."""
    methods = rows[~rows.method.isin((NOTHING, CEILING))]
    ours, counted = (methods[methods.method == name] for name in (OURS, COUNTED))
    print(
        "\n| rate asked for | trials | flagged | fixed unseen | ECE | estimated | covered | net of fixes / best |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for rate, some in ours.groupby(ours.wanted_rate.fillna(-1)):
        best = some.net_best.mean()
        gained = f"{some.net_change.mean():+.4f} / {best:+.4f}"
        print(
            f"| {'real' if rate < 0 else f'{rate:g}'} | {len(some)} | {some.flagged.mean():.4f} | "
            f"{some.fixed.mean():.4f} | {some.ece.mean():.4f} | {some.rate_estimate.mean():.3f} | "
            f"{some.rate_covered.mean():.2f} | {gained} |"
        )
    print(
        "\n| calibration | trials | ECE | Brier skill | interval holds | width | score | cleanlab's count |"
    )
    print("|---" * 8 + "|")
    for group, mine, theirs in groups(ours, counted):
        width = (mine.rate_high - mine.rate_low).mean()
        print(
            f"| {group} | {len(mine)} | {mine.ece.mean():.3f} | {mine.brier_skill.mean():.3f} | "
            f"{mine.rate_covered.mean():.3f} | {width:.3f} | {mine.interval_score.mean():.3f} | "
            f"{theirs.interval_score.mean():.3f} |"
        )
    paired = ours.set_index(["data", "noise", "wanted_rate", "seed"]).brier_skill
    theirs = counted.set_index(["data", "noise", "wanted_rate", "seed"]).brier_skill.reindex(paired.index)
    both = paired.notna() & theirs.notna()
    print(f"Brier skill {paired[both].mean():.3f}, cleanlab after the same calibration {theirs[both].mean():.3f}; "
          f"tmlc better in {np.mean(paired[both] > theirs[both]):.0%} of {int(both.sum())} trials")  # fmt: skip


def groups(ours: pd.DataFrame, counted: pd.DataFrame) -> Iterator[tuple[str, pd.DataFrame, pd.DataFrame]]:
    """Yield all trials, those of each kind of noise, and those of each data set."""
    yield "all", ours, counted
    for column in ("noise", "data"):
        for name, some in ours.groupby(column, sort=False):
            yield str(name), some, counted[counted[column] == name]


if __name__ == "__main__":
    main()
