"""Fine-tuned models look ahead themselves: each is blind to its fold, and the trust net learns through it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import pytest
import torch
from test_finetune import AT, CLASSES, LABELS, RECIPE, ROWS, Drawn

from labelfix.correctors.tmlc_paper import TMLCPaper
from labelfix.learn import finetune, tuned
from labelfix.learn.recipe import FineTuning, Recipe
from labelfix.learn.replay import Replay
from labelfix.learn.tuned import Tuned
from labelfix.progress import Silent
from labelfix.rundir import RunDir
from labelfix.tmlc import paper
from labelfix.tmlc.paper import PaperNorms, PaperRecipe

FOLDS = (AT % 5).astype(np.int32)
SMALL = PaperRecipe(meta_steps=2, images=20)


@pytest.fixture(autouse=True, scope="module")
def _one_thread() -> Iterator[None]:
    """Keep small passes from waiting for each other's threads on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module", params=["test_convnext", pytest.param("resnet32", marks=pytest.mark.slow)])
def kept(request, tmp_path_factory) -> Replay:
    """Evidence of a run that has fine-tuned by fold and kept its young models; resnet32 has BatchNorm."""
    path = tmp_path_factory.mktemp("run")
    tuning = FineTuning(model=request.param, scratch=True, epochs=2, batch_size=16, by_fold=True)
    recipe: Recipe = replace(RECIPE, checkpoints=2, finetune=tuning)
    what = Drawn(), AT, LABELS, FOLDS, CLASSES, recipe, "these", RunDir(path), Silent()
    seen, unseen = finetune.fine_tune(*what, keeps=True)
    models = Tuned(RunDir(path).recorded, recipe, CLASSES, AT, FOLDS)
    return Replay(AT, LABELS, CLASSES, "these", FOLDS, seen=seen, unseen=unseen, tuned=models)


def practised(data: Replay) -> paper.Practice:
    sample = data.sample(ROWS)
    norms = PaperNorms.fit(sample.out_of_fold, sample.labels, CLASSES)
    return paper.practise_on(sample, sample.out_of_fold, data.tuned, norms)


def test_a_kept_model_says_what_was_recorded_of_rows_it_has_not_seen(kept):
    rows, models = np.flatnonzero(FOLDS == 2), kept.tuned
    point = models.start(0, 2)
    logits = point.run(models._net.model.eval(), models.inputs(rows))
    expected = kept.unseen.log_p(rows, LABELS[rows])[:, 0]
    np.testing.assert_allclose(
        torch.log_softmax(logits, dim=1).detach().numpy(), expected, rtol=5e-3, atol=5e-3
    )
    assert (models.fold(rows) == 2).all()
    assert sorted(p.name for p in (models.recorded / "models").iterdir()) == [
        f"fold{f}-epoch0.pt" for f in range(5)
    ]


def test_the_slope_of_a_meta_step_through_the_model_is_that_of_finite_differences(kept):
    practice, models = practised(kept), kept.tuned
    models._net.model.double()
    try:
        rate = 0.5 / paper.steepness(double(practice), Double(models), 1, replace(SMALL, rows=20))
        net = paper.TrustNet().double()

        def loss() -> torch.Tensor:
            rng = np.random.default_rng(0)
            return paper.look_ahead_loss(
                net, double(practice), Double(models), 0, rate, rng, replace(SMALL, rows=20)
            )

        loss().backward()
        weight = net.decoder[-1].weight
        at, step = int(weight.grad.abs().argmax()), 1e-5
        slope, values = float(weight.grad.flatten()[at]), []
        for shift in (step, -step):
            with torch.no_grad():
                weight.view(-1)[at] += shift
            values.append(float(loss()))
            with torch.no_grad():
                weight.view(-1)[at] -= shift
        assert slope == pytest.approx((values[0] - values[1]) / (2 * step), rel=1e-4, abs=1e-10)
        assert abs(slope) > 1e-9
    finally:
        models._net.model.float()


class Double:
    """The same base model in double precision."""

    def __init__(self, models: Tuned) -> None:
        self.models = models
        self.fold, self.start, self.logits = models.fold, models.start, models.logits

    def inputs(self, rows: np.ndarray) -> torch.Tensor:
        return self.models.inputs(rows).double()


def double(practice: paper.Practice) -> paper.Practice:
    return replace(practice, scalars=practice.scalars.double(), others=practice.others.double())


def test_the_corrector_trains_on_the_models_and_changes_none(kept):
    before = {path: path.read_bytes() for path in (kept.tuned.recorded / "models").iterdir()}
    state = TMLCPaper(SMALL).fit(kept)
    untrained = TMLCPaper(replace(SMALL, meta_rate=0.0)).fit(kept)
    assert not np.array_equal(state.arrays["net.decoder.2.weight"], untrained.arrays["net.decoder.2.weight"])
    assert all(np.isfinite(TMLCPaper().score(state, chunk).score).all() for chunk in kept.chunks())
    assert before == {path: path.read_bytes() for path in before}


def test_what_was_kept_goes_and_recordings_stay(kept):
    tuned.drop(kept.tuned.recorded)
    assert sorted(path.name for path in kept.tuned.recorded.iterdir()) == ["in_sample", "out_of_fold"]
