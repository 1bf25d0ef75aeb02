"""Images: encoded bytes to pixels, and the data set that training and extraction read.

Nothing is ever put in the place of an image that cannot be decoded: its row carries the reason.
Torch is imported when the first image is decoded, not with this module.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelfix.errors import ImageUnreadable
from labelfix.learn.upright import Pixels, upright
from labelfix.manifest import Images

KEY_BYTES = 16
"""Length of a content key."""
TRANSFORM = "squash, bicubic, antialiased, on white; 2"
"""Names what `decode` does to pixels; the number rises when the result changes."""
_SMALL = 1 << 18  # values (about 300 × 300 pixels): up to here images wait for others to be squashed together


def content_key(data: bytes) -> bytes:
    """Name an image by its encoded bytes: 16 bytes of blake2b."""
    return hashlib.blake2b(data, digest_size=KEY_BYTES).digest()


def decode(data: bytes, size: int) -> Pixels:
    """Decode any image Pillow reads into a square of uint8 [size, size, 3], RGB.

    The whole image is squashed, as a crop might cut off what the label is about. EXIF orientation is
    applied, transparency is laid on white, an animation gives its first frame. Grey values of more
    than 8 bits are scaled by the depth they use (the least of 8, 10, 12, 14, 16 bits that holds the
    largest), floats in 0 … 1 by 255, and values outside both ranges by their own least and largest.

    Raises ImageUnreadable with the reason: empty, not an image, cut off, damaged, or too large.
    """
    pixels: Pixels = squash(upright(data, size)[None], size)[0]
    return pixels


def squash(pixels: Pixels, size: int) -> Pixels:
    """Resize images [n, height, width, 3] to squares [n, size, size, 3]; bicubic, antialiased.

    Each image's bytes are the same in any company; many small ones together take a tenth of the time.
    """
    # Torch resizes uint8 like Pillow, to the last level or so, but enlarges ten times faster.
    import torch

    if pixels.shape[1:3] == (size, size):
        return pixels
    channels_last = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    resized = torch.nn.functional.interpolate(channels_last, (size, size), mode="bicubic", antialias=True)
    return np.ascontiguousarray(resized.permute(0, 2, 3, 1).numpy())


class Item(NamedTuple):
    """One row: image, label, position, and what became of it."""

    image: Pixels | None
    """[size, size, 3]; None when unreadable, or known already."""
    label: int
    """Given class; -1 without labels."""
    row: int
    """Position in the manifest."""
    key: bytes
    """Content key; zeros when not even the bytes could be read."""
    reason: str
    """Why it is unreadable; empty otherwise."""


class Batch(NamedTuple):
    """Items packed by `collate`: b of n rows have pixels.

    Arrays, not tensors: torch moves tensors between processes through /dev/shm, which in containers is
    often too small for a few batches; a pipe costs some microseconds an image more.
    """

    images: Pixels
    """[b, size, size, 3] uint8."""
    labels: NDArray[np.int64]
    """[b] given classes."""
    rows: NDArray[np.intp]
    """[b] positions in the manifest."""
    seen: NDArray[np.intp]
    """[n] positions of all rows, with and without pixels."""
    keys: NDArray[np.uint8]
    """[n, 16] content keys."""
    reasons: dict[int, str]
    """Position → why it is unreadable."""


class ImageDataset:
    """The rows of a manifest as `Item`s: a map-style data set for torch's DataLoader, with `collate`.

    `known` holds sorted content keys ([M] of dtype S16) whose images need not be decoded.
    """

    def __init__(
        self,
        images: Images,
        size: int,
        rows: NDArray[np.intp],
        labels: NDArray[np.int32] | None = None,
        known: NDArray[np.bytes_] | None = None,
    ) -> None:
        self.images, self.size, self.rows, self.labels, self.known = images, size, rows, labels, known

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, at: int) -> Item:
        return self.__getitems__([at])[0]

    def __getitems__(self, positions: Sequence[int]) -> list[Item]:
        """Return several items; DataLoader calls this for a batch. Small images are squashed together."""
        items = [self._decoded(at) for at in positions]
        alike: dict[tuple[int, ...], list[tuple[int, Pixels]]] = {}
        for i, item in enumerate(items):
            if item.image is not None and item.image.shape != (self.size, self.size, 3):
                alike.setdefault(item.image.shape, []).append((i, item.image))
        for small in alike.values():
            squares = squash(np.stack([pixels for _, pixels in small]), self.size)
            for (i, _), square in zip(small, squares, strict=True):
                items[i] = items[i]._replace(image=square)
        return items

    def _decoded(self, at: int) -> Item:
        """Return an item whose image is squashed if it is large, so that not a batch of photographs is held."""
        row = int(self.rows[at])
        label = -1 if self.labels is None else int(self.labels[row])
        key = bytes(KEY_BYTES)
        try:
            data = self.images.read(row)
            key = content_key(data)
            image = None if self._is_known(key) else upright(data, self.size)
        except ImageUnreadable as error:
            return Item(None, label, row, key, str(error))
        if image is not None and image.size > _SMALL:
            image = squash(image[None], self.size)[0]
        return Item(image, label, row, key, "")

    def _is_known(self, key: bytes) -> bool:
        if self.known is None or not len(self.known):
            return False
        wanted = np.frombuffer(key, dtype=f"S{KEY_BYTES}")
        at = int(np.searchsorted(self.known, wanted)[0])
        return at < len(self.known) and self.known[at] == wanted[0]


def collate(items: list[Item]) -> Batch:
    """Pack items; rows without pixels keep their key and reason and take no room among the images."""
    whole = [item for item in items if item.image is not None]
    images = [item.image for item in whole if item.image is not None]
    pixels = np.stack(images) if images else np.zeros((0, 0, 0, 3), dtype=np.uint8)
    keys = np.frombuffer(b"".join(item.key for item in items), dtype=np.uint8).reshape(len(items), KEY_BYTES)
    return Batch(
        images=pixels,
        labels=np.array([item.label for item in whole], dtype=np.int64),
        rows=np.array([item.row for item in whole], dtype=np.intp),
        seen=np.array([item.row for item in items], dtype=np.intp),
        keys=keys,
        reasons={item.row: item.reason for item in items if item.reason},
    )
