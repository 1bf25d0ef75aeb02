"""Encoded bytes to pixels that stand upright, whatever kind of image it is; needs Pillow alone.

Nothing is ever put in the place of an image that cannot be decoded: the error says why.
"""

from __future__ import annotations

import warnings
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from labelfix.errors import ImageUnreadable

Pixels = NDArray[np.uint8]

_ORIENTATION = 0x0112
_DRAFT = 2  # a JPEG is never decoded smaller than this many times the target, so that no detail is lost
_DEPTHS = (8, 10, 12, 14, 16)  # bits that cameras and scanners put into 16-bit files


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
