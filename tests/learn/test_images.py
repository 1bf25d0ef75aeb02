"""Decoding: every kind of image becomes the same square of pixels, or says why it cannot."""

from __future__ import annotations

import struct
import warnings
import zlib
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image

from labelfix.errors import ImageUnreadable
from labelfix.learn.images import KEY_BYTES, ImageDataset, collate, content_key, decode

SIZE = 32
RED = (200, 30, 40)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    file = BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def halves(mode: str = "RGB", size: tuple[int, int] = (60, 40)) -> Image.Image:
    """Left red, right white."""
    image = Image.new("RGB", size, (255, 255, 255))
    image.paste(RED, (0, 0, size[0] // 2, size[1]))
    return image.quantize(4) if mode == "P" else image.convert(mode)


def sides(pixels: np.ndarray) -> tuple[list[int], list[int]]:
    return pixels[SIZE // 2, 4].tolist(), pixels[SIZE // 2, SIZE - 5].tolist()


class Listed:
    def __init__(self, files: list[bytes]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def read(self, index: int) -> bytes:
        if self.files[index] == b"missing":
            raise ImageUnreadable("no such file")
        return self.files[index]

    def name(self, index: int) -> str:
        return f"image {index}"


@pytest.mark.parametrize(
    ("mode", "kind"),
    [
        ("RGB", "PNG"), ("RGB", "WEBP"), ("RGB", "BMP"), ("P", "PNG"), ("P", "GIF"), ("RGBA", "PNG"),
        ("CMYK", "JPEG"), ("CMYK", "TIFF"), ("YCbCr", "JPEG"), ("YCbCr", "TIFF"), ("RGB", "JPEG"),
    ],
)  # fmt: skip
def test_every_colour_mode_gives_the_same_colours(mode: str, kind: str) -> None:
    left, right = sides(decode(encoded(halves(mode), kind), SIZE))
    assert np.abs(np.subtract(left, RED)).max() <= 6
    assert min(right) >= 249


@pytest.mark.parametrize("mode", ["L", "LA", "1"])
def test_grey_and_one_bit_images_have_three_equal_channels(mode: str) -> None:
    pixels = decode(encoded(halves().convert("L").point(lambda v: 255 * (v > 128)).convert(mode)), SIZE)
    assert sides(pixels) == ([0, 0, 0], [255, 255, 255])


def test_transparency_lies_on_white() -> None:
    clear = halves("RGBA")
    clear.paste((0, 0, 0, 0), (0, 0, 30, 40))
    assert sides(decode(encoded(clear), SIZE))[0] == [255, 255, 255]
    palette = halves("P")
    index = palette.getpixel((1, 1))
    assert sides(decode(encoded(palette, transparency=index), SIZE))[0] == [255, 255, 255]
    assert sides(decode(encoded(halves(), transparency=RED), SIZE))[0] == [255, 255, 255]


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.array([[0, 65535]], dtype=np.uint16), (0, 255)),
        (np.array([[0, 4095]], dtype=np.uint16), (0, 255)),
        (np.array([[100, 200]], dtype=np.uint16), (100, 200)),
        (np.array([[0, 65535]], dtype=np.int32), (0, 255)),
        (np.array([[-1000, 3000]], dtype=np.int32), (0, 255)),
        (np.array([[0.0, 1.0]], dtype=np.float32), (0, 255)),
        (np.array([[10.0, 250.0]], dtype=np.float32), (10, 250)),
        (np.array([[np.nan, 1.0]], dtype=np.float32), (0, 255)),
    ],
)
def test_deep_grey_is_scaled_by_the_depth_it_uses(values: np.ndarray, expected: tuple[int, int]) -> None:
    image = Image.fromarray(np.repeat(np.repeat(values, 20, axis=0), 20, axis=1))
    left, right = sides(decode(encoded(image, "TIFF"), SIZE))
    assert (left[0], right[0]) == expected


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP", "TIFF"])
def test_exif_orientation_is_applied_as_pillow_applies_it(orientation: int, kind: str) -> None:
    from PIL import ImageOps

    corner = halves(size=(64, 64))
    corner.paste((0, 0, 255), (0, 0, 32, 32))
    exif = Image.Exif()
    exif[0x0112] = orientation
    data = encoded(corner, kind, exif=exif)
    with Image.open(BytesIO(data)) as image:
        turned = ImageOps.exif_transpose(image).convert("RGB")
    upright = np.array(turned.resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    assert np.abs(decode(data, SIZE).astype(int) - upright).max() <= 4  # turned before or after rounding


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "PNG"])
def test_an_animation_gives_its_first_frame(kind: str) -> None:
    second = Image.new("RGB", (60, 40), (0, 0, 255))
    data = encoded(halves(), kind, save_all=True, append_images=[second], lossless=True)
    assert np.abs(np.subtract(sides(decode(data, SIZE))[0], RED)).max() <= 6


def test_a_large_jpeg_decoded_at_reduced_scale_looks_like_the_whole() -> None:
    noise = np.random.default_rng(0).integers(0, 255, (12, 16, 3), dtype=np.uint8)
    large = Image.fromarray(noise).resize((1600, 1200), Image.Resampling.BICUBIC)
    whole = np.array(large.resize((SIZE, SIZE), Image.Resampling.BICUBIC))
    assert np.abs(decode(encoded(large, "JPEG", quality=95), SIZE).astype(int) - whole).max() <= 6


@pytest.mark.parametrize("size", [(1, 1), (1, 900), (900, 1), (32, 32), (33, 31)])
def test_any_shape_is_squashed_to_the_square(size: tuple[int, int]) -> None:
    pixels = decode(encoded(Image.new("RGB", size, RED)), SIZE)
    assert pixels.shape == (SIZE, SIZE, 3)
    assert pixels.dtype == np.uint8
    assert (pixels == RED).all()


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty"),
        (b"hello, I am a text file", "not an image"),
        (encoded(halves(size=(300, 300)), "JPEG")[:-400], "cut off"),
        (encoded(Image.effect_noise((90, 90), 50))[:2000], "cut off"),
    ],
)
def test_what_cannot_be_decoded_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(ImageUnreadable, match=reason):
        decode(data, SIZE)


def test_a_decompression_bomb_is_refused_before_it_is_decoded_and_nothing_is_warned() -> None:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    pixels = chunk(b"IDAT", zlib.compress(b"\0" * 99))
    bomb = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + pixels + chunk(b"IEND", b"")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(ImageUnreadable, match="too large: more than 178 million pixels"):
            decode(bomb, SIZE)


def test_damaged_exif_does_not_make_sound_pixels_unreadable() -> None:
    data = encoded(halves(), "JPEG", exif=b"Exif\0\0MM\0*\0\0\0\x08\xff\xff\xff\xff")
    assert decode(data, SIZE).shape == (SIZE, SIZE, 3)


def test_pixels_do_not_depend_on_what_is_squashed_beside_them() -> None:
    random = np.random.default_rng(0)
    shapes = [(32, 32), (20, 50), (32, 32), (SIZE, SIZE), (700, 500), (32, 32), (20, 50), (700, 500)]
    images = [Image.fromarray(random.integers(0, 256, (*shape, 3), dtype=np.uint8)) for shape in shapes]
    files = [encoded(image) for image in images]
    together = ImageDataset(Listed(files), SIZE, np.arange(len(files))).__getitems__(range(len(files)))
    for item, data in zip(together, files, strict=True):
        np.testing.assert_array_equal(item.image, decode(data, SIZE))


def test_the_key_names_the_encoded_bytes() -> None:
    assert content_key(b"a") == content_key(b"a") != content_key(b"b")
    assert len(content_key(b"a")) == KEY_BYTES


def test_an_unreadable_image_is_never_replaced_by_another() -> None:
    good = encoded(halves())
    files = [good, b"broken", good, b"missing"]
    labels = np.array([3, 2, 1, 0], dtype=np.int32)
    dataset = ImageDataset(Listed(files), SIZE, np.array([3, 2, 1, 0]), labels)
    batch = collate([dataset[i] for i in range(len(dataset))])
    assert batch.rows.tolist() == [2, 0]
    assert batch.labels.tolist() == [1, 3]
    assert batch.images.shape == (2, SIZE, SIZE, 3)
    assert batch.seen.tolist() == [3, 2, 1, 0]
    assert set(batch.reasons) == {1, 3}
    assert batch.reasons[3] == "no such file"
    assert batch.keys[0].tolist() == [0] * KEY_BYTES
    assert batch.keys[1].tobytes() == content_key(good)


def test_known_images_are_hashed_but_not_decoded() -> None:
    files = [encoded(Image.new("RGB", (8, 8), (i, 0, 0))) for i in range(5)]
    known = np.sort(np.array([content_key(files[i]) for i in (0, 3)], dtype=f"S{KEY_BYTES}"))
    dataset = ImageDataset(Listed(files), SIZE, np.arange(5), known=known)
    batch = collate([dataset[i] for i in range(5)])
    assert batch.rows.tolist() == [1, 2, 4]
    assert batch.seen.tolist() == [0, 1, 2, 3, 4]
    assert not batch.reasons
