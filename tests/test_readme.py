"""What the README shows is what happens."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def python_run(tmp_path_factory: pytest.TempPathFactory, cache: Path) -> Path:
    """Run the README's Python in a directory that has the examples, as after a checkout."""
    (code,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    here = tmp_path_factory.mktemp("readme")
    (here / "examples").symlink_to(ROOT / "examples")
    (here / "labelfix").symlink_to(cache)
    environment = {**os.environ, "XDG_CACHE_HOME": str(here)}
    code += "assert len(findings) == 600 and findings.soft_labels().shape == (600, 10)"
    subprocess.run([sys.executable, "-I", "-c", code], cwd=here, env=environment, check=True)
    return here / "run-from-python"


def frame(text: str) -> list[str]:
    """Return the lines that any run prints: headings and what they count, without the numbers."""
    lines = (line.rstrip() for line in text.splitlines() if line and line[0] != " ")
    return [re.sub(r"\d[\d,.]*", "N", line) for line in lines if not line.endswith(".")]


def test_the_python_in_the_readme_runs(python_run: Path) -> None:
    assert {"findings.parquet", "run.json", "manifest.parquet", "trajectories.parquet"} <= {
        path.name for path in python_run.iterdir()
    }


def test_the_output_in_the_readme_looks_like_the_real_one(python_run: Path) -> None:
    (shown,) = re.findall(r"BEGIN scan output -->\n```text\n(.*?)```", README, re.DOTALL)
    python_run.with_name("run").symlink_to(python_run)
    printed = subprocess.run(
        [sys.executable, "-c", "from labelfix.cli import main; main()", "report", "run"],
        cwd=python_run.parent,
        env={**os.environ, "COLUMNS": "80", "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        check=True,
    ).stdout
    assert frame(shown) == frame(printed)
    assert all(len(line) <= 80 for line in shown.splitlines())


def test_what_lies_in_a_run_directory_is_named(python_run: Path) -> None:
    for path in python_run.iterdir():
        assert path.name in README
