"""A scan killed at any moment and resumed ends with the same bytes as one that was left alone."""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
from pathlib import Path

import pytest

from labelfix.cli import run

CLOTHING = Path(__file__).parent.parent / "examples" / "clothing"
ROWS = 150
WRITES = [
    "run.json",
    "manifest",
    "about.json",
    "safetensors",
    "neighbours",
    "heads",
    "kernel",
    "cleanlab",
    "tmlc",
]
WRITES += ["trajectories", "findings", "run.json", "report", "run.json"]
"""What a scan of images writes, in order but for the two states."""

KILL_AT_WRITE = """
import os, signal, sys
left = {number}
def hook(event, arguments):
    global left
    if event == "os.rename":
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
"""
"""Kills the process when its n-th file is whole under a temporary name, but not yet under its own."""


@pytest.fixture(scope="module")
def manifest(tmp_path_factory) -> Path:
    lines = (CLOTHING / "manifest.csv").read_text(encoding="utf-8").splitlines()[: ROWS + 1]
    path = tmp_path_factory.mktemp("data") / "manifest.csv"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def command(manifest: Path, out: Path, cache: Path) -> list[str]:
    return ["scan", str(manifest), "--images", str(CLOTHING), "-q", "-o", str(out), "--cache", str(cache)]


def results(out: Path) -> dict[str, bytes]:
    """Return everything a run leaves, but what says when and how long it ran, and headers of safetensors."""
    found = {}
    for path in sorted(out.rglob("*")):
        if path.is_file() and path.name not in {"run.json", "report.html"}:
            data = path.read_bytes()
            start = 8 + int.from_bytes(data[:8], "little") if path.suffix == ".safetensors" else 0
            found[str(path.relative_to(out))] = data[start:]
    return found


@pytest.fixture(scope="module")
def uninterrupted(manifest, tmp_path_factory) -> dict[str, bytes]:
    directory = tmp_path_factory.mktemp("uninterrupted")
    assert run(command(manifest, directory / "run", directory / "cache")) == 0
    return results(directory / "run")


def test_two_fresh_runs_are_byte_identical(manifest, uninterrupted, tmp_path):
    assert run(command(manifest, tmp_path / "run", tmp_path / "cache")) == 0
    assert results(tmp_path / "run") == uninterrupted


def resumed(manifest: Path, tmp_path: Path) -> dict[str, bytes]:
    out = tmp_path / "run"
    assert run([*command(manifest, out, tmp_path / "cache"), "--resume"]) == 0
    assert not list(out.rglob("*.tmp"))
    return results(out)


def killed_at_write(
    number: int, manifest: Path, uninterrupted: dict[str, bytes], tmp_path: Path, start
) -> None:
    process = start(
        *command(manifest, tmp_path / "run", tmp_path / "cache"), before=KILL_AT_WRITE.format(number=number)
    )
    _, said = process.communicate(timeout=120)
    assert process.returncode == -signal.SIGKILL, said
    if number <= WRITES.index("findings") + 1:
        assert not (tmp_path / "run" / "findings.parquet").exists()
    assert resumed(manifest, tmp_path) == uninterrupted
    assert (tmp_path / "run" / "report.html").exists()


@pytest.mark.parametrize("what", ["safetensors", "findings", "report"])
def test_a_kill_while_features_findings_or_the_report_are_written_costs_no_byte(
    what, manifest, uninterrupted, tmp_path, start
):
    killed_at_write(WRITES.index(what) + 1, manifest, uninterrupted, tmp_path, start)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(1, len(WRITES) + 1))
def test_a_kill_at_any_write_costs_no_byte(number, manifest, uninterrupted, tmp_path, start):
    killed_at_write(number, manifest, uninterrupted, tmp_path, start)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_a_kill_at_a_random_moment_costs_no_byte(seed, manifest, uninterrupted, tmp_path, start):
    out = tmp_path / "run"
    process = start(*command(manifest, out, tmp_path / "cache"))
    while not (out / "run.json").exists() and process.poll() is None:
        time.sleep(0.005)
    time.sleep(random.Random(seed).uniform(0, 3))
    process.kill()
    process.wait()
    assert resumed(manifest, tmp_path) == uninterrupted


def test_resuming_a_finished_run_changes_nothing_and_reads_no_image(manifest, uninterrupted, tmp_path):
    arguments = command(manifest, tmp_path / "run", tmp_path / "cache")
    assert run(arguments) == 0
    record = (tmp_path / "run" / "run.json").read_bytes()
    shutil.rmtree(tmp_path / "cache")
    assert run([*arguments, "--resume"]) == 0
    assert (tmp_path / "run" / "run.json").read_bytes() == record
    assert results(tmp_path / "run") == uninterrupted
    assert not (tmp_path / "cache").exists()


def test_resume_without_a_run_begins_one(plant):
    data = plant()
    assert run([*data.command, "-o", str(data.path / "run"), "--resume"]) == 0
    assert (data.path / "run" / "findings.parquet").exists()


def test_heads_of_other_features_are_not_taken_over(plant):
    """An image replaced between a kill and the resumption: what was trained on the old one is of no use."""
    data = plant()
    out = data.path / "run"
    assert run([*data.command, "-o", str(out)]) == 0
    other = plant(seed=1)
    assert run([*other.command, "-o", str(data.path / "other")]) == 0
    unfinished = data.path / "unfinished"
    unfinished.mkdir()
    record = (data.path / "other" / "run.json").read_text(encoding="utf-8")
    (unfinished / "run.json").write_text(record.replace('"finished": true', '"finished": false'))
    for name in ("heads", "neighbours"):
        shutil.copy(out / f"{name}.safetensors", unfinished)
    (unfinished / "state").mkdir()
    assert run([*other.command, "-o", str(unfinished), "--resume"]) == 0
    assert results(unfinished) == results(data.path / "other")


def test_what_another_backbone_saw_is_not_mixed_with_what_this_one_sees(manifest, cache, tmp_path):
    """The checkpoint behind a name is replaced while a scan is interrupted: heads are trained again."""
    import timm
    import torch

    def checkpoint(seed: int) -> None:
        torch.manual_seed(seed)
        torch.save(timm.create_model("resnet10t", num_classes=0).state_dict(), tmp_path / "w.pth")

    def scan(out: str, *more: str) -> int:
        return run(
            [
                *command(manifest, tmp_path / out, cache),
                "--backbone",
                f"resnet10t@{tmp_path / 'w.pth'}",
                *more,
            ]
        )

    checkpoint(0)
    assert scan("other") == 0
    record = json.loads((tmp_path / "other" / "run.json").read_text())
    record["finished"] = False  # as if it had been stopped after all had been learnt
    (tmp_path / "other" / "run.json").write_text(json.dumps(record))
    checkpoint(1)
    assert scan("fresh") == 0
    assert scan("other", "--resume") == 0
    for name in ("heads.safetensors", "kernel.safetensors", "neighbours.safetensors", "findings.parquet"):
        assert (tmp_path / "other" / name).read_bytes() == (tmp_path / "fresh" / name).read_bytes()
