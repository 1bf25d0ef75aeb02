"""Two months of points in clouds: last month's are scanned, this month's are the batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

import labelfix
from labelfix.gatekeeping import Setting

CLASSES, WIDTH = 4, 24


@dataclass(frozen=True)
class Batch:
    """A manifest, its embeddings and the truth."""

    manifest: Path
    features: Path
    truth: NDArray[np.int64]
    given: NDArray[np.int64]

    @property
    def setting(self) -> Setting:
        from labelfix.readers.interface import Columns

        return Setting(Columns(with_images=False), features=str(self.features))

    @property
    def options(self) -> list[str]:
        return [str(self.manifest), "--features", str(self.features)]


Make = Callable[..., Batch]


@pytest.fixture(scope="session")
def make(tmp_path_factory: pytest.TempPathFactory) -> Make:
    """Write a batch of rows of which so many are wrong; `seed` says which points, so that equal seeds are copies."""
    centres = 1.1 * np.random.default_rng(99).normal(size=(CLASSES, WIDTH))

    def write(rows: int, wrong: int, seed: int, prefix: str = "r", **columns: list[str]) -> Batch:
        here = tmp_path_factory.mktemp("batch")
        rng = np.random.default_rng(seed)
        truth = np.arange(rows) % CLASSES
        features = (centres[truth] + rng.normal(size=(rows, WIDTH))).astype(np.float32)
        at = rng.choice(rows, wrong, replace=False)
        given = truth.copy()
        given[at] = (truth[at] + rng.integers(1, CLASSES, wrong)) % CLASSES
        np.save(here / "x.npy", features)
        names = ["id", "label", *columns]
        values = [[f"{prefix}{i}" for i in range(rows)], [f"c{k}" for k in given], *columns.values()]
        lines = [",".join(names), *map(",".join, zip(*values, strict=True))]
        (here / "m.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return Batch(here / "m.csv", here / "x.npy", truth, given)

    return write


@pytest.fixture(scope="session")
def last_month(make: Make) -> Batch:
    """1,200 rows, a twentieth of them wrong."""
    return make(1200, 60, seed=1, prefix="old")


@pytest.fixture(scope="session")
def run(last_month: Batch, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scan of last month."""
    out = tmp_path_factory.mktemp("gate") / "run"
    manifest = labelfix.read(last_month.manifest, with_images=False)
    labelfix.scan(manifest, out=out, features=str(last_month.features))
    return out


@pytest.fixture(scope="session")
def reference(run: Path) -> Path:
    """The same as one portable file."""
    from labelfix.exporters.reference import ReferenceExporter

    (path,) = ReferenceExporter().export(run, run.parent / "reference.safetensors")
    return path
