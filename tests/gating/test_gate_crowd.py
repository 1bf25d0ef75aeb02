"""A batch of several annotators' answers, judged by a reference of such."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import labelfix
from labelfix.gatekeeping import Setting
from labelfix.gating.verdict import Verdict
from labelfix.readers.interface import Columns

SETTING = Setting(columns=Columns(annotator="worker", with_images=False), features="x")


def answers(path: Path, rate: float, seed: int, each: int = 3, items: int = 300) -> float:
    """Write answers about clouds of points that overlap, each wrong at the rate; return the share that is."""
    rng = np.random.default_rng(seed)
    centres = 1.2 * np.random.default_rng(9).normal(size=(4, 12))
    true = np.repeat(rng.integers(0, 4, items), each)
    x = np.repeat(rng.normal(size=(items, 12)), each, axis=0) + centres[true]
    given = np.where(rng.random(len(true)) < rate, (true + rng.integers(1, 4, len(true))) % 4, true)
    table = {
        "id": [f"{seed}-{i // each}" for i in range(len(true))],
        "label": [f"c{k}" for k in given],
        "worker": [f"w{i % each}" for i in range(len(true))],
        "x": list(x.astype(np.float32)),
    }
    pq.write_table(pa.table(table), path)
    return float((given != true).mean())


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("crowd")
    answers(directory / "reference.parquet", 0.1, 1)
    labelfix.scan(
        directory / "reference.parquet", out=directory / "run", features="x",
        columns=Columns(annotator="worker", with_images=False),
    )  # fmt: skip
    return directory / "run"


def gate(path: Path, run: Path) -> Verdict:
    policy = labelfix.Policy(
        levels={"error_rate": "off", "class_error_rate": "off", "annotator_error_rate": "off"}
    )
    return labelfix.gate(path, run, policy, setting=SETTING)


@pytest.mark.parametrize(("rate", "outcome"), [(0.1, "pass"), (0.3, "fail")])
def test_a_batch_as_good_passes_and_a_worse_one_fails(
    rate: float, outcome: str, run: Path, tmp_path: Path
) -> None:
    truth = answers(tmp_path / "batch.parquet", rate, 2)
    verdict = gate(tmp_path / "batch.parquet", run)
    assert verdict.outcome == outcome
    assert verdict.rate[1] <= truth <= verdict.rate[2]


def test_a_run_of_answers_says_of_its_annotators_what_the_scan_says(run: Path) -> None:
    verdict = labelfix.gate(run)
    (check,) = [one for one in verdict.checks if one.name == "annotator_error_rate"]
    findings = labelfix.Findings.read(run).to_pandas()
    for part in check.parts:
        mean = findings.loc[findings["annotator"] == part.name, "suspicion"].mean()
        assert 0.0 <= part.low <= part.value <= part.high <= 1.0
        assert part.value == pytest.approx(mean, abs=0.03)


def test_answers_that_nobody_shares_are_judged_too(run: Path, tmp_path: Path) -> None:
    truth = answers(tmp_path / "one.parquet", 0.1, 3, each=1, items=900)
    verdict = gate(tmp_path / "one.parquet", run)
    assert verdict.outcome == "pass"
    assert verdict.rate[1] <= truth <= verdict.rate[2]
