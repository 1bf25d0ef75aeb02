"""Every exit code of `labelfix gate`, with one clear sentence, and no output that only looks whole."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from labelfix.cli import run as labelfix
from labelfix.reference import SCHEMA

FAIL, USAGE, INPUT, INTERNAL, INCONCLUSIVE = 1, 2, 3, 4, 5


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture(scope="module")
def good(make):
    return make(400, 20, seed=21)


@pytest.fixture(scope="module")
def bad(make):
    return make(400, 100, seed=22)


def edited(batch, here: Path, edit) -> list[str]:
    """Return the arguments of a batch whose manifest's lines were edited."""
    lines = edit(batch.manifest.read_text(encoding="utf-8").splitlines())
    (here / "edited.csv").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    np.save(here / "edited.npy", np.load(batch.features)[: max(len(lines) - 1, 1)])
    return [str(here / "edited.csv"), "--features", str(here / "edited.npy")]


def damaged(path: Path, here: Path, damage) -> Path:
    (here / "damaged.safetensors").write_bytes(damage(path.read_bytes()))
    return here / "damaged.safetensors"


def schema_of_tomorrow(data: bytes) -> bytes:
    now = b'\\"reference\\": %d' % SCHEMA
    assert now in data
    return data.replace(now, b'\\"reference\\": 7', 1)


def half_of_zeros(data: bytes) -> bytes:
    half = len(data) // 2
    return data[:half] + bytes(len(data) - half)


def lacking(case, name: str) -> Path:
    """Return a copy of a run without one of its files."""
    (shutil.copytree(case.run, case.here / "lacking") / name).unlink()
    return case.here / "lacking"


def short(case) -> Path:
    """Return a copy of a run with the first rows of its findings only."""
    found = shutil.copytree(case.run, case.here / "short") / "findings.parquet"
    pq.write_table(pq.read_table(found).slice(0, 10), found)
    return found.parent


def policy(here: Path, text: str) -> list[str]:
    (here / "p.toml").write_text(text, encoding="utf-8")
    return ["--policy", str(here / "p.toml")]


def baseline(here: Path, text: str) -> list[str]:
    (here / "b.json").write_text(text, encoding="utf-8")
    return ["--baseline", str(here / "b.json")]


CASES = {
    "a good batch": (lambda c: [*c.good, "--reference", c.run], 0, ""),
    "the portable file": (lambda c: [*c.good, "--reference", c.file], 0, ""),
    "a bad batch": (lambda c: [*c.bad, "--reference", c.run], FAIL, ""),
    "a bad batch, to try it out": (lambda c: [*c.bad, "--reference", c.run, "--exit-zero"], 0, ""),
    "the reference itself": (lambda c: [*c.old, "--reference", c.run], FAIL, ""),
    "a finished scan": (lambda c: [c.run, *policy(c.here, "[limits]\nerror_rate = 0.3")], 0, ""),
    "a finished scan that is too bad": (lambda c: [c.run, *policy(c.here, "[limits]\nerror_rate = 0.001")], FAIL, ""),
    "a batch on its own": (lambda c: c.bad, FAIL, ""),
    "a small batch on its own": (
        lambda c: edited(c.batch, c.here, lambda lines: lines[:60]), INCONCLUSIVE, "min_rows_alone"),
    "a row": (
        lambda c: [*edited(c.batch, c.here, lambda lines: lines[:2]), "--reference", c.run], INCONCLUSIVE, ""),
    "few rows, to try it out": (
        lambda c: [*edited(c.batch, c.here, lambda lines: lines[:9]), "--reference", c.run, "--exit-zero"], 0, ""),
    "an empty batch": (
        lambda c: [*edited(c.batch, c.here, lambda lines: lines[:1]), "--reference", c.run], INPUT, "no rows"),
    "an empty file, to try it out": (
        lambda c: [*edited(c.batch, c.here, lambda _: []), "--reference", c.run, "--exit-zero"], INPUT, "empty"),
    "no row of a known class": (
        lambda c: [*edited(c.batch, c.here, lambda lines: [lines[0], "a,zebra"]), "--reference", c.run], FAIL, ""),
    "a small batch on its own, to try it out": (
        lambda c: [*edited(c.batch, c.here, lambda lines: lines[:60]), "--exit-zero"], 0, "min_rows_alone"),
    "one class on its own": (
        lambda c: edited(c.batch, c.here, lambda lines: [lines[0], *(f"{i},shirt" for i in range(300))]), INPUT,
        "nothing to tell apart"),
    "an output over the batch": (
        lambda c: [*c.good, "--reference", c.run, "--json", c.good[0]], USAGE, "read by this very command"),
    "an output over the reference": (
        lambda c: [*c.good, "--reference", c.run, "--json", c.run / "run.json"], USAGE, "belongs to the run"),
    "an output over the other's rows": (
        lambda c: [*c.good, "--reference", c.run, "--sarif", "s", "--json", "s.rows.jsonl"], USAGE, "same name"),
    "an output over a device": (lambda c: [*c.good, "--reference", c.run, "--json", "/dev/null"], USAGE, "is no file"),
    "a run without its manifest": (lambda c: [lacking(c, "manifest.parquet")], INPUT, "damaged"),
    "a run whose findings lack rows": (lambda c: [short(c)], INPUT, "damaged"),
    "no batch": (lambda c: ["nowhere.csv", "--reference", c.run], INPUT, "nowhere.csv"),
    "no reference": (lambda c: [*c.good, "--reference", "nowhere"], INPUT, "no such reference"),
    "a directory that is no run": (lambda c: [*c.good, "--reference", c.here], INPUT, "no labelfix run"),
    "a truncated reference": (
        lambda c: [*c.good, "--reference", damaged(c.file, c.here, lambda data: data[: len(data) // 2])], INPUT,
        "cannot be read"),
    "a reference full of zeros": (
        lambda c: [*c.good, "--reference", damaged(c.file, c.here, lambda data: bytes(len(data)))], INPUT,
        "cannot be read"),
    "a reference half of zeros": (
        lambda c: [*c.good, "--reference", damaged(c.file, c.here, half_of_zeros)], INPUT, "not what was written"),
    "a reference of another version": (
        lambda c: [*c.good, "--reference", damaged(c.file, c.here, schema_of_tomorrow)], INPUT, "another labelfix"),
    "a file of heads": (lambda c: [*c.good, "--reference", c.run / "heads.safetensors"], INPUT, "no reference"),
    "an unfinished run": (lambda c: [*c.good, "--reference", c.unfinished], INPUT, "did not finish"),
    "features of another width": (lambda c: [*c.narrow, "--reference", c.run], USAGE, "same model"),
    "no features": (lambda c: [c.good[0], "--reference", c.run], INPUT, "image"),
    "another backbone": (lambda c: [*c.good, "--reference", c.of_images], USAGE, "made without --features"),
    "a broken policy": (lambda c: [c.run, *policy(c.here, "[limits]\nerorr_rate = 1")], USAGE, "error_rate"),
    "no policy": (lambda c: [c.run, "--policy", "nowhere.toml"], USAGE, "nowhere.toml"),
    "a broken baseline": (lambda c: [c.run, *baseline(c.here, "{")], USAGE, "is no JSON"),
    "no baseline": (lambda c: [c.run, "--baseline", "nowhere.json"], USAGE, "--update-baseline"),
    "an update of nothing": (lambda c: [c.run, "--update-baseline"], USAGE, "--baseline"),
    "a run and a reference": (lambda c: [c.run, "--reference", c.run], USAGE, "judged by itself"),
    "an option that is not there": (lambda c: [c.run, "--refrence", "x"], USAGE, ""),
    "a directory that is not there": (lambda c: [c.run, "--junit", "nowhere/x.xml"], USAGE, "does not exist"),
    "one name for two outputs": (lambda c: [c.run, "--junit", "x", "--sarif", "x"], USAGE, "same name"),
    "a summary without GitHub": (lambda c: [c.run, "--github-summary"], USAGE, "GITHUB_STEP_SUMMARY"),
    "a place that cannot be written": (lambda c: [c.run, "--junit", "/proc/x.xml"], INTERNAL, "cannot be written"),
    "a column that is not there": (
        lambda c: [*c.good, "--reference", c.run, *policy(c.here, '[gate]\ncolumns = ["camra"]')], INPUT, "camra"),
}  # fmt: skip


class Setup:
    """What the cases are made of."""


@pytest.fixture
def case(here, good, bad, last_month, run, reference, make, monkeypatch) -> Setup:
    monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
    found = Setup()
    found.here, found.run, found.file, found.batch = here, run, reference, good
    found.good, found.bad, found.old = good.options, bad.options, last_month.options
    np.save(here / "narrow.npy", np.load(good.features)[:, :20])
    found.narrow = [str(good.manifest), "--features", str(here / "narrow.npy")]
    found.unfinished = shutil.copytree(run, here / "unfinished")
    record = json.loads((run / "run.json").read_text(encoding="utf-8"))
    (found.unfinished / "run.json").write_text(json.dumps(record | {"finished": False}), encoding="utf-8")
    found.of_images = shutil.copytree(run, here / "of_images")
    (found.of_images / "run.json").write_text(json.dumps(record | {"features": None}), encoding="utf-8")
    return found


@pytest.mark.parametrize("name", CASES)
def test_the_exit_code_is_right_and_the_reason_is_one_sentence(name, case, capsys):
    arguments, code, says = CASES[name]
    assert labelfix(["gate", "-q", *map(str, arguments(case))]) == code
    said = capsys.readouterr()
    assert says in said.err
    assert "Traceback" not in said.err + said.out
    if says:
        assert len(said.err.strip().splitlines()) == 1
    assert not list(case.here.glob(".*.tmp"))


def test_a_crash_is_no_verdict(case, monkeypatch, capsys):
    from labelfix import meeting

    def crash(*_: object) -> None:
        raise RuntimeError("planted")

    monkeypatch.setattr(meeting, "evidence_of", crash)
    options = [*case.good, "--reference", str(case.run), "--exit-zero", "--junit", "gate.xml"]
    assert labelfix(["gate", *options]) == INTERNAL
    assert "internal error" in capsys.readouterr().err

    def exhausted(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(meeting, "evidence_of", exhausted)
    assert labelfix(["gate", *options]) == INTERNAL
    assert "out of memory" in capsys.readouterr().err
    assert not (case.here / "gate.xml").exists()


PAUSE = """
import time
from labelfix import meeting
meeting.evidence_of = lambda *_: (print("in", flush=True), time.sleep(60))
"""


@pytest.mark.parametrize(("how", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_a_signal_is_no_verdict_and_leaves_no_output(case, start, how, code):
    outputs = [case.here / name for name in ("g.xml", "g.sarif", "g.json", "f.parquet")]
    written = zip(("--junit", "--sarif", "--json", "--findings"), outputs, strict=True)
    options = [word for pair in written for word in pair]
    process = start("gate", *case.good, "--reference", case.run, *options, before=PAUSE)
    try:
        assert process.stdout.readline().strip() == "in"
        process.send_signal(how)
        process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == code
    assert not [path for path in outputs if path.exists()]


def test_all_outputs_are_written_in_one_run(case, monkeypatch, capsys):
    summary = case.here / "summary.md"
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
    summary.write_text("before\n", encoding="utf-8")
    names = {"--json": "a.json", "--markdown": "a.md", "--junit": "a.xml", "--sarif": "a.sarif", "--html": "a.html",
             "--findings": "a.parquet"}  # fmt: skip
    options = [word for pair in names.items() for word in pair]
    assert (
        labelfix(
            [
                "gate",
                *case.bad,
                "--reference",
                str(case.run),
                *options,
                "--github-summary",
                "--format",
                "github",
            ]
        )
        == 1
    )
    assert all((case.here / name).stat().st_size for name in names.values())
    assert "::error " in capsys.readouterr().out
    assert summary.read_text(encoding="utf-8").startswith("before\n#")
    assert json.loads((case.here / "a.json").read_text(encoding="utf-8"))["exit_code"] == 1


def test_the_policy_of_the_working_directory_is_read(case):
    (case.here / "labelfix.toml").write_text("[limits]\nerror_rate = 0.001\n", encoding="utf-8")
    assert labelfix(["gate", "-q", str(case.run)]) == FAIL
    (case.here / "labelfix.toml").write_text("[limits]\nerror_rate = 0.4\n", encoding="utf-8")
    assert labelfix(["gate", "-q", str(case.run)]) == 0


def test_a_finished_scan_and_a_broken_policy_are_answered_without_heavy_imports(case):
    heavy = ("torch", "timm", "cleanlab", "sklearn", "faiss", "scipy", "PIL", "pandas")
    for arguments in ([str(case.run)], [str(case.run), *policy(case.here, "[limits]\nx = 1")]):
        code = f"import sys; from labelfix.cli import run; run(['gate', *{arguments!r}])"
        code += f"; print('loaded', sorted(set(sys.modules) & {set(heavy)!r}))"
        began = time.monotonic()
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        assert done.stdout.splitlines()[-1] == "loaded []"
        assert time.monotonic() - began < 60
