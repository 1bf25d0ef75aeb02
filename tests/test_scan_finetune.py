"""`labelfix scan --mode finetune`: errors are found, kills and company cost nothing, bad input is one sentence."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
import pytest
import timm
from PIL import Image
from safetensors.torch import save_file
from sklearn.metrics import average_precision_score
from test_resume import results

from labelfix.cli import run
from labelfix.findings import Findings

ROOT = Path(__file__).parent.parent
CORRECTORS = ["-c", "aum", "-c", "cleanlab"]
SMALL = ["--model", "test_convnext", "--from-scratch", "--image-size", "32", "--finetune-epochs", "4"]
SMALL += ["--finetune-batch", "32", "--precision", "float32", "--device", "cpu", *CORRECTORS]
"""A model without BatchNorm, whose results do not depend on how many share a batch."""


class Painted(NamedTuple):
    """A manifest of images of four patterns, and which labels in it are wrong."""

    manifest: Path
    wrong: np.ndarray


@pytest.fixture(scope="module")
def painted(tmp_path_factory) -> Painted:
    path, rng = tmp_path_factory.mktemp("painted"), np.random.default_rng(0)
    patterns = rng.integers(0, 256, (4, 4, 4, 3)).repeat(8, axis=1).repeat(8, axis=2)
    lines, wrong = ["image,label\n"], np.arange(240) % 12 == 5
    for i, mistaken in enumerate(wrong):
        shifted = np.roll(patterns[i % 4], rng.integers(-3, 4, 2), (0, 1))
        pixels = shifted * rng.uniform(0.6, 1) + rng.normal(0, 40, (32, 32, 3))
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(path / f"{i:03}.png")
        lines.append(f"{i:03}.png,c{(i + mistaken) % 4}\n")
    (path / "m.csv").write_text("".join(lines), encoding="utf-8")
    return Painted(path / "m.csv", wrong)


def command(painted: Painted, out: Path, cache: Path, *options: str) -> list[str]:
    shared = ["--mode", "finetune", "-q", "-o", str(out), "--cache", str(cache)]
    return ["scan", str(painted.manifest), *shared, *options]


@pytest.fixture(scope="module")
def small(painted, cache, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("small") / "run"
    assert run(command(painted, out, cache, *SMALL)) == 0
    return out


def record(out: Path) -> dict:
    return json.loads((out / "run.json").read_text(encoding="utf-8"))


def precision(out: Path, painted: Painted, column: str) -> float:
    return average_precision_score(painted.wrong, Findings.read(out).column(column))


# ---- what is found


def test_wrong_labels_are_found_by_the_papers_resnet_from_scratch(painted, cache, tmp_path):
    options = ["--model", "resnet32", "--finetune-epochs", "12", *CORRECTORS]
    assert run(command(painted, tmp_path / "run", cache, *options)) == 0
    assert precision(tmp_path / "run", painted, "aum.score") > 8 * painted.wrong.mean()
    told = record(tmp_path / "run")["chosen"]["finetune"]
    assert (told["weights"], told["image_size"], told["optimiser"]) == ("from scratch", 32, "sgd")


def test_what_was_chosen_and_whose_probabilities_cleanlab_got_is_said(small, painted):
    told = record(small)
    assert told["chosen"]["finetune"]["model"] == "test_convnext"
    assert told["recipe"]["mode"] == "finetune"
    assert told["recipe"]["finetune"]["epochs"] == 4
    assert any("heads on frozen features of tf_efficientnet_lite0" in note for note in told["notes"])
    assert precision(small, painted, "aum.score") > 4 * painted.wrong.mean()


def test_trajectories_are_the_models_in_sample_and_the_heads_out_of_fold(small):
    table = pq.read_table(small / "trajectories.parquet")
    progress = json.loads(table.schema.metadata[b"labelfix"])["progress"]
    assert progress["in_sample"] == [0.25, 0.5, 0.75, 1.0]
    assert len(progress["out_of_fold"]) == 10
    for block, shares in progress.items():
        assert len(table.column(f"{block}.loss")[0]) == len(shares)


def test_pixels_and_checkpoints_are_gone_and_recordings_stay(small):
    assert not (small / "finetune").exists()
    assert sorted(path.name for path in (small / "recorded").iterdir()) == ["in_sample"]
    assert not list(small.rglob("*.tmp"))


@pytest.mark.slow
def test_the_papers_recipe_trains_on_the_fine_tuned_models_themselves(painted, cache, tmp_path):
    out = tmp_path / "run"
    assert run(command(painted, out, cache, *SMALL, "--finetune-folds", "-c", "tmlc-paper")) == 0
    score = Findings.read(out).column(
        "tmlc-paper.score"
    )  # 240 images are too few for the recipe to rank them well
    assert np.isfinite(score).all()
    assert len(np.unique(score)) > len(score) / 2
    assert sorted(path.name for path in (out / "recorded").iterdir()) == ["in_sample", "out_of_fold"]


def test_by_fold_cleanlab_gets_what_models_say_of_rows_they_have_not_seen(painted, cache, tmp_path):
    out = tmp_path / "run"
    assert run(command(painted, out, cache, *SMALL, "--finetune-folds")) == 0
    told = record(out)
    assert any("models fine-tuned 5 times, each without one fold" in note for note in told["notes"])
    assert not (out / "heads.safetensors").exists()
    assert precision(out, painted, "cleanlab.score") > 4 * painted.wrong.mean()
    table = pq.read_table(out / "trajectories.parquet")
    last = np.exp([-losses[-1] for losses in table.column("out_of_fold.loss").to_pylist()])
    np.testing.assert_allclose(1 - Findings.read(out).column("cleanlab.score"), last, atol=1e-3)


# ---- kills and company

KILL_IN_EPOCH_3 = """
import os, signal, sys
left = 3
def hook(event, arguments):
    global left
    if event == "os.rename" and str(arguments[1]).endswith("checkpoint.pt"):
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(hook)
"""


def test_a_kill_in_epoch_3_costs_no_byte(painted, cache, small, tmp_path, start):
    arguments = command(painted, tmp_path / "run", cache, *SMALL)
    process = start(*arguments, before=KILL_IN_EPOCH_3)
    _, said = process.communicate(timeout=200)
    assert process.returncode == -signal.SIGKILL, said
    assert (tmp_path / "run" / "finetune" / "checkpoint.pt").exists()
    assert not (tmp_path / "run" / "findings.parquet").exists()
    assert run([*arguments, "--resume"]) == 0
    assert results(tmp_path / "run") == results(small)


def shared(*arguments: str, before: str = "") -> subprocess.CompletedProcess[str]:
    """Run the command line in two processes."""
    code = f"{before}\nfrom labelfix.cli import main; main()"
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    return subprocess.run(
        [*launcher, "--no_python", sys.executable, "-c", code, *arguments],
        capture_output=True, text=True, check=False, cwd=ROOT, timeout=250,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip


def test_two_processes_find_what_one_finds(painted, cache, small, tmp_path):
    out = tmp_path / "run"
    done = shared(*command(painted, out, cache, *SMALL))
    assert done.returncode == 0, done.stderr
    assert done.stdout == ""
    assert record(out)["chosen"]["finetune"]["processes"] == 2
    one, two = Findings.read(small), Findings.read(out)
    for name in ("suspicion", "aum.score", "cleanlab.score"):
        np.testing.assert_allclose(two.column(name), one.column(name), atol=1e-3)
    assert not list(out.rglob("*.tmp"))


@pytest.mark.slow
def test_two_processes_killed_in_epoch_3_resume_together(painted, cache, small, tmp_path):
    arguments = command(painted, tmp_path / "run", cache, *SMALL)
    done = shared(*arguments, before=KILL_IN_EPOCH_3)
    assert done.returncode != 0
    assert "internal error" not in done.stderr
    assert shared(*arguments, "--resume").returncode == 0
    found = Findings.read(tmp_path / "run").column("suspicion")
    np.testing.assert_allclose(found, Findings.read(small).column("suspicion"), atol=1e-3)


@pytest.mark.slow
def test_what_the_user_has_to_mend_is_said_once_by_two_processes(painted, cache, tmp_path):
    trained = tmp_path / "weights.safetensors"
    save_file(timm.create_model("test_convnext").state_dict(), trained)
    options = ["--model", f"test_convnext@{trained}", "--image-size", "32", *CORRECTORS]
    options += ["--finetune-rate", "100", "--finetune-batch", "8", "--finetune-epochs", "8"]
    done = shared(*command(painted, tmp_path / "run", cache, *options))
    said = [line for line in done.stderr.splitlines() if line.startswith(("error", "internal"))]
    assert done.returncode != 0
    assert len(said) == 1, done.stderr
    assert "the loss is no number any more in epoch" in said[0]


# ---- bad input

OWN = ["--features", "x.npy"]
BAD = {
    "features": ([*OWN], "--mode finetune trains on images, but evidence of your own is given"),
    "probabilities": (["--pred-probs", "x.npy"], "leave --features and --pred-probs out, or choose --mode probe"),
    "unknown model": (["--model", "resnet23"], "unknown backbone 'resnet23'; did you mean"),
    "no checkpoint": (["--model", "resnet32@none.safetensors"], "none.safetensors: cannot be read as weights"),
    "no epoch": (["--finetune-epochs", "0"], "finetune.epochs is 0, but must lie in 1"),
    "weights and none": (
        ["--model", "resnet32@none.safetensors", "--from-scratch"], "names trained weights, but is to start"
    ),
    "backbone without weights": (["--backbone", "resnet32"], "timm has no trained weights for it"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_bad_input_is_one_sentence_before_any_work(case, painted, cache, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    options, sentence = BAD[case]
    assert run(command(painted, tmp_path / "run", cache, *options)) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("option", [["--from-scratch"], ["--finetune-epochs", "3"], ["--model", "resnet32"]])
def test_choices_of_fine_tuning_without_the_mode_are_not_overheard(option, painted, capsys):
    assert run(["scan", str(painted.manifest), "-q", *option]) == 2
    assert f"{option[0]}: means something with --mode finetune only" in capsys.readouterr().err
