"""What a command reads, and what a run holds, is never written over."""

from __future__ import annotations

from pathlib import Path

import pytest

from labelfix.cli import run

READ, HELD = "is read by this very command; choose another file", "belongs to the run"


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a manifest, its features, a run of them, answers and a batch."""
    import numpy as np

    here = tmp_path_factory.mktemp("scanned")
    rng = np.random.default_rng(0)
    truth = np.arange(60) % 3
    np.save(
        here / "x.npy", (3 * rng.normal(size=(3, 16))[truth] + rng.normal(size=(60, 16))).astype("float32")
    )
    (here / "m.csv").write_text("id,label\n" + "".join(f"r{i},c{k}\n" for i, k in enumerate(truth)))
    (here / "batch.csv").write_text((here / "m.csv").read_text().replace("r", "b"))
    (here / "answers.csv").write_text("id,answer\nr0,c1\n")
    assert (
        run(["scan", str(here / "m.csv"), "--features", str(here / "x.npy"), "-o", str(here / "run"), "-q"])
        == 0
    )
    return here


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("export {run} --to csv --top 3 -o {m}", READ),
        ("export {run} --to reference -o {m}", READ),
        ("export {run} --to parquet --top 3 -o {run}/findings.parquet", HELD),
        ("export {run}/findings.parquet --to jsonl --top 3 -o {run}/run.json", HELD),
        ("report {run} --html {m}", READ),
        ("report {run} --html {run}/findings.parquet", HELD),
        ("merge {run} {answers} -o {answers}", READ),
        ("apply {run} --write -o {m}", "is the manifest itself"),
        ("gate {batch} --features {x} --reference {run} --json {m}", READ),
        ("gate {batch} --features {x} --reference {run} --html {run}/report.html", HELD),
        ("gate {batch} --features {x} --reference {run} --json {x}", READ),
    ],
)
def test_nothing_that_is_read_or_held_is_replaced(scanned: Path, words: str, said: str, capsys) -> None:
    files = {path: path.read_bytes() for path in scanned.rglob("*") if path.is_file()}
    named = {"run": "run", "m": "m.csv", "answers": "answers.csv", "batch": "batch.csv", "x": "x.npy"}
    places = {name: str(scanned / file) for name, file in named.items()}
    assert run(words.format(**places).split()) == 2
    assert said in capsys.readouterr().err
    assert {path: path.read_bytes() for path in scanned.rglob("*") if path.is_file()} == files


def test_the_page_of_a_run_may_be_made_anew_in_its_place(scanned: Path) -> None:
    (scanned / "run" / "report.html").write_text("old")
    assert run(["report", str(scanned / "run"), "--html", str(scanned / "run" / "report.html")]) == 0
    assert "<html" in (scanned / "run" / "report.html").read_text()
