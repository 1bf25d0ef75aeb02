"""`labelfix scan --mode auto`: the choice is said, written down, and kept when a run goes on."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from labelfix.cli import run
from labelfix.learn import choosing

SMALL = [
    "--mode",
    "auto",
    "--model",
    "test_convnext",
    "--from-scratch",
    "--image-size",
    "32",
    "--device",
    "cpu",
]
SMALL += ["--finetune-epochs", "3", "--finetune-batch", "32", "-c", "aum", "-c", "cleanlab"]


@pytest.fixture(scope="module")
def noise(tmp_path_factory) -> Path:
    """Images that show nothing, with labels that mean nothing: no features can tell them apart."""
    path, rng = tmp_path_factory.mktemp("noise"), np.random.default_rng(0)
    rows = []
    for i in range(96):
        Image.fromarray(rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)).save(path / f"{i}.png")
        rows.append((f"{i}.png", "ab"[int(rng.integers(2))]))
    pd.DataFrame(rows, columns=["file_name", "label"]).to_csv(path / "m.csv", index=False)
    return path


def words(noise: Path, out: Path, *more: str) -> list[str]:
    return ["scan", str(noise / "m.csv"), "-o", str(out), "--cache", str(noise / "cache"), *SMALL, *more]


def test_the_choice_and_its_reason_are_a_note_in_the_summary_and_in_the_record(noise, tmp_path, capsys):
    assert run(words(noise, tmp_path / "run", "--json")) == 0
    told, record = (
        json.loads(capsys.readouterr().out),
        json.loads((tmp_path / "run" / "run.json").read_text()),
    )
    (note,) = (note for note in told["notes"] if note.startswith("mode: "))
    assert note.startswith("mode: probe, because though linear heads and nearest neighbours")
    assert "96 rows are too few" in note
    assert record["chosen"]["mode"] == record["mode_choice"]["mode"] == "probe"
    assert record["mode_choice"]["differ"] > 0.2
    assert record["recipe"]["mode"] == "auto"
    assert not (tmp_path / "run" / "recorded").exists()


def test_a_model_is_fine_tuned_where_that_is_chosen_and_the_labels_train_the_same_kind(
    noise, tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(choosing, "FEWEST", 50)
    assert run(words(noise, tmp_path / "run")) == 0
    shown = " ".join(" ".join(capsys.readouterr()).split())
    assert "mode: finetune, because linear heads and nearest neighbours" in shown
    assert "heads on frozen features" in shown  # whose probabilities cleanlab gets
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["chosen"]["mode"] == "finetune"
    assert record["chosen"]["finetune"]["model"] == "test_convnext"
    assert (tmp_path / "run" / "recorded").exists()
    assert run(["train", str(tmp_path / "run"), "--labels", "given", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["mode"] == "finetune"


@pytest.mark.slow
def test_an_interrupted_run_keeps_its_choice(noise, tmp_path, start, monkeypatch):
    patience = "from labelfix.learn import choosing; choosing.FEWEST = 50"
    process = start(*words(noise, tmp_path / "run"), before=patience)
    for line in process.stderr:
        if "fine-tune 2/3" in line:
            process.send_signal(signal.SIGKILL)
            break
    process.wait()
    process.stdout.close()
    process.stderr.close()
    chosen = json.loads((tmp_path / "run" / "run.json").read_text())["mode_choice"]
    monkeypatch.setattr(choosing, "FEWEST", 5000)  # now it would be chosen otherwise
    assert run(words(noise, tmp_path / "run", "-q", "--resume")) == 0
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    assert record["mode_choice"] == chosen
    assert record["chosen"]["mode"] == "finetune"


def test_features_of_the_users_own_are_probed(plant, tmp_path, capsys):
    assert run([*plant().command, "--mode", "auto", "--json", "-o", str(tmp_path / "run")]) == 0
    assert any("no images to train on" in note for note in json.loads(capsys.readouterr().out)["notes"])
