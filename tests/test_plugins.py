"""Built-ins and plugins come in through the same door, and a broken one is named."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from labelfix import plugins
from labelfix.cli import run
from labelfix.errors import UsageError


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Put a package with an entry point on the path, as pip would."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def add(package: str, name: str, value: str, code: str = "") -> None:
        info = tmp_path / f"{package.replace('-', '_')}-1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
        (info / "entry_points.txt").write_text(f"[labelfix.correctors]\n{name} = {value}\n")
        module = value.partition(":")[0]
        Path(tmp_path, f"{module}.py").write_text(code)
        monkeypatch.delitem(sys.modules, module, raising=False)

    return add


ALPHABETICAL = """
import numpy as np
from labelfix.correctors.interface import Needs
from labelfix.findings import Correction, State

class Alphabetical:
    needs = Needs(required=frozenset({"trajectories"}))
    def fit(self, evidence):
        return State("alphabetical", evidence.fitted_on, {})
    def score(self, state, rows):
        n, C = rows.candidates.shape
        p = np.full((n, C), 1 / C, np.float32)
        return Correction("alphabetical", rows.labels.astype(np.float32), rows.candidates, p)
"""


def test_a_corrector_of_another_package_scans_like_ours(install, plant):
    from labelfix.findings import Findings

    install("labelfix-alphabetical", "alphabetical", "alphabetical_plugin:Alphabetical", ALPHABETICAL)
    data = plant()
    out = data.path / "run"
    assert run([*data.command, "-o", str(out), "-c", "tmlc", "-c", "alphabetical"]) == 0
    found = Findings.read(out)
    assert found.column("alphabetical.score").tolist() == data.given.tolist()
    assert found.correctors == ("tmlc", "alphabetical")


def test_two_packages_that_claim_one_name_are_both_named(install):
    install("other-tools", "tmlc", "other_tools:Mine")
    with pytest.raises(UsageError, match=r"two packages provide the corrector 'tmlc': .*other-tools"):
        plugins.names("correctors")


def test_a_plugin_that_fails_to_load_is_named_with_its_reason(install, plant, capsys):
    install("labelfix-broken", "broken", "broken_plugin:Broken", "raise ImportError('no GPU library')")
    data = plant()
    assert run([*data.command, "-o", str(data.path / "run"), "-c", "broken"]) == 2
    said = capsys.readouterr().err
    assert "the corrector 'broken' of package labelfix-broken fails to load: no GPU library" in said
    assert not (data.path / "run").exists()


def test_a_broken_plugin_does_not_disturb_who_does_not_use_it(install, plant):
    install("labelfix-broken", "broken", "broken_plugin:Broken", "raise ImportError('no GPU library')")
    data = plant()
    assert run([*data.command, "-o", str(data.path / "run")]) == 0


def test_an_unknown_name_lists_what_is_installed_and_the_nearest():
    with pytest.raises(
        UsageError, match=r"unknown corrector 'clenlab'; did you mean 'cleanlab'\? known: aum, "
    ):
        plugins.load("correctors", "clenlab")
