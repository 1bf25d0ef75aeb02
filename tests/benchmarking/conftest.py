"""The example photographs with both labels in one table, and thumbnails of them as features."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

CLOTHING = Path(__file__).parents[2] / "examples" / "clothing"


@dataclass(frozen=True)
class Joined:
    """A directory with `photos.csv` (file_name, label, label_true) and `x.npy` [600, 300]."""

    path: Path
    given: np.ndarray
    truth: np.ndarray

    @property
    def manifest(self) -> str:
        return str(self.path / "photos.csv")

    @property
    def features(self) -> str:
        return str(self.path / "x.npy")

    def write(self, given: np.ndarray, truth: np.ndarray) -> str:
        """Write the table with other labels."""
        names = [f"images/{row:04}.jpg" for row in range(len(given))]
        lines = [f"{name},{one},{other}\n" for name, one, other in zip(names, given, truth, strict=True)]
        (self.path / "photos.csv").write_text("file_name,label,label_true\n" + "".join(lines), "utf-8")
        return self.manifest


@pytest.fixture(scope="session")
def thumbnails(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """[600, 300] pixels of the photographs at 10 × 10, standardised."""
    pixels = []
    for path in sorted((CLOTHING / "images").iterdir()):
        with Image.open(path) as image:
            pixels.append(np.asarray(image.resize((10, 10), Image.Resampling.BOX), np.float32).ravel())
    x = np.stack(pixels)
    out = tmp_path_factory.mktemp("thumbnails") / "x.npy"
    np.save(out, (x - x.mean(axis=0)) / x.std(axis=0))
    return out


@pytest.fixture
def joined(tmp_path: Path, thumbnails: Path) -> Joined:
    (tmp_path / "x.npy").symlink_to(thumbnails)

    def column(name: str, wanted: str) -> np.ndarray:
        with (CLOTHING / name).open(newline="", encoding="utf-8") as file:
            return np.array([row[wanted] for row in csv.DictReader(file)], object)

    found = Joined(tmp_path, column("manifest.csv", "label"), column("truth.csv", "label_true"))
    found.write(found.given, found.truth)
    return found
