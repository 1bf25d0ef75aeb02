"""Write a table of one answer a row, from a column of answers or by simulated annotators.

    python examples/benchmarks/crowd_answers.py labelme.parquet --answers answers --truth label_clean -o labelme_answers.parquet
    python examples/benchmarks/crowd_answers.py flowers.parquet --truth label --workers 12 --each 3 --rate 0.2 -o out.parquet

`--answers` names a column of JSON, annotator → class. Simulated annotators are weak classifiers that see part of the
embeddings (`labelfix.learn.noise.annotators`), each with a rate of wrong answers of its own, from a third to twice
`--rate`; every item goes to `--each` of them. The true class is written as `truth`.
"""  # noqa: E501

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import pandas as pd

from labelfix.learn.noise import annotators


def main() -> None:
    """Read, explode and write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("table", type=Path)
    parser.add_argument("--truth", required=True)
    parser.add_argument("--answers")
    parser.add_argument("--names", help="classes by number, separated by commas, where answers are numbers")
    parser.add_argument("--workers", type=int, default=12)
    parser.add_argument("--each", type=int, default=3)
    parser.add_argument("--rate", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("-o", "--out", type=Path, required=True)
    given = parser.parse_args()
    table = pd.read_parquet(given.table).reset_index(drop=True)
    if given.answers:
        names = given.names.split(",") if given.names else None
        told = [
            (row, who, names[int(said)] if names else str(said))
            for row, answers in enumerate(table[given.answers])
            for who, said in (json.loads(answers) if answers else {}).items()
        ]
    else:
        told = simulated(table, given)
    row, who, said = zip(*told, strict=True)
    kept = [name for name in ("image", "embedding") if name in table]
    out = table.loc[list(row), kept].reset_index(drop=True)
    true = table.loc[list(row), given.truth].astype(str).to_numpy()
    out = out.assign(id=np.array(row, str), annotator=who, label=said, truth=true)
    out.to_parquet(given.out)
    print(f"{given.out}: {len(out):,} answers, {(out['label'] != out['truth']).mean():.1%} wrong")


def simulated(table: pd.DataFrame, given: argparse.Namespace) -> list[tuple[int, str, str]]:
    """Return (row, annotator, class) of each answer."""
    x = np.stack(table["embedding"].tolist()).astype(np.float32)
    x = (x - x.mean(axis=0)) / np.maximum(x.std(axis=0), 1e-6)
    true, names = pd.factorize(table[given.truth])
    rng = np.random.default_rng(given.seed)
    rates = given.rate * np.exp(rng.uniform(np.log(1 / 3), np.log(2), given.workers))
    every = np.stack([
        annotators(x, true.astype(np.int32), len(names), rate, np.random.default_rng([given.seed, who]), "one")
        for who, rate in enumerate(rates)
    ])  # fmt: skip
    asked = np.stack([rng.permutation(given.workers)[: given.each] for _ in range(len(table))])
    return [(row, f"w{who}", str(names[every[who, row]])) for row, some in enumerate(asked) for who in some]


if __name__ == "__main__":
    main()
