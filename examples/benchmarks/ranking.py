"""How well labels that are known to be wrong are ranked: average precision of every score, beside trivial ones.

Command:   python examples/benchmarks/ranking.py cifar10n.parquet --truth label_clean \
               --label label_aggre --label label_random1 --label label_worst
Hardware:  2 CPU cores with bfloat16, no GPU
Time:      about 2 minutes for the first label column of 50,000 images, 30 seconds for each further one
Expected:  the table in README.md beside this file

The scan sees a copy of the manifest that holds the image and one column of given labels, nothing else.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.metrics import average_precision_score

import labelfix

CORRECTORS = ("tmlc", "cleanlab", "aum", "mean-loss", "wrong-events")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("manifest", type=Path)
    parser.add_argument("--image", default="image", help="column of the images")
    parser.add_argument("--truth", required=True, help="column of the true labels")
    parser.add_argument("--label", action="append", required=True, help="column of given labels; repeatable")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cache", type=Path)
    options = parser.parse_args()
    table = pq.read_table(options.manifest)
    truth = np.array(table.column(options.truth).to_pylist(), dtype=object)
    print(
        "| given labels | wrong | "
        + " | ".join(HEADINGS)
        + " | estimated rate (90 %) | calibration error | rest of scan / backbone |"
    )
    print("|---" * (len(HEADINGS) + 5) + "|")
    for column in options.label:
        with tempfile.TemporaryDirectory() as scratch:
            row = judge(table, truth, column, options, Path(scratch))
        print("| " + " | ".join(row) + " |", flush=True)


HEADINGS = (
    "constant", "cleanlab self-confidence", "cleanlab normalised margin", "cleanlab confidence-weighted entropy",
    "mean loss", "wrong events", "AUM", "tmlc (suspicion)",
)  # fmt: skip


def judge(
    table: pa.Table, truth: np.ndarray, column: str, options: argparse.Namespace, scratch: Path
) -> list[str]:
    """Scan one column of labels and return a row of the table."""
    given = np.array(table.column(column).to_pylist(), dtype=object)
    bare = pa.table({"image": table.column(options.image), "label": pa.array(given, pa.string())})
    pq.write_table(bare, scratch / "bare.parquet", row_group_size=5000)
    recipe = labelfix.Recipe(seed=options.seed)
    findings = labelfix.scan(
        scratch / "bare.parquet", recipe, correctors=CORRECTORS, out=scratch / "run", cache=options.cache
    )
    wrong = given != truth
    suspicion = findings.column("suspicion")
    scores = {
        "constant": np.zeros(len(wrong)),
        **cleanlab_scores(scratch / "run", findings),
        "mean loss": findings.column("mean-loss.score"),
        "wrong events": findings.column("wrong-events.score"),
        "AUM": findings.column("aum.score"),
        "tmlc (suspicion)": suspicion,
    }
    bins = np.minimum((suspicion * 15).astype(int), 14)
    gap = np.abs(np.bincount(bins, suspicion, 15) - np.bincount(bins, wrong, 15)).sum() / len(wrong)
    estimate = findings.meta["estimated_errors"]
    timings = json.loads((scratch / "run" / "run.json").read_text())["timings"]
    backbone = timings.get("backbone", 0.0)
    rest = sum(timings.values()) - backbone
    return [
        column,
        f"{wrong.mean():.1%}",
        *(f"{average_precision_score(wrong, scores[name]):.4f}" for name in HEADINGS),
        f"{estimate['rate']:.3f} ({estimate['low']:.3f} … {estimate['high']:.3f})",
        f"{gap:.3f}",
        f"{rest:.1f} s / {backbone:.1f} s",
    ]


def cleanlab_scores(run: Path, findings: labelfix.Findings) -> dict[str, np.ndarray]:
    """Return cleanlab's three scores of the same out-of-fold probabilities, computed again from the saved run."""
    trajectories = pq.read_table(run / "trajectories.parquet")
    last = {
        name: np.stack(trajectories.column(f"out_of_fold.{name}").to_numpy())[:, -1]
        for name in ("loss", "entropy", "margin")
    }
    own = np.exp(-last["loss"])
    other = np.exp(-last["loss"] - last["margin"])  # probability of the likeliest other class
    assert np.allclose(1 - own, findings.column("cleanlab.score"), atol=1e-3)
    return {
        "cleanlab self-confidence": 1 - own,
        "cleanlab normalised margin": other - own,
        "cleanlab confidence-weighted entropy": last["entropy"] / np.maximum(own, 1e-9),
    }


if __name__ == "__main__":
    main()
