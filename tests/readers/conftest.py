"""Small real data sets to read."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

Folder = Callable[..., Path]


def png(seed: int) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 255, (4, 4, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    """Writes images below tmp_path and returns it."""

    def write(*images: str) -> Path:
        for seed, name in enumerate(images):
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(png(seed))
        return tmp_path

    return write


@pytest.fixture
def embedded(tmp_path: Path) -> Path:
    """Two row groups of three images, as plain bytes."""
    table = pa.table(
        {"image": [png(i) for i in range(6)], "label": ["cat", "dog", "cat", "dog", "cat", "cat"]}
    )
    path = tmp_path / "embedded.parquet"
    pq.write_table(table, path, row_group_size=3)
    return path
