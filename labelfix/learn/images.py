"""Images: encoded bytes to pixels, and the data set that training and extraction read.

Nothing is ever put in the place of an image that cannot be decoded: its row carries the reason.
Torch is imported when the first image is decoded, not with this module.
"""

from __future__ import annotations

import hashlib
import warnings
from collections.abc import Sequence
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from labelfix.errors import ImageUnreadable
from labelfix.manifest import Images

KEY_BYTES = 16
"""Length of a content key."""
TRANSFORM = "squash, bicubic, antialiased, on white; 2"
"""Names what `decode` does to pixels; the number rises when the result changes."""
_ORIENTATION = 0x0112
_SMALL = 1 << 18  # values (about 300 × 300 pixels): up to here images wait for others to be squashed together
_DRAFT = 2  # a JPEG is never decoded smaller than this many times the target, so that no detail is lost
_DEPTHS = (8, 10, 12, 14, 16)  # bits that cameras and scanners put into 16-bit files

Pixels = NDArray[np.uint8]


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


def upright(data: bytes, size: int) -> Pixels:
    """Decode as `decode` does, but not yet squashed: uint8 [height, width, 3], never less detailed than size."""
    if not data:
        raise ImageUnreadable("the file is empty")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow's remarks on large or odd files; errors still come
        try:
            with Image.open(BytesIO(data)) as image:
                if min(image.size) > _DRAFT * size:
                    image.draft(None, (_DRAFT * size, _DRAFT * size))  # JPEG only: decodes at 1/2, 1/4 or 1/8
                image.load()
                orientation = _orientation(image)
                pixels = _rgb(image)
        except Image.DecompressionBombError as error:
            limit = 2 * (Image.MAX_IMAGE_PIXELS or 0)
            raise ImageUnreadable(f"too large: more than {limit // 1_000_000} million pixels") from error
        except UnidentifiedImageError as error:
            raise ImageUnreadable("not an image, or of a kind that Pillow cannot read") from error
        except Exception as error:  # decoders meet hostile bytes and raise almost anything
            raise ImageUnreadable(f"cut off or damaged ({str(error) or type(error).__name__})") from error
    return _turned(pixels, orientation)


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


def _orientation(image: Image.Image) -> int:
    # Looking for EXIF costs as much as decoding a tiny JPEG, so look only where there is some.
    if image.format == "JPEG" and "exif" not in image.info and "xmp" not in image.info:
        return 1
    try:
        return int(image.getexif().get(_ORIENTATION, 1))
    except Exception:  # noqa: BLE001 (broken metadata, sound pixels: take them as they are)
        return 1


def _rgb(image: Image.Image) -> Pixels:
    """Return pixels [height, width, 3] of an image in any mode."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return np.array(image)
    if image.mode[0] in "IF":  # I, I;16, I;16B, I;16L, F
        grey = _eight_bits(np.asarray(image))
        return np.repeat(grey[:, :, None], 3, axis=2)
    if image.has_transparency_data:
        above = image.convert("RGBA")
        white = Image.new("RGBA", above.size, (255, 255, 255, 255))
        return np.array(Image.alpha_composite(white, above).convert("RGB"))
    return np.array(image.convert("RGB"))


def _eight_bits(values: NDArray[Any]) -> Pixels:
    floating = values.dtype.kind == "f"
    grey = np.nan_to_num(values.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(grey.min()), float(grey.max())
    if floating and low >= 0 and high <= 1:
        grey *= 255
    elif low >= 0 and high < 2 ** _DEPTHS[-1]:
        depth = next(bits for bits in _DEPTHS if high < 2**bits)
        grey *= 255 / (2**depth - 1)
    else:
        grey = (grey - low) * (255 / (high - low)) if high > low else np.zeros_like(grey)
    return np.rint(grey).clip(0, 255).astype(np.uint8)


def _turned(pixels: Pixels, orientation: int) -> Pixels:
    """Turn pixels as EXIF asks."""
    if not 1 < orientation <= 8:
        return pixels
    if orientation in {2, 5, 7, 4}:  # mirrored
        pixels = pixels[:, ::-1]
    quarters = {2: 0, 3: 2, 4: 2, 5: 1, 6: 3, 7: 3, 8: 1}[orientation]  # counter-clockwise
    return np.ascontiguousarray(np.rot90(pixels, quarters))


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
