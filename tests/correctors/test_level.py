"""Other correctors' levels: as calibrated for rows that no head has seen as for those that some have."""

from __future__ import annotations

import numpy as np

from labelfix.correctors.dynamics import AverageMargin
from labelfix.learn.recipe import Recipe
from labelfix.scoring import fit, suspect
from labelfix.tmlc.bank import evidence_of
from labelfix.tmlc.sources import Task

ROWS, WIDTH, CLASSES = 900, 300, 4


class Unseen:
    """The same rows without what saw them."""

    def __init__(self, evidence) -> None:
        self._evidence = evidence

    def chunks(self):
        return (chunk.as_unseen() for chunk in self._evidence.chunks())


def test_suspicion_of_unseen_rows_has_the_level_of_training_rows():
    """300 columns for 900 rows: heads know the labels they saw by heart, and are surer of them."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, CLASSES, ROWS).astype(np.int32)
    x = (0.28 * rng.normal(size=(CLASSES, WIDTH))[truth] + rng.normal(size=(ROWS, WIDTH))).astype(np.float32)
    given = np.where(rng.random(ROWS) < 0.1, (truth + 1) % CLASSES, truth).astype(np.int32)
    evidence, corrector = evidence_of(Task(x, truth, given, CLASSES, "", ""), Recipe()), AverageMargin()
    state = fit(evidence, {"aum": corrector})["aum"]
    seen, unseen = (suspect(rows, corrector, state)[1].mean() for rows in (evidence, Unseen(evidence)))
    assert abs(unseen - seen) < 0.01
    margins = [
        corrector.score(state, rows).score.mean()
        for rows in (evidence.sample(ROWS), evidence.sample(ROWS).as_unseen())
    ]
    assert margins[1] > margins[0] + 0.1
