"""Small data with planted errors whose truth is known, and one cache of features for the whole test run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # Run in the background of a script, where interrupts are ignored, and by every child; here they are tested.
    signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).parent.parent
CLOTHING = ROOT / "examples" / "clothing"


@dataclass(frozen=True)
class Planted:
    """A manifest `m.csv` and features `x.npy` in a directory; the first rows are labelled wrongly."""

    path: Path
    features: NDArray[np.float32]
    truth: NDArray[np.int64]
    given: NDArray[np.int64]

    @property
    def wrong(self) -> NDArray[np.bool_]:
        return self.truth != self.given

    @property
    def command(self) -> list[str]:
        return ["scan", str(self.path / "m.csv"), "--features", str(self.path / "x.npy"), "-q"]


@pytest.fixture
def plant(tmp_path: Path) -> Callable[..., Planted]:
    """Write classes as clouds of points, with wrong labels in the first rows."""

    def write(rows: int = 60, classes: int = 3, wrong: int = 3, width: int = 16, seed: int = 0) -> Planted:
        rng = np.random.default_rng(seed)
        truth = np.arange(rows) % classes
        features = 3 * rng.normal(size=(classes, width))[truth] + rng.normal(size=(rows, width))
        given = np.where(np.arange(rows) < wrong, (truth + 1) % classes, truth)
        np.save(tmp_path / "x.npy", features.astype(np.float32))
        lines = "".join(f"r{i},c{k}\n" for i, k in enumerate(given))
        (tmp_path / "m.csv").write_text("id,label\n" + lines, encoding="utf-8")
        return Planted(tmp_path, features.astype(np.float32), truth, given)

    return write


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Features of the example images are extracted once."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def start() -> Callable[..., subprocess.Popen[str]]:
    """Start the command line in a process of its own, optionally after some Python of the test's."""

    def begin(*arguments: str | Path, before: str = "", **environment: str) -> subprocess.Popen[str]:
        code = f"{before}\nfrom labelfix.cli import main; main()"
        return subprocess.Popen(
            [sys.executable, "-c", code, *map(str, arguments)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={**os.environ, **environment},
            cwd=ROOT,
        )

    return begin
