"""Give a table of images columns of what can be read of the default backbone: its output, and its stages.

    python examples/benchmarks/readings.py flowers5.parquet -o flowers5_read.parquet
    labelfix bench flowers5_read.parquet@output:label --noise annotators:0.1 --noise symmetric:0.1 --method aum \
        --method tmlc --no-ceiling --no-downstream
    labelfix bench flowers5_read.parquet@stages:label …
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import click
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from labelfix.intake import read_manifest
from labelfix.learn import weights
from labelfix.learn.backbone import load_backbone
from labelfix.learn.images import decode
from labelfix.learn.recipe import Recipe
from labelfix.readers.interface import Columns

BATCH = 256


@click.command()
@click.argument("table", type=click.Path(exists=True, path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True)
def main(table: Path, out: Path) -> None:
    """Write TABLE without its images, but with columns `output` and `stages` of features."""
    stages = load_backbone(Recipe())
    dtype = getattr(torch, stages.identity.precision)
    whole = weights.default_model().eval().to(dtype=dtype, memory_format=torch.channels_last)
    readings = {"output": replace(stages, model=whole, width=whole.num_features), "stages": stages}
    held, images = pq.read_table(table), read_manifest(str(table), Columns()).images
    assert images is not None
    found = {name: np.empty((len(held), one.width), np.float16) for name, one in readings.items()}
    for start in range(0, len(held), BATCH):
        rows = range(start, min(start + BATCH, len(held)))
        pixels = np.stack([decode(images.read(row), stages.size) for row in rows])
        for name, one in readings.items():
            found[name][start : start + len(rows)] = one(pixels)
    held = held.drop_columns(["image"])
    for name, values in found.items():
        flat = pa.array(values.astype(np.float32).ravel())
        held = held.append_column(name, pa.FixedSizeListArray.from_arrays(flat, values.shape[1]))
    pq.write_table(held, out)


if __name__ == "__main__":
    main()
