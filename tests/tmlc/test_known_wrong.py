"""Labels known to be wrong tell how many given ones look like them: few on hard clean data, most where planted."""

from __future__ import annotations

import numpy as np
import pytest

from labelfix.correctors.dynamics import AverageMargin
from labelfix.evidence import EvidenceChunk
from labelfix.learn.noise import FAMILIES
from labelfix.learn.recipe import Recipe
from labelfix.tmlc.bank import _neighbours_of, evidence_of
from labelfix.tmlc.calibrate import confident_share, joint_rate
from labelfix.tmlc.known_wrong import KnownWrong, compare
from labelfix.tmlc.sources import Task
from labelfix.trajectories import Floats

CLASSES = 6


def margins(rows: EvidenceChunk) -> Floats:
    return AverageMargin.of(rows.dynamics())


def compared(rate: float, spread: float) -> tuple[KnownWrong, float, float]:
    """Return what was found on 3,000 rows, the share of confident disagreement, and the true rate."""
    rng = np.random.default_rng(3)
    truth = rng.integers(0, CLASSES, 3000).astype(np.int32)
    x = (2.5 * rng.normal(size=(CLASSES, 16))[truth] + spread * rng.normal(size=(3000, 16))).astype(
        np.float32
    )
    given = FAMILIES["similarity"](x, truth, CLASSES, rate, rng) if rate else truth
    sample = evidence_of(Task(x, truth, given.astype(np.int32), CLASSES, "", ""), Recipe()).sample(3000)
    assert sample.probabilities is not None
    found = compare(margins, sample)
    assert found is not None
    return found, confident_share(sample.probabilities, sample.labels), float((given != truth).mean())


def test_clean_labels_do_not_look_wrong_even_where_classes_overlap() -> None:
    found, confident, _ = compared(0.0, spread=4.0)
    assert confident > 0.04  # hard enough to mislead counts of confident disagreement
    assert found.share < 0.5 * confident
    assert found.flag_share < 0.015
    assert joint_rate(confident, found.share) < 0.8 * confident


@pytest.mark.parametrize("rate", [0.05, 0.15, 0.3])
def test_planted_errors_are_counted(rate: float) -> None:
    found, _, true = compared(rate, spread=1.5)
    assert found.share == pytest.approx(true, rel=0.35)
    assert found.flag_share > 0.6 * true


def test_errors_that_were_mended_do_not_hide_those_that_are_left() -> None:
    rng = np.random.default_rng(4)
    truth = rng.integers(0, CLASSES, 3000).astype(np.int32)
    x = (2.5 * rng.normal(size=(CLASSES, 16))[truth] + 1.5 * rng.normal(size=(3000, 16))).astype(np.float32)
    given = FAMILIES["similarity"](x, truth, CLASSES, 0.3, rng).astype(np.int32)
    task = Task(x, truth, given, CLASSES, "", "")
    sample, order = evidence_of(task, Recipe()).sample(3000), _neighbours_of(task, Recipe())[0]
    wrong = (given != truth)[order[sample.rows]]
    top = np.argsort(-margins(sample))[:300]
    left = np.setdiff1d(np.arange(len(sample)), top)
    real = wrong[left].mean()
    hidden, told = (
        compare(margins, sample.take(left), mended) for mended in (0.0, wrong[top].sum() / len(left))
    )
    assert hidden is not None
    assert told is not None
    assert hidden.share < 0.6 * real
    assert told.share == pytest.approx(real, abs=0.06)


def test_rows_relabelled_and_back_show_what_they_showed() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, CLASSES, 600).astype(np.int32)
    x = (rng.normal(size=(CLASSES, 8))[truth] + rng.normal(size=(600, 8))).astype(np.float32)
    rows = evidence_of(Task(x, truth, truth, CLASSES, "", ""), Recipe()).sample(600)
    columns = rng.integers(1, CLASSES, 600)
    once = rows.relabelled(columns)
    assert (once.labels == rows.candidates[np.arange(600), columns]).all()
    assert once.in_sample is None
    block, before = once.out_of_fold, rows.out_of_fold
    assert block is not None
    assert before is not None
    assert (block.loss == -before.log_p[np.arange(600), :, columns]).all()
    back = once.relabelled(columns)
    assert (back.candidates == rows.candidates).all()
    assert back.out_of_fold is not None
    assert (back.out_of_fold.margin == before.margin).all()
    for name in ("votes", "reliable_votes"):
        assert (getattr(once, name)[:, 0] == getattr(rows, name)[np.arange(600), columns]).all()
        assert (getattr(back, name) == getattr(rows, name)).all()
