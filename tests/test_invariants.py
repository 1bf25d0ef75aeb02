"""What must not matter does not: the order of rows, the names of classes, columns that play no role."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import labelfix
from labelfix.findings import Findings

ROWS, CLASSES = 80, 4
FEW = settings(
    max_examples=5,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
    derandomize=True,
)


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, pd.DataFrame]:
    """Overlapping clouds; the first rows are wrong, and some are exact copies with another label."""
    rng = np.random.default_rng(0)
    truth = np.arange(ROWS) % CLASSES
    x = (2 * rng.normal(size=(CLASSES, 12))[truth] + rng.normal(size=(ROWS, 12))).astype(np.float32)
    x[:4] = x[4:8]
    labels = np.where(np.arange(ROWS) < 8, (truth + 1 + np.arange(ROWS) // 4) % CLASSES, truth)
    return x, pd.DataFrame({"id": [f"r{i}" for i in range(ROWS)], "label": [f"c{k}" for k in labels]})


def scan(here: Path, x: np.ndarray, table: pd.DataFrame) -> Findings:
    here.mkdir()
    np.save(here / "x.npy", x)
    table.to_csv(here / "m.csv", index=False)
    manifest = labelfix.read(here / "m.csv", with_images=False)
    return labelfix.scan(manifest, out=here / "run", features=str(here / "x.npy"))


@pytest.fixture(scope="module")
def usual(data, tmp_path_factory: pytest.TempPathFactory) -> Findings:
    return scan(tmp_path_factory.mktemp("usual") / "scan", *data)


@FEW
@given(seed=st.integers(0, 2**32 - 1))
def test_permuting_rows_permutes_the_findings(seed, data, usual, tmp_path_factory) -> None:
    x, table = data
    order = np.random.default_rng(seed).permutation(ROWS)
    moved = scan(tmp_path_factory.mktemp("moved") / "scan", x[order], table.iloc[order]).table
    assert moved.equals(usual.table.take(order))


@FEW
@given(seed=st.integers(0, 2**32 - 1))
def test_permuting_answers_of_annotators_permutes_the_findings(seed, data, tmp_path_factory) -> None:
    x, table = data
    rng = np.random.default_rng(1)
    x = np.repeat(x, 3, axis=0)
    answers = pd.concat([table.assign(annotator=name) for name in ("ann", "bob", "cy")]).sort_index(
        kind="stable"
    )
    answers["label"] = np.where(rng.random(len(answers)) < 0.2, "c0", answers["label"])
    usual = scan(tmp_path_factory.mktemp("answers") / "scan", x, answers).table
    order = np.random.default_rng(seed).permutation(len(answers))
    moved = scan(tmp_path_factory.mktemp("moved") / "scan", x[order], answers.iloc[order]).table
    assert moved.equals(usual.take(order))


@FEW
@given(names=st.permutations([f"c{k}" for k in range(CLASSES)]))
def test_renaming_classes_changes_nothing_but_names(names, data, usual, tmp_path_factory) -> None:
    x, table = data
    new = {f"c{k}": f"n{name}" for k, name in enumerate(names)}
    renamed = scan(tmp_path_factory.mktemp("renamed") / "scan", x, table.assign(label=table.label.map(new)))
    assert np.allclose(renamed.column("suspicion"), usual.column("suspicion"), atol=1e-4)
    columns = [renamed.classes.index(new[name]) for name in usual.classes]
    assert np.allclose(renamed.soft_labels()[:, columns], usual.soft_labels(), atol=1e-4)


def test_a_column_without_a_role_changes_nothing(data, usual, tmp_path) -> None:
    x, table = data
    more = scan(tmp_path / "scan", x, table.assign(weather="fine", zoom=range(ROWS)))
    assert more.table.equals(usual.table)


def test_every_soft_label_sums_to_one(usual) -> None:
    assert np.allclose(usual.soft_labels().sum(axis=1), 1, atol=1e-5)
