"""Light modules stay light: importing one imports neither torch nor timm nor cleanlab."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

import labelfix

HEAVY = ("torch", "timm", "cleanlab", "sklearn", "faiss", "torchvision")
LIGHT = (
    "manifest",
    "trajectories",
    "evidence",
    "findings",
    "rundir",
    "plugins",
    "errors",
    "progress",
    "cli",
    "exporting",
    "applying",
    "origin",
)


def modules() -> list[str]:
    names = [info.name for info in pkgutil.walk_packages(labelfix.__path__, "labelfix.")]
    packages = tuple(
        f"labelfix.{name}"
        for name in ("readers", "reporting", "gating", "exporters", "reference", "merging", "rewriting")
    )
    return [
        "labelfix",
        *(f"labelfix.{name}" for name in LIGHT),
        *(n for n in names if n.startswith(packages)),
    ]


def heavy_after(code: str) -> str:
    code = f"import sys; {code}; print(*sorted(set(sys.modules) & {set(HEAVY)}))"
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_all_light_modules_together_import_nothing_heavy():
    assert len(modules()) > 20
    assert heavy_after(f"import {', '.join(modules())}") == ""


@pytest.mark.parametrize("name", ["manifest", "trajectories", "evidence", "findings", "rundir", "plugins"])
def test_each_light_layer_can_be_imported_alone(name):
    assert heavy_after(f"import labelfix.{name}") == ""


@pytest.mark.parametrize("name", ["labelfix.pipeline", "labelfix.correctors.tmlc"])
def test_the_check_would_notice(name):
    assert "torch" in heavy_after(f"import {name}; import torch")


def test_reading_and_listing_plugins_need_nothing_heavy(plant):
    manifest = str(plant().path / "m.csv")
    assert heavy_after(f"import labelfix; labelfix.read({manifest!r}, with_images=False)") == ""
    assert heavy_after("from labelfix.plugins import names; names('correctors')") == ""


def test_an_unknown_public_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="has no attribute 'sacn'"):
        labelfix.sacn  # noqa: B018 (the access is the test)


def test_every_public_name_is_there():
    for name in labelfix.__all__:
        assert getattr(labelfix, name) is not None
    assert dir(labelfix) == labelfix.__all__
