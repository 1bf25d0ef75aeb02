"""`labelfix train`: better labels make better classifiers, each is kept, and nothing trained is lost."""

from __future__ import annotations

import json
import shutil
import signal
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

import labelfix
from labelfix.cli import run

KINDS = ("disc", "bars", "cross")


def painted(kind: int, rng: np.random.Generator, size: int = 32) -> np.ndarray:
    """An image whose class is its pattern; colours and place say nothing."""
    y, x = np.mgrid[:size, :size] + rng.integers(-4, 5, 2)[:, None, None]
    c = size // 2
    shape = [(x - c) ** 2 + (y - c) ** 2 < 64, (x // 3) % 2 == 0, (abs(x - c) < 3) | (abs(y - c) < 3)][kind]
    ground, figure = rng.integers(0, 90, 3), rng.integers(140, 256, 3)
    pixels = np.where(shape[:, :, None], figure, ground) + rng.integers(-20, 21, (size, size, 3))
    return pixels.clip(0, 255).astype(np.uint8)


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    """120 rows in train.csv, a quarter of them labelled wrongly, and 60 in test.csv, labelled rightly."""
    path, rng = tmp_path_factory.mktemp("painted"), np.random.default_rng(0)
    for name, count, wrong in (("train", 120, 0.25), ("test", 60, 0.0)):
        truth = np.arange(count) % 3
        given = np.where(rng.random(count) < wrong, (truth + rng.integers(1, 3, count)) % 3, truth)
        files = [f"{name}{i}.png" for i in range(count)]
        for file, kind in zip(files, truth, strict=True):
            Image.fromarray(painted(int(kind), rng)).save(path / file)
        labels = [KINDS[k] for k in given]
        pd.DataFrame({"file_name": files, "label": labels}).to_csv(path / f"{name}.csv", index=False)
    return path


@pytest.fixture(scope="module")
def scanned(data: Path, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    words = ["scan", data / "train.csv", "-o", out, "--cache", data / "cache", "--image-size", "64", "-q"]
    assert run(list(map(str, words))) == 0
    return out


@pytest.fixture
def train(scanned: Path, data: Path, tmp_path: Path):
    """Run the command into a directory of its own."""

    def call(*words: str | Path, out: Path | None = None) -> int:
        there = ["-o", out or tmp_path / "out", "--cache", data / "cache", "--device", "cpu"]
        return run(list(map(str, ["train", scanned, *there, *words])))

    return call


TUNE = ["--mode", "finetune", "--model", "test_convnext", "--from-scratch", "--image-size", "32"]
TUNE += ["--finetune-epochs", "4", "--finetune-batch", "16"]


def table(path: Path) -> dict[str, dict]:
    document = json.loads((path / "results.json").read_text())
    return {row["labels"]: row for row in document["classifiers"]}


def test_each_variant_is_trained_saved_measured_and_shown(train, data, tmp_path, capsys):
    assert train("--labels", "all", "--evaluate", data / "test.csv", "-q") == 0
    found = table(tmp_path / "out")
    assert list(found) == ["given", "cleanlab-pruned", "pruned", "fixed", "soft"]
    assert found["given"]["rows"] == found["soft"]["rows"] == 120
    assert found["pruned"]["rows"] < 110
    assert found["soft"]["evaluation"]["accuracy"] > 0.85
    assert found["soft"]["evaluation"]["log_loss"] < found["given"]["evaluation"]["log_loss"]
    assert capsys.readouterr().out == ""
    assert train("--labels", "all", "--evaluate", data / "test.csv", "--resume") == 0
    shown = capsys.readouterr().out
    assert [line.split()[0] for line in shown.splitlines()[2:7]] == list(found)
    assert "On 60 rows of" in shown
    assert all(len(line) <= 80 for line in shown.splitlines()[1:7])


def test_what_was_saved_says_what_was_measured(train, data, tmp_path):
    assert train("--evaluate", data / "test.csv", "-q") == 0
    loaded = labelfix.load_classifier(tmp_path / "out" / "soft.safetensors")
    test = labelfix.read(data / "test.csv")
    right = np.array(loaded.predict(test.images).labels) == np.array(test.classes)[test.labels]
    # Features are kept in half precision, the model computes in its own: one row may tip over.
    assert right.mean() == pytest.approx(table(tmp_path / "out")["soft"]["evaluation"]["accuracy"], abs=0.02)
    assert loaded.about["labels"] == "soft"


def test_a_whole_model_learns_soft_labels(train, data, tmp_path, capsys):
    assert train(*TUNE, "--evaluate", data / "test.csv", "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["mode"] == "finetune"
    assert document["classifiers"][0]["evaluation"]["accuracy"] > 0.5
    loaded = labelfix.load_classifier(tmp_path / "out" / "soft.safetensors")
    assert loaded.net.name == "test_convnext"
    assert loaded.about["plan"]["epochs"] == 4
    test = labelfix.read(data / "test.csv")
    right = np.array(loaded.predict(test.images).labels) == np.array(test.classes)[test.labels]
    assert right.mean() == document["classifiers"][0]["evaluation"]["accuracy"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"soft.safetensors", "results.json"}


def test_a_killed_training_goes_on_and_ends_with_the_same_weights(scanned, data, train, tmp_path, start):
    words = [*TUNE, "--labels", "given", "--labels", "soft"]
    assert train(*words, "-q", out=tmp_path / "whole") == 0
    process = start(
        "train", scanned, "-o", tmp_path / "out", "--cache", data / "cache", "--device", "cpu", *words
    )
    for line in process.stderr:
        if "fine-tune 3/4" in line and (tmp_path / "out" / "given.safetensors").exists():
            process.send_signal(signal.SIGKILL)
            break
    process.wait()
    process.stdout.close()
    process.stderr.close()
    assert not (tmp_path / "out" / "soft.safetensors").exists()
    assert train(*words, "-q") == 2  # what is there is not overwritten
    assert train(*words, "-q", "--resume") == 0
    for name in ("given", "soft"):
        one, two = (labelfix.load_classifier(tmp_path / d / f"{name}.safetensors") for d in ("whole", "out"))
        for key, tensor in one.net.model.state_dict().items():
            np.testing.assert_array_equal(tensor.numpy(), two.net.model.state_dict()[key].numpy())


def test_every_held_out_row_is_accounted_for(train, data, tmp_path, capsys):
    shutil.copy(data / "train0.png", tmp_path / "also.png")
    (tmp_path / "bad.png").write_bytes(b"no image")
    for i in range(3):
        shutil.copy(data / f"test{i}.png", tmp_path)
    rows = [
        ("also.png", "disc"),
        ("bad.png", "bars"),
        ("test0.png", "disc"),
        ("test1.png", ""),
        ("test2.png", "zebra"),
    ]
    pd.DataFrame(rows, columns=["file_name", "truth"]).to_csv(tmp_path / "held.csv", index=False)
    assert train("--evaluate", tmp_path / "held.csv", "--truth", "truth") == 0
    shown = capsys.readouterr().out
    assert "On 2 rows of" in shown
    assert "Not counted: 1 row, cannot be read" in shown
    assert "Not counted: 1 row, no label" in shown
    assert "Not counted: 1 row of classes the run lacks (zebra)" in shown
    assert "Also among the rows trained on, which flatters all of them: 1 row" in shown
    assert (
        train(*TUNE, "--evaluate", tmp_path / "held.csv", "--truth", "truth", "--json", out=tmp_path / "o2")
        == 0
    )
    counts = json.loads(capsys.readouterr().out)["counts"]
    assert counts == {
        "rows": 5, "evaluated": 2, "unreadable": 1, "unlabelled": 1, "unknown_class": 1,
        "unknown_classes": {"zebra": 1}, "also_trained_on": 1,
    }  # fmt: skip


def test_evidence_of_the_users_own_is_found_from_another_directory(plant, tmp_path, monkeypatch):
    planted = plant(rows=90, wrong=20)
    p = 0.1 + np.eye(planted.given.max() + 1)[planted.given]
    np.save(planted.path / "p.npy", p / p.sum(axis=1, keepdims=True))
    monkeypatch.chdir(planted.path)
    assert run(["scan", "m.csv", "--features", "x.npy", "--pred-probs", "p.npy", "-o", "run", "-q"]) == 0
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert run(["train", str(planted.path / "run"), "-q"]) == 0
    assert (planted.path / "run" / "trained" / "soft.safetensors").exists()


def test_features_of_the_users_own_make_a_head_on_features(plant, tmp_path, capsys):
    planted = plant(rows=90, wrong=20)
    out = str(tmp_path / "run")
    assert run([*planted.command, "-o", out]) == 0
    lines = "".join(f"t{i},c{k}\n" for i, k in enumerate(planted.truth))
    (tmp_path / "truth.csv").write_text("id,label\n" + lines)
    words = ["train", out, "--labels", "all", "-q", "--evaluate", str(tmp_path / "truth.csv")]
    assert run(words) == 2  # where are the features of these rows?
    assert run([*words, "--evaluate-features", str(tmp_path / "x.npy")]) == 0
    found = table(tmp_path / "run" / "trained")
    assert found["soft"]["evaluation"]["accuracy"] > 0.9
    np.save(tmp_path / "narrow.npy", planted.features[:, :3])
    assert run([*words, "--resume", "--evaluate-features", str(tmp_path / "narrow.npy")]) == 3
    assert "the features have 3 numbers a row, but those trained on have 16" in capsys.readouterr().err
    loaded = labelfix.load_classifier(tmp_path / "run" / "trained" / "soft.safetensors")
    right = np.array(loaded.predict(planted.features).labels) == [f"c{k}" for k in planted.truth]
    assert right.mean() == found["soft"]["evaluation"]["accuracy"]


def test_a_run_can_be_trained_from_any_directory_and_after_its_manifest_moved(
    scanned, data, train, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert train("-q", out=tmp_path / "one") == 0
    moved = tmp_path / "moved"
    shutil.copytree(data, moved)
    assert train("-q", "--manifest", moved / "train.csv", out=tmp_path / "two") == 0
    changed = pd.read_csv(moved / "train.csv")
    changed.loc[0, "label"] = "cross" if changed.label[0] != "cross" else "disc"
    changed.to_csv(moved / "train.csv", index=False)
    assert train("-q", "--manifest", moved / "train.csv", out=tmp_path / "three") == 3
    assert "or was changed since; scan again" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--truth", "label"], 2, "describe --evaluate; name it too"),
        (["--labels", "smooth"], 2, "'smooth' is not one of"),
        (["--model", "resnet32"], 2, "--model: means something with --mode finetune only"),
        (["--evaluate", "nowhere.csv"], 3, "nowhere.csv"),
        (["--manifest", "nowhere.csv"], 3, "nowhere.csv"),
        (["--evaluate-features", "x.npy", "--evaluate", "{data}/test.csv"], 2, "of images, so leave out"),
    ],
)
def test_bad_usage_is_one_sentence(words, code, said, train, data, capsys):
    assert train("-q", *(word.format(data=data) for word in words)) == code
    assert said in capsys.readouterr().err


def test_a_directory_that_is_no_run_is_named(tmp_path, capsys):
    assert run(["train", str(tmp_path)]) == 3
    assert "no labelfix run there" in capsys.readouterr().err


def test_the_python_call_gives_the_same_table(scanned, data, tmp_path):
    results = labelfix.train(
        scanned,
        labels=["given", "soft"],
        out=tmp_path / "out",
        evaluate=data / "test.csv",
        cache=data / "cache",
    )
    frame = results.to_pandas()
    assert frame.labels.tolist() == ["given", "soft"]
    assert frame.accuracy.between(0.5, 1).all()
    with pytest.raises(labelfix.UsageError, match=r"holds given\.safetensors; add --resume"):
        labelfix.train(scanned, labels="given", out=tmp_path / "out", cache=data / "cache")
