"""Recorder: loss, entropy and margin of every row and recorded epoch → trajectories.parquet.

Holds N × E × 8 floats: 320 MB for a million rows and ten epochs. A quarter of that is the loss of the suggested class,
which is known only once the rows are scored; with the given label's it shows when a model began to prefer it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from labelfix.evidence import EvidenceChunk
from labelfix.rundir import writing

SCHEMA = 2
BLOCKS = ("in_sample", "out_of_fold")
KINDS = ("loss", "entropy", "margin")


class Recorder:
    """Takes chunks in any order, writes rows in manifest order; rows that were not scored are null."""

    def __init__(self, rows: int) -> None:
        self.rows = rows
        self.held: dict[str, NDArray[np.float32]] = {}

    def add(self, chunk: EvidenceChunk) -> None:
        """Keep what the chunk says of the given labels."""
        for name, block in zip(BLOCKS, chunk.blocks, strict=True):
            if block is None:
                continue
            for kind, values in zip(KINDS, (block.loss, block.entropy, block.margin[:, :, 0]), strict=True):
                key = f"{name}.{kind}"
                if key not in self.held:
                    self.held[key] = np.full((self.rows, values.shape[1]), np.nan, np.float32)
                self.held[key][chunk.rows] = values

    def add_suggested(self, rows: NDArray[np.int64], losses: dict[str, NDArray[np.float32]]) -> None:
        """Keep the losses [n, E] of the classes suggested for these rows [n], by block."""
        for name, loss in losses.items():
            held = self.held[f"{name}.suggested_loss"] = np.full(
                (self.rows, loss.shape[1]), np.nan, np.float32
            )
            held[rows] = loss

    def write(
        self, path: Path, ids: NDArray[np.object_], folds: NDArray[np.int32], progress: dict[str, list[float]]
    ) -> None:
        """Write one row per manifest row: id, fold (-1 = none), then a list of E numbers a kind.

        Kinds are, by block, loss, entropy and margin of the given label, and suggested_loss.

        `progress` [E] is the share of training done at each recorded epoch, by block.
        """
        columns: dict[str, Any] = {"id": pa.array(ids, pa.string()), "fold": pa.array(folds, mask=folds < 0)}
        for key, values in self.held.items():
            epochs = values.shape[1]
            flat = pa.array(values.reshape(-1))
            columns[key] = pa.FixedSizeListArray.from_arrays(
                flat, epochs, mask=pa.array(np.isnan(values[:, 0]))
            )
        meta = {b"labelfix": json.dumps({"schema": SCHEMA, "progress": progress}).encode()}
        with writing(path) as temporary:
            pq.write_table(pa.table(columns).replace_schema_metadata(meta), temporary, compression="zstd")
