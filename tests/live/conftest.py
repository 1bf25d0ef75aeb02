"""A run of the example's 600 photographs, made once."""

from __future__ import annotations

from pathlib import Path

import pytest

import labelfix

CLOTHING = Path(__file__).parents[2] / "examples" / "clothing"


@pytest.fixture(scope="session")
def clothing_run(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    run = tmp_path_factory.mktemp("live") / "run"
    labelfix.scan(CLOTHING / "manifest.csv", out=run, cache=cache, correctors=["tmlc"])
    return run


@pytest.fixture(scope="session")
def truth() -> dict[str, str]:
    lines = (CLOTHING / "truth.csv").read_text(encoding="utf-8").splitlines()[1:]
    return {line.split(",")[0]: line.split(",")[1] for line in lines}
