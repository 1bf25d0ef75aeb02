"""Pictures: small copies of images as data URIs, within a given number of bytes each."""

from __future__ import annotations

import base64
import os
import time
import warnings
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO

from PIL import Image

from labelfix.errors import ImageUnreadable
from labelfix.learn.upright import upright
from labelfix.manifest import Images

QUALITIES = (76, 56, 36, 20)
"""Tried in turn, and then again at half the size, until a picture is small enough."""
SMALL = 96
"""Up to this side JPEG is as small as WebP for a tenth of the time."""
READERS = 16
"""Threads: reading waits for disks or servers, and Pillow works outside the interpreter's lock."""
TRIED, CHEAP = 16, 1e-3
"""So many pictures are made first; if each takes no more seconds, threads would only wait for that lock."""
PLAIN_KINDS = ("JPEG", "PNG")
"""Browsers show these …"""
PLAIN_FACTS = {"jfif", "jfif_version", "jfif_unit", "jfif_density", "dpi", "adobe", "adobe_transform", "progressive",
               "progression", "interlace", "gamma", "srgb"}  # fmt: skip
"""… and with no more than these said beside the pixels, nothing private is passed on …"""
PLAIN_PARTS = ("APP0", "APP14")
"""… nor in other parts of a JPEG …"""
PLAIN_ENDS = (b"\xff\xd9", b"IEND\xaeB`\x82")
"""… nor behind the end."""


@dataclass(frozen=True)
class Picture:
    """What a page shows of one image."""

    uri: str
    """`data:image/…`; "" where there is no picture."""
    width: int
    """Pixels; 0 where there is no picture."""
    height: int
    """Pixels."""
    missing: str
    """Why there is no picture; "" where there is one."""


def draw(images: Images, rows: Iterable[int], side: int, most: int) -> dict[int, Picture]:
    """Return a picture of each of these rows, at most `side` pixels wide and high and `most` bytes.

    An image that cannot be read has its reason in the place of a picture. Rows are read in ascending order, which is
    cheap for images inside tables.
    """

    def one(row: int) -> Picture:
        try:
            return encode(images.read(row), side, most)
        except ImageUnreadable as error:
            return Picture("", 0, 0, str(error))

    ordered = sorted(set(rows))
    began = time.perf_counter()
    made = [one(row) for row in ordered[:TRIED]]
    rest = ordered[TRIED:]
    if time.perf_counter() - began <= TRIED * CHEAP:
        made += [one(row) for row in rest]
    else:
        # Decoding silences Pillow's warnings, which threads would not undo in order: the filters are kept out here.
        with (
            warnings.catch_warnings(),
            ThreadPoolExecutor(min(READERS, 4 * (os.cpu_count() or 1))) as threads,
        ):
            made += threads.map(one, rest)
    return dict(zip(ordered, made, strict=True))


def encode(data: bytes, side: int, most: int) -> Picture:
    """Return a picture of encoded bytes; raises ImageUnreadable."""
    if len(data) <= most and (same := _as_it_is(data, side)):
        return same
    image = Image.fromarray(upright(data, max(1, side // 2)))
    while True:
        image.thumbnail((side, side), Image.Resampling.LANCZOS, reducing_gap=3.0)
        kind = "jpeg" if side <= SMALL else "webp"
        for quality in QUALITIES:
            made = BytesIO()
            image.save(
                made, kind, quality=quality, **({"optimize": True} if kind == "jpeg" else {"method": 2})
            )
            if made.tell() <= most or side <= 16:
                text = base64.b64encode(made.getvalue()).decode()
                return Picture(f"data:image/{kind};base64,{text}", *image.size, "")
        side //= 2


def _as_it_is(data: bytes, side: int) -> Picture | None:
    """Return a small JPEG or PNG that is nothing but pixels, unchanged; None where it is more, or does not decode."""
    if not data.endswith(PLAIN_ENDS):
        return None
    try:
        with Image.open(BytesIO(data), formats=PLAIN_KINDS) as image:
            plain = image.mode in {"RGB", "L"} and image.info.keys() <= PLAIN_FACTS
            parts = [name for name, _ in getattr(image, "applist", ())]
            plain &= all(name.startswith(PLAIN_PARTS) for name in parts) and not getattr(
                image, "private_chunks", ()
            )
            if max(image.size) > side or not plain:
                return None
            image.load()
            uri = f"data:image/{str(image.format).lower()};base64,{base64.b64encode(data).decode()}"
            return Picture(uri, *image.size, "")
    except Exception:  # noqa: BLE001 (decoders raise almost anything; `upright` says what it is)
        return None
