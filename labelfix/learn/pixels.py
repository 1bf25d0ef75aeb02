"""Pixels: all images decoded once, so that many passes over them cost no decoding.

One NPY file, uint8 [n, S, S, 3], 3 S² bytes a row: 2.5 GB for 50,000 images of 128 pixels, 154 MB at 32. It is read
through a memory map, so that memory holds what the system has room for.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.lib.format import write_array_header_1_0
from numpy.typing import NDArray

from labelfix.errors import InputError
from labelfix.learn import decoding
from labelfix.learn.images import ImageDataset
from labelfix.learn.recipe import Recipe
from labelfix.manifest import Images
from labelfix.rundir import writing


def write_pixels(
    path: Path, images: Images, rows: NDArray[np.intp], size: int, recipe: Recipe,
    advance: Callable[[int], None],
) -> None:  # fmt: skip
    """Decode the images at `rows` [n], in that order, to a temporary name and rename it.

    Raises InputError for an image that could be read before and cannot now, OutputError when the disk is full.
    """
    dataset = ImageDataset(images, size, rows)
    decoded = decoding.batches(dataset, recipe.batch_size, decoding.worker_count(recipe, dataset))
    header = {"descr": "|u1", "fortran_order": False, "shape": (len(rows), size, size, 3)}
    with contextlib.closing(decoded) as batches, writing(path) as temporary, temporary.open("wb") as file:
        write_array_header_1_0(file, header)
        for batch in batches:
            for row, reason in batch.reasons.items():
                raise InputError(
                    f"{images.name(row)}: was changed since it was first read ({reason}); scan again"
                )
            file.write(np.ascontiguousarray(batch.images).data)
            advance(len(batch.rows))
