"""The building stays readable: small files, said what they are for, and pure interfaces."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MODULES = sorted((ROOT / "labelfix").rglob("*.py"))
NAMES = [str(path.relative_to(ROOT)) for path in MODULES]


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_every_module_says_what_it_is_for(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_no_file_is_too_long_to_hold_in_the_head(path: Path) -> None:
    limit = 60 if path.name == "interface.py" else 350
    assert len(path.read_text(encoding="utf-8").splitlines()) <= limit


@pytest.mark.parametrize(
    "path", [p for p in MODULES if p.name == "interface.py"], ids=lambda path: path.parent.name
)
def test_an_interface_holds_types_and_no_work(path: Path) -> None:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert not [node.name for node in tree.body if isinstance(node, ast.FunctionDef)]


@pytest.mark.parametrize("path", MODULES, ids=NAMES)
def test_no_drawer_for_odds_and_ends(path: Path) -> None:
    assert path.stem not in {"utils", "util", "common", "helpers", "misc"}


def test_no_module_is_named_like_a_public_function() -> None:
    import labelfix

    submodules = {path.stem for path in (ROOT / "labelfix").iterdir()}
    assert not submodules & set(labelfix.__all__)


def test_the_checks_run_the_readmes_own_test_command() -> None:
    readme, checks = ((ROOT / name).read_text(encoding="utf-8") for name in ("README.md", ".ci/run"))
    (pattern,) = re.findall(r"grep -m 1 '(.*)' README\.md", checks)
    assert re.findall(pattern, readme, re.MULTILINE) == ["&& pytest"]
