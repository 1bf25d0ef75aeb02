"""Augmentation: the random crop and flip of He et al. 2016, §4.2, for a whole batch at once.

A crop after padding is a shift; the border is mirrored, not black, so that it looks like the rest of the image.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

PADDING = 8
"""One … of the side is padded on each edge: 4 pixels of 32."""


class Moves(NamedTuple):
    """What happens to each of b images."""

    down: NDArray[np.int64]
    """[b] pixels by which the crop lies lower than the image."""
    right: NDArray[np.int64]
    """[b]"""
    flipped: NDArray[np.bool_]
    """[b] left and right are exchanged."""

    def part(self, some: slice) -> Moves:
        """Return those of some of the images."""
        return Moves(self.down[some], self.right[some], self.flipped[some])


def draw(rng: np.random.Generator, images: int, size: int) -> Moves:
    """Draw moves of images [size, size]."""
    most = size // PADDING
    down, right = rng.integers(-most, most + 1, (2, images))
    return Moves(down, right, rng.random(images) < 0.5)


def move(pixels: torch.Tensor, moves: Moves) -> torch.Tensor:
    """Return moved pixels [b, S, S, 3], of any type, on their device."""
    size, device = pixels.shape[1], pixels.device
    line = torch.arange(size, device=device)
    down, right, flipped = (torch.from_numpy(values).to(device)[:, None] for values in moves)
    y, x = _mirrored(line + down, size), _mirrored(line + right, size)  # [b, S]
    x = torch.where(flipped, x.flip(1), x)
    image = torch.arange(len(pixels), device=device)
    return pixels[image[:, None, None], y[:, :, None], x[:, None, :]]


def _mirrored(at: torch.Tensor, size: int) -> torch.Tensor:
    """Reflect positions outside 0 … size - 1 at the edge pixel."""
    return (size - 1) - ((size - 1) - at.abs()).abs()
