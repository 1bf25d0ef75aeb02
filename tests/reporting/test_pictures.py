"""Pictures are small, whatever the image; what cannot be read says why."""

from __future__ import annotations

import base64
import warnings
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from labelfix.errors import ImageUnreadable
from labelfix.reporting.pictures import draw, encode


def png(pixels: np.ndarray, **options: Any) -> bytes:
    made = BytesIO()
    Image.fromarray(pixels).save(made, "png", **options)
    return made.getvalue()


def noise(width: int, height: int) -> bytes:
    return png(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def opened(uri: str) -> Image.Image:
    return Image.open(BytesIO(base64.b64decode(uri.partition(",")[2])))


class Held:
    """Images in memory."""

    def __init__(self, *data: bytes) -> None:
        self.data = data
        self.asked: list[int] = []

    def __len__(self) -> int:
        return len(self.data)

    def read(self, index: int) -> bytes:
        self.asked.append(index)
        if not self.data[index]:
            raise ImageUnreadable("file not found")
        return self.data[index]

    def name(self, index: int) -> str:
        return str(index)


@pytest.mark.parametrize(("width", "height", "most"), [(800, 600, 8000), (500, 500, 1500), (2000, 2000, 900)])
def test_even_noise_fits_into_the_bytes_allowed(width, height, most):
    picture = encode(noise(width, height), 224, most)
    assert len(base64.b64decode(picture.uri.partition(",")[2])) <= most
    assert abs(picture.width / picture.height - width / height) < 0.05


@pytest.mark.parametrize("shape", [(1, 2000), (2000, 1)])
def test_a_line_of_pixels_stays_a_line(shape):
    picture = encode(noise(*shape), 224, 8000)
    assert sorted((picture.width, picture.height)) == [1, 224]
    assert opened(picture.uri).size == (picture.width, picture.height)


def test_a_small_image_is_not_enlarged():
    assert opened(encode(noise(32, 20), 224, 8000).uri).size == (32, 20)


def test_a_picture_shows_what_the_image_shows_and_carries_no_metadata():
    pixels = np.zeros((300, 300, 3), np.uint8)
    pixels[:, 150:] = (255, 0, 0)
    exif = Image.Exif()
    exif[0x010E] = "taken at home"
    picture = opened(encode(png(pixels, exif=exif), 224, 8000).uri)
    seen = np.asarray(picture.convert("RGB")).astype(int)
    assert seen[100, 10].max() < 40
    assert seen[100, -10, 0] > 200
    assert not picture.getexif()


def jpeg(pixels: np.ndarray, **options: Any) -> bytes:
    made = BytesIO()
    Image.fromarray(pixels).save(made, "jpeg", **options)
    return made.getvalue()


SMALL = np.random.default_rng(0).integers(0, 256, (24, 24, 3), dtype=np.uint8)


@pytest.mark.parametrize("data", [png(SMALL), jpeg(SMALL), png(SMALL[:, :, 0])])
def test_a_small_image_of_pixels_alone_is_shown_unchanged(data):
    picture = encode(data, 64, 4000)
    assert base64.b64decode(picture.uri.partition(",")[2]) == data
    assert (picture.width, picture.height) == (24, 24)


def signed() -> PngInfo:
    info = PngInfo()
    info.add_text("Author", "someone")
    return info


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[0x0112] = 6
    return exif


@pytest.mark.parametrize(
    "data",
    [
        jpeg(SMALL, exif=turned()),
        jpeg(SMALL, comment="from the ward"),
        jpeg(SMALL)[:2] + b"\xff\xe5\x00\x08secret" + jpeg(SMALL)[2:],
        png(SMALL, pnginfo=signed()),
        jpeg(SMALL) + b"secret",
        png(np.full((24, 24, 4), 128, np.uint8)),
    ],
    ids=["exif", "comment", "segment", "text", "behind", "transparent"],
)
def test_a_small_image_of_more_than_pixels_is_drawn_anew(data):
    shown = base64.b64decode(encode(data, 64, 4000).uri.partition(",")[2])
    assert shown != data
    for private in (b"Exif", b"ward", b"secret", b"someone"):
        assert private not in shown


def test_a_small_image_that_is_cut_off_says_so():
    with pytest.raises(ImageUnreadable, match="cut off"):
        encode(jpeg(SMALL)[:-200], 64, 4000)


def test_drawing_leaves_the_filters_of_warnings_as_they_were():
    before = list(warnings.filters)
    draw(Held(*[noise(60, 60)] * 40), range(40), 64, 2000)
    assert warnings.filters == before


def test_each_row_has_a_picture_or_a_reason_and_is_read_once_in_order():
    images = Held(noise(40, 40), b"", b"no image at all", noise(50, 50))
    drawn = draw(images, [3, 0, 2, 1, 3], 64, 2000)
    assert sorted(drawn) == [0, 1, 2, 3]
    assert drawn[0].uri.startswith("data:image/jpeg;base64,")
    assert drawn[1].missing == "file not found"
    assert "not an image" in drawn[2].missing
    assert drawn[1].uri == drawn[2].uri == ""
    assert sorted(images.asked) == [0, 1, 2, 3]
