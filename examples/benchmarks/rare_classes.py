"""Thin out the classes of a table, so that the rarest keeps a tenth of its rows: for `labelfix bench --noise`.

python examples/benchmarks/rare_classes.py flowers5.parquet -o flowers5_rare.parquet
labelfix bench flowers5_rare.parquet:label --noise symmetric:0.1 --noise annotators:0.1
"""

from __future__ import annotations

from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq


@click.command()
@click.argument("table", type=click.Path(exists=True, path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True)
@click.option("--label-col", default="label", show_default=True)
@click.option(
    "--rarest", default=0.1, show_default=True, help="Share of its rows that the rarest class keeps."
)
@click.option("--least", default=30, show_default=True, help="Rows that every class keeps.")
@click.option("--seed", default=0, show_default=True)
def main(table: Path, out: Path, label_col: str, rarest: float, least: int, seed: int) -> None:
    """Write some rows of TABLE: each class keeps a share, from all down to the rarest's in even steps of its logarithm,
    in a random order of classes."""
    rng, held = np.random.default_rng(seed), pq.read_table(table)
    _, label = np.unique(held[label_col].to_pylist(), return_inverse=True)
    count = np.bincount(label)
    share = rarest ** (rng.permutation(len(count)) / max(len(count) - 1, 1))
    size = np.minimum(count, np.maximum(least, share * count)).astype(int)
    kept = [rng.permutation(np.flatnonzero(label == k))[:many] for k, many in enumerate(size)]
    pq.write_table(held.take(pa.array(np.sort(np.concatenate(kept)))), out)
    click.echo(f"{out}: {size.sum():,} of {len(held):,} rows; classes of {size.min():,} to {size.max():,}")


if __name__ == "__main__":
    main()
