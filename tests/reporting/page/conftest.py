"""Pages of findings made by hand, taken apart again; and names that would do harm if they could."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from labelfix.reporting.page.writing import Written, write_page

HOSTILE = [
    "<script>window.hit = 1</script>",
    "</script><img src=x onerror='window.hit = 1'>",
    "\"'><b onmouseover=window.hit=1>",
    "A" * 300,
    "\u202egnp.reverse",
    '=HYPERLINK("http://x")',
    "+1+cmd|' /C calc'!A0",
    "'=1+1",
    "\t=1+1",
    "👩‍👩‍👧 family",
    "new\nline",
    "שלום עולם",
    "{{ 7 * 7 }}{% raw %}",
    "a\u2028b\u2029c",
]


class Noise:
    """An image a row; every seventh cannot be decoded."""

    def __init__(self, count: int, size: tuple[int, int] = (60, 40)) -> None:
        self.count, self.size = count, size

    def __len__(self) -> int:
        return self.count

    def name(self, index: int) -> str:
        return f"{index}.png"

    def read(self, index: int) -> bytes:
        if index % 7 == 6:
            return b"no image"
        rng = np.random.default_rng(index)
        made = BytesIO()
        pixels = rng.integers(0, 256, (self.size[1], self.size[0], 3), dtype=np.uint8)
        Image.fromarray(pixels).save(made, "png")
        return made.getvalue()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.said: list[str] = []
        self.inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self.inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:  # noqa: ARG002 (the signature is HTMLParser's)
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside == "script":
            self.scripts[-1] += data
        elif self.inside != "style":
            self.said.append(data)


@dataclass(frozen=True)
class Page:
    """A page as a browser without scripts sees it."""

    html: str
    written: Written
    tags: list[tuple[str, dict[str, str | None]]] = field(default_factory=list)
    scripts: list[str] = field(default_factory=list)
    text: str = ""

    @property
    def data(self) -> dict[str, Any]:
        return json.loads(self.scripts[0])

    def named(self, tag: str, **wanted: str) -> list[dict[str, str | None]]:
        return [a for name, a in self.tags if name == tag and wanted.items() <= a.items()]


def taken_apart(html: str, written: Written) -> Page:
    reader = _Reader()
    reader.feed(html)
    return Page(html, written, reader.tags, reader.scripts, " ".join(" ".join(reader.said).split()))


@pytest.fixture
def paged(tmp_path: Path) -> Callable[..., Page]:
    """Write the page of findings and take it apart."""

    def write(findings: Any, images: Any = None, record: dict[str, Any] | None = None, **more: Any) -> Page:
        path = tmp_path / "page.html"
        written = write_page(path, findings, record or {}, more.pop("run", None), images, **more)
        return taken_apart(path.read_text(encoding="utf-8"), written)

    return write


@pytest.fixture(scope="session")
def hostile() -> list[str]:
    return HOSTILE


@pytest.fixture(scope="session")
def noise() -> type[Noise]:
    return Noise
