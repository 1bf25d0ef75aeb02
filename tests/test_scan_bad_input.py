"""Bad input, as a user meets it: one clear sentence, the right exit code, nothing that looks whole.

Each scan runs in this process, with features of its own so that it takes a tenth of a second; what
needs a process of its own (signals, a full disk) starts one.
"""

from __future__ import annotations

import contextlib
import csv
import io
import json
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from labelfix.cli import run
from labelfix.findings import Findings

CLOTHING = Path(__file__).parent.parent / "examples" / "clothing"
WITH = ("--features", "x.npy")


def given() -> str:
    return Path("m.csv").read_text(encoding="utf-8")


def manifest(text: str, name: str = "m.csv") -> None:
    Path(name).write_bytes(text.encode())


def labelled(label: Callable[[int], str], rows: int = 60) -> None:
    manifest("id,label\n" + "".join(f"r{i},{label(i)}\n" for i in range(rows)))


def features(change: Callable[[np.ndarray], np.ndarray]) -> None:
    np.save("x.npy", change(np.load("x.npy")))


def probabilities(change: Callable[[np.ndarray], np.ndarray]) -> None:
    np.save("p.npy", change(np.full((60, 3), 1 / 3, np.float32)))


def spoil(row: int, value: float) -> Callable[[np.ndarray], np.ndarray]:
    def change(array: np.ndarray) -> np.ndarray:
        array[row, 1] = value
        return array

    return change


def images(unreadable: int, total: int = 24, root: str = "") -> None:
    """Write small images of two classes, some of which cannot be read, and a manifest of them."""
    Path("images").mkdir()
    lines = ["image,label\n"]
    for i in range(total):
        name = f"images/{i:02}.png"
        file = io.BytesIO()
        pixels = np.random.default_rng(i).integers(0, 100, (20, 20, 3)) + 100 * (i % 2)
        Image.fromarray(pixels.astype(np.uint8)).save(file, "PNG")
        Path(name).write_bytes(b"not an image" if i < unreadable else file.getvalue())
        lines.append(f"{root}{name},{'ab'[i % 2]}\n")
    manifest("".join(lines))


def shorten(name: str, share: float = 0.5) -> None:
    data = Path(name).read_bytes()
    Path(name).write_bytes(data[: int(share * len(data))])


def parquet() -> None:
    table = pa.table({"id": [f"r{i}" for i in range(60)], "label": [f"c{i % 3}" for i in range(60)]})
    pq.write_table(table, "m.parquet")


def finished_run(label: Callable[[int], str]) -> None:
    kept = given()
    labelled(label)
    assert run(["scan", "m.csv", *WITH, "-q", "-o", "run"]) == 0
    manifest(kept)


def damaged_run(name: str) -> None:
    assert run(["scan", "m.csv", *WITH, "-q", "-o", "run"]) == 0
    record = json.loads(Path("run/run.json").read_text(encoding="utf-8"))
    Path("run/run.json").write_text(json.dumps({**record, "finished": False}), encoding="utf-8")
    shorten(f"run/{name}")


def place(name: str) -> None:
    path = Path(name)
    path.parent.mkdir(exist_ok=True)
    path.write_text("mine", encoding="utf-8")


# (what is wrong, arguments after the manifest, exit code, what the sentence must say)
Case = tuple[Callable[[], object], tuple[str, ...], int, str]
MANIFEST = ("m.csv",)
CASES: dict[str, Case] = {
    "missing file": (lambda: None, ("n.csv", *WITH), 3, "n.csv: there is no such file or directory; in .:"),
    "directory without images": (lambda: place("d/a.txt"), ("d",), 3, "d: holds no images; give a directory"),
    "empty directory": (lambda: Path("d").mkdir(), ("d",), 3, "d: holds no images; give a directory"),
    "empty csv": (lambda: manifest(""), (*MANIFEST, *WITH), 3, "m.csv: is empty; a table needs a header"),
    "no rows": (
        lambda: manifest("id,label\n"), (*MANIFEST, *WITH), 3, "m.csv: has a header line but no rows",
    ),
    "wrong separator": (
        lambda: manifest(given().replace(",", "~")), (*MANIFEST, *WITH), 3,
        "m.csv: no label column among id~label",
    ),
    "missing column": (
        lambda: None, (*MANIFEST, *WITH, "--label-col", "lable"), 3,
        "m.csv: no column 'lable'; did you mean 'label'?",
    ),
    "missing group column": (
        lambda: None, (*MANIFEST, *WITH, "--group-col", "g"), 3, "no column 'g'; known: id, l",
    ),
    "ambiguous columns": (
        lambda: manifest("id,label_a,label_b\n" + "".join(f"{i},a,b\n" for i in range(60))),
        (*MANIFEST, *WITH), 3,
        "m.csv: label_a, label_b could each be the label column; choose one with --label-col",
    ),
    "no image column": (
        lambda: None, MANIFEST, 3, "m.csv: no image column among id, label; name it with --image-col",
    ),
    "all labels null": (
        lambda: labelled(lambda _: ""), (*MANIFEST, *WITH), 3, "'label' holds no label in any row",
    ),
    "one class": (
        lambda: labelled(lambda _: "a"), (*MANIFEST, *WITH), 3, "there is only one class, 'a', in label",
    ),
    "each class has one row": (
        lambda: labelled(lambda i: f"k{i}"), (*MANIFEST, *WITH), 5,
        "only 0 of 60 rows can be judged; at least 10",
    ),
    "one class has all rows but one": (
        lambda: labelled(lambda i: "ab"[i == 7]), (*MANIFEST, *WITH), 5, "only 59 of 60 rows can be judged",
    ),
    "too few rows": (
        lambda: (labelled(lambda i: "ab"[i % 2], 6), features(lambda x: x[:6])), (*MANIFEST, *WITH), 5,
        "m.csv: only 6 of 6 rows can be judged; at least 10",
    ),
    "duplicate ids": (
        lambda: manifest(given().replace("r5,", "r4,")), (*MANIFEST, *WITH), 3,
        "m.csv: row 5 (the first is 0) repeats",
    ),
    "labels are fractions": (
        lambda: labelled(lambda i: str(i % 3 + 0.5)), (*MANIFEST, *WITH), 3,
        "'label' is 0.5, but labels are texts",
    ),
    "not utf-8": (
        lambda: Path("m.csv").write_bytes(given().replace("c1", "caf\xe9").encode("latin-1")),
        (*MANIFEST, *WITH), 3,
        "m.csv: line 2 holds the byte 0xe9, which is not UTF-8; convert the file",
    ),
    "parquet cut off": (
        lambda: (parquet(), shorten("m.parquet")), ("m.parquet", *WITH), 3, "is no whole Parquet file",
    ),
    "path leaves the root": (
        lambda: (images(0), manifest(given().replace("images/05", "../05"))), MANIFEST, 3,
        "'../05.png', which leaves",
    ),
    "absolute path elsewhere": (
        lambda: (images(0), manifest(given().replace("images/05", "/etc/05"))), MANIFEST, 3, "outside of",
    ),
    "no image is readable": (
        lambda: images(24), MANIFEST, 3,
        "none of 24 images can be read; the first, images/00.png: not an image",
    ),
    "most images are unreadable": (
        lambda: images(18), MANIFEST, 5, "m.csv: only 6 of 24 rows can be judged; at least 10 readable",
    ),
    "no image file exists": (
        lambda: (images(0), shutil.rmtree("images")), MANIFEST, 3, "none of 24 image files looked for exists",
    ),
    "features of other rows": (
        lambda: features(lambda x: x[:50]), (*MANIFEST, *WITH), 3,
        "x.npy: has 50 rows, but the manifest has 60",
    ),
    "features hold nan": (
        lambda: features(spoil(7, np.nan)), (*MANIFEST, *WITH), 3, "x.npy: row 7 (the first is 0) holds nan",
    ),
    "features too large": (
        lambda: features(spoil(7, 1e9)), (*MANIFEST, *WITH), 3,
        "x.npy: the features do not fit into float16, one is ±1e+09; scale them down",
    ),
    "features all alike": (
        lambda: features(np.ones_like), (*MANIFEST, *WITH), 5, "m.csv: all rows are copies of each other",
    ),
    "features of three dimensions": (
        lambda: features(lambda x: x[:, :, None]), (*MANIFEST, *WITH), 3, "x.npy: has shape 60 × 16 × 1, but",
    ),
    "features are text": (
        lambda: features(lambda x: x.astype(str)), (*MANIFEST, *WITH), 3, "not real numbers",
    ),
    "features cut off": (lambda: shorten("x.npy"), (*MANIFEST, *WITH), 3, "x.npy: cannot be read ("),
    "features not there": (
        lambda: None, (*MANIFEST, "--features", "y.npy"), 3, "y.npy: there is no such file",
    ),
    "features of another name": (
        lambda: np.savez("x.npz", train=np.load("x.npy"), test=np.load("x.npy")),
        (*MANIFEST, "--features", "x.npz:trian"), 3, "x.npz: has no array 'trian'; did you mean 'train'?",
    ),
    "probabilities do not sum to one": (
        lambda: probabilities(spoil(9, 0.5)), (*MANIFEST, "--pred-probs", "p.npy"), 3,
        "p.npy: row 9 (the first is 0) sums",
    ),
    "probabilities are logits": (
        lambda: probabilities(spoil(9, -4.0)), (*MANIFEST, "--pred-probs", "p.npy"), 3,
        "apply softmax to logits first",
    ),
    "probabilities of other classes": (
        lambda: probabilities(lambda p: p[:, :2] * 1.5), (*MANIFEST, "--pred-probs", "p.npy"), 3,
        "p.npy: has 2 columns, but the manifest has 3 classes",
    ),
    "unknown backbone": (
        lambda: images(0), (*MANIFEST, "--backbone", "resnet5"), 2,
        "unknown backbone 'resnet5'; did you mean 'resnet50'?",
    ),
    "unknown corrector": (
        lambda: None, (*MANIFEST, *WITH, "-c", "clenlab"), 2,
        "unknown corrector 'clenlab'; did you mean 'cleanlab'?",
    ),
    "unknown device": (
        lambda: None, (*MANIFEST, *WITH, "--device", "tpu"), 2, "device 'tpu' cannot be used; here",
    ),
    "seed too large": (
        lambda: None, (*MANIFEST, *WITH, "--seed", str(10**20)), 2, "seed is 100000000000000000000",
    ),
    "image size too small": (
        lambda: images(0), (*MANIFEST, "--image-size", "3"), 2, "image_size is 3, but must lie in",
    ),
    "one group": (
        lambda: manifest("id,label,patient\n" + "".join(f"r{i},c{i % 3},p\n" for i in range(60))),
        (*MANIFEST, *WITH, "--group-col", "patient"), 5,
        "column 'patient' puts the rows into too few groups (1)",
    ),
    "output holds another run": (
        lambda: finished_run(lambda i: f"c{i % 2}"), (*MANIFEST, *WITH), 2,
        "run: holds another run (different manifest)",
    ),
    "output holds this run": (
        lambda: finished_run(lambda i: f"c{(i + (i < 3)) % 3}"), (*MANIFEST, *WITH), 2,
        "holds a finished run of the same data",
    ),
    "output is a file": (
        lambda: place("run"), (*MANIFEST, *WITH), 2, "run: is a file, but the output must be a directory",
    ),
    "output holds foreign files": (
        lambda: place("run/a.txt"), (*MANIFEST, *WITH), 2, "run: is not empty and holds no labelfix run",
    ),
    "output below a file": (
        lambda: place("f"), (*MANIFEST, *WITH, "-o", "f/run"), 4,
        "f/run: cannot be written (Not a directory)",
    ),
    "cache below a file": (
        lambda: (images(0), place("f")), (*MANIFEST, "--cache", "f/cache"), 4,
        "cannot be written (Not a directory)",
    ),
    "heads damaged before resuming": (
        lambda: damaged_run("heads.safetensors"), (*MANIFEST, *WITH, "--resume"), 3, "heads cannot be read",
    ),
    "second learner damaged before resuming": (
        lambda: damaged_run("kernel.safetensors"), (*MANIFEST, *WITH, "--resume"), 3,
        "kernel regression cannot be read",
    ),
    "neighbours damaged before resuming": (
        lambda: damaged_run("neighbours.safetensors"), (*MANIFEST, *WITH, "--resume"), 3,
        "neighbours cannot be read",
    ),
    "record damaged before resuming": (
        lambda: damaged_run("run.json"), (*MANIFEST, *WITH, "--resume"), 3, "run.json: damaged",
    ),
}  # fmt: skip


def listing(directory: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()}


@pytest.mark.parametrize("case", CASES)
def test_bad_input_gets_one_sentence_an_exit_code_and_leaves_nothing_behind(case, plant, monkeypatch, capsys):
    monkeypatch.chdir(plant().path)
    monkeypatch.delenv("LABELFIX_DEBUG", raising=False)
    make, arguments, code, said = CASES[case]
    make()
    capsys.readouterr()
    before = listing(Path("run")), {path.name for path in Path().iterdir()}
    where = () if "-o" in arguments else ("-o", "run")
    assert run(["scan", *where, "-q", "--cache", "cache", *arguments]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ")
    assert said in captured.err
    assert captured.err.count("\n") == 1
    assert listing(Path("run")) == before[0]
    assert {path.name for path in Path().iterdir()} - {"cache"} == before[1] - {"cache"}
    assert not list(Path().rglob("*.tmp"))


# What deserves a remark but no error: (change, arguments, number of classes, statuses other than scored, a note)
GOES_ON: dict[str, tuple[Callable[[], object], tuple[str, ...], int, dict[str, int], str]] = {
    "two classes": (lambda: labelled(lambda i: "ab"[i % 2]), WITH, 2, {}, ""),
    "classes with one or two rows": (
        lambda: labelled(lambda i: "ab"[i % 2] if i < 56 else "yyxz"[i - 56]), WITH, 5,
        {"singleton_class": 2}, "",
    ),
    "a thousand classes": (
        lambda: (labelled(lambda i: f"k{i % 1000}", 2000), features(lambda x: np.resize(x, (2000, 7)))),
        WITH, 1000, {}, "",
    ),
    "mixed-case and padded class names": (
        lambda: manifest(given().replace("r5,c", "r5, C").replace("r6,c", "r6,C").replace("r9,c", "r9,C")),
        WITH, 5, {"singleton_class": 1}, "differ only in case or spaces",
    ),
    "labels as floats": (lambda: labelled(lambda i: f"{i % 3}.0"), WITH, 3, {}, ""),
    "some rows without a label": (
        lambda: labelled(lambda i: "abc"[i % 3] if i > 4 else ""), WITH, 3, {"unlabelled": 5}, "",
    ),
    "some images unreadable": (lambda: images(3), (), 2, {"unreadable": 3}, ""),
    "absolute paths inside the root": (lambda: images(0, root=f"{Path.cwd()}/"), (), 2, {}, ""),
    "semicolons": (lambda: manifest(given().replace(",", ";")), WITH, 3, {}, ""),
    "features of one number": (lambda: features(lambda x: x[:, :1]), WITH, 3, {}, ""),
    "a row for each answer": (
        lambda: manifest(
            "id,label,worker\n" + "".join(f"r{i // 2},c{i // 2 % 3},w{i % 2}\n" for i in range(60))
        ),
        (*WITH, "--annotator-col", "worker"), 3, {}, "",
    ),
    "all rows trusted": (
        lambda: manifest("id,label,ok\n" + "".join(f"r{i},c{i % 3},1\n" for i in range(60))),
        (*WITH, "--trusted-col", "ok"), 3, {}, "",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", GOES_ON)
def test_odd_input_is_scanned_and_every_row_is_in_the_findings(case, plant, monkeypatch):
    monkeypatch.chdir(plant().path)
    make, arguments, classes, statuses, note = GOES_ON[case]
    make()
    assert run(["scan", "m.csv", "-o", "run", "-q", "--cache", "cache", *arguments]) == 0
    findings = Findings.read("run")
    with Path("m.csv").open(newline="", encoding="utf-8") as file:
        rows = sum(1 for _ in csv.reader(file)) - 1
    assert len(findings) == rows
    assert len(findings.classes) == classes
    found = dict(zip(*np.unique(findings.column("status").astype(str), return_counts=True), strict=True))
    assert found == {"scored": rows - sum(statuses.values())} | statuses
    scored = findings.column("status") == "scored"
    suspicion = findings.column("suspicion")
    assert np.isfinite(suspicion[scored]).all()
    assert np.isnan(suspicion[~scored]).all()
    assert all(findings.column("reason")[~scored])
    assert note in " ".join(json.loads(Path("run/run.json").read_text(encoding="utf-8"))["notes"])


def test_what_was_mended_can_be_scanned_into_the_same_directory(plant, monkeypatch):
    monkeypatch.chdir(plant().path)
    whole = np.load("x.npy")
    features(spoil(7, np.nan))
    assert run(["scan", "m.csv", *WITH, "-o", "run", "-q"]) == 3
    np.save("x.npy", whole)
    assert run(["scan", "m.csv", *WITH, "-o", "run", "-q"]) == 0
    assert Findings.read("run").column("rank")[:3].max() == 3


def test_other_features_under_the_same_name_are_not_taken_for_the_same_run(plant, monkeypatch, capsys):
    monkeypatch.chdir(plant().path)
    assert run(["scan", "m.csv", *WITH, "-o", "run", "-q"]) == 0
    features(lambda x: x + 1)
    assert run(["scan", "m.csv", *WITH, "-o", "run", "-q", "--resume"]) == 2
    assert "holds another run" in capsys.readouterr().err


@pytest.fixture
def small_disk(tmp_path) -> Iterator[Callable[[int], Path]]:
    """Mount file systems of a few kilobytes, where the system allows it."""
    mounted = []

    def mount(kilobytes: int) -> Path:
        path = tmp_path / f"disk{kilobytes}"
        path.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={kilobytes}k", "none", str(path)]
        if (
            shutil.which("mount") is None
            or subprocess.run(command, capture_output=True, check=False).returncode
        ):
            pytest.skip("mounting is not permitted here")
        mounted.append(path)
        return path

    yield mount
    for path in mounted:
        subprocess.run(["umount", str(path)], check=True)


def test_a_full_disk_is_said_in_one_sentence_at_every_stage_and_the_scan_can_go_on(plant, small_disk, capsys):
    data = plant(rows=400, width=64)
    assert run([*data.command, "-o", str(data.path / "whole")]) == 0
    whole = (data.path / "whole" / "findings.parquet").read_bytes()
    needed = sum(path.stat().st_size for path in (data.path / "whole").rglob("*") if path.is_file())
    reached = set()
    capsys.readouterr()
    for kilobytes in range(4, needed // 1024 + 8, max(4, needed // 1024 // 14)):
        out = small_disk(kilobytes) / "run"
        code = run([*data.command, "-o", str(out)])
        said = capsys.readouterr().err
        if code == 0:
            continue
        assert code == 4
        assert said.startswith("error: ")
        assert "the disk is full" in said
        assert said.count("\n") == 1
        findings = out / "findings.parquet"
        assert not findings.exists() or findings.read_bytes() == whole  # whole before the report is written
        assert not list(out.rglob("*.tmp"))
        there = {path.name for path in out.rglob("*")}
        reached.add(frozenset(there))
        larger = data.path / f"larger{kilobytes}"
        with contextlib.suppress(FileNotFoundError):
            shutil.copytree(out, larger)
        assert run([*data.command, "-o", str(larger), "--resume"]) == 0
        assert (larger / "findings.parquet").read_bytes() == whole
    assert len(reached) >= 3


def test_a_file_that_may_not_grow_is_a_full_disk(plant, start):
    data = plant(rows=400, width=64)
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))"
    process = start(*data.command, "-o", data.path / "run", before=limit)
    out, said = process.communicate(timeout=100)
    assert process.returncode == 4
    assert out == ""
    assert "the disk is full" in said
    assert said.count("\n") == 1
    assert not (data.path / "run" / "findings.parquet").exists()
    assert not list(data.path.rglob("*.tmp"))


@pytest.mark.parametrize(
    ("number", "code", "word"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_an_interrupt_in_the_middle_of_training_names_the_way_on(number, code, word, plant, start):
    data = plant(rows=30_000, classes=20, width=256)
    out = data.path / "run"
    process = start(*data.command, "-o", out)
    while not (out / "neighbours.safetensors").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(number)
    _, said = process.communicate(timeout=100)
    assert process.returncode == code
    assert said == f"{word}; the same command with --resume continues where it stopped\n"
    assert not (out / "findings.parquet").exists()
    assert not list(data.path.rglob("*.tmp"))
    assert (out / "run.json").exists()
