"""The paper's recipe learns whom to distrust without truth, and refuses to learn from the labels it explains."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score

from labelfix.correctors.tmlc_paper import TMLCPaper
from labelfix.errors import UsageError
from labelfix.evidence import MAX_CANDIDATES
from labelfix.learn import probe
from labelfix.learn.features import Features
from labelfix.learn.recipe import Recipe
from labelfix.learn.replay import Replay
from labelfix.progress import Silent
from labelfix.tmlc import paper
from labelfix.tmlc.paper import PaperNorms, PaperRecipe

ROWS = 240


def evidence(classes: int, wrong: float, seed: int = 0, rows: int = ROWS) -> tuple[Replay, np.ndarray]:
    """Clouds of points of which a share is labelled wrongly, and which they are [n]."""
    rng = np.random.default_rng(seed)
    truth = np.arange(rows) % classes
    x = 1.2 * rng.normal(size=(classes, 16))[truth] + rng.normal(size=(rows, 16))
    shift = np.where(rng.random(rows) < wrong, rng.integers(1, classes, rows), 0)
    labels = ((truth + shift) % classes).astype(np.int32)
    features, at, folds = Features.from_array(x), np.arange(rows), rng.integers(0, 5, rows).astype(np.int32)
    # With so few rows the first checkpoints have else learnt nothing.
    recipe = Recipe(device="cpu", learning_rate=1e-2)
    heads = probe.train(features, at, labels, folds, classes, recipe, "test", Silent())
    return Replay(at, labels, classes, "test", folds, features, heads), shift > 0


@pytest.fixture(scope="module")
def noisy() -> tuple[Replay, np.ndarray]:
    return evidence(5, 0.25)


def practised(data: Replay) -> paper.Practice:
    sample = data.sample(ROWS)
    norms = PaperNorms.fit(sample.out_of_fold, sample.labels, data.classes)
    return paper.practise_on(sample, sample.out_of_fold, paper.Head(data.base), norms)


def trust(net: paper.TrustNet, data: paper.Practice) -> np.ndarray:
    return 1 / (1 + np.exp(-net.log_odds(data.scalars.numpy())))


def test_judged_by_held_out_rows_it_learns_whom_to_distrust(noisy):
    data, wrong = noisy
    practice = practised(data)
    found = trust(paper.fit(practice, paper.Head(data.base), data.epochs, PaperRecipe()), practice)
    bad = wrong[practice.rows]
    assert roc_auc_score(bad, np.round(1 - found, 1)) > 0.8
    assert found[~bad].mean() > found[bad].mean() + 0.2


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_judged_by_the_labels_it_explains_it_learns_to_trust_them_all(noisy, smoothing):
    """What the refusals below are for: each row's soft label against its own given label, no look-ahead."""
    data, wrong = noisy
    practice, everything = practised(data), np.arange(ROWS)

    def direct(net: paper.TrustNet) -> torch.Tensor:
        q = practice.soft_labels(net, everything).clamp(min=1e-7)
        return paper.soft_cross_entropy(q.log(), paper.smooth(practice.given(everything), smoothing))

    found = trust(paper.optimise(direct, PaperRecipe(meta_steps=80, meta_rate=1e-2)), practice)
    identity = 1 - smoothing * (1 - 1 / data.classes)  # what the target gives to every given label
    assert np.abs(found - identity).max() < 0.03
    suspicion = np.round(1 - found, 1)
    assert abs(roc_auc_score(wrong[practice.rows], suspicion) - 0.5) < 0.05


@pytest.mark.parametrize("choice", [{"support": 1.0}, {"support": 0.0}, {"inner_steps": 0}])
def test_a_training_without_held_out_rows_or_look_ahead_is_refused_and_explained(choice):
    with pytest.raises(UsageError, match="trusting every given label is then the best answer"):
        TMLCPaper(PaperRecipe(**choice))


@pytest.mark.parametrize("support", [0.5, 0.8, 0.9])
def test_the_head_that_looks_ahead_has_seen_no_row_of_the_query(noisy, support):
    folds, rng = noisy[0].folds, np.random.default_rng(0)
    for _ in range(20):
        fold, supporting, query = paper.split(folds, PaperRecipe(support=support), rng)
        assert set(folds[query]) == {fold}
        assert fold not in folds[supporting]
        assert len(supporting) / (len(supporting) + len(query)) == pytest.approx(support, abs=0.02)


def test_scalars_are_what_the_definitions_say(noisy):
    data, _ = noisy
    sample = data.sample(ROWS)
    block, labels = sample.out_of_fold, sample.labels
    norms = PaperNorms.fit(block, labels, data.classes)
    last = norms.scalars(block, labels)[:, -1].T  # CNL, GNL, entropy and order at the last epoch
    loss = block.loss[:, -1]
    middle = np.median(loss)
    spread = 1.4826 * np.median(np.abs(loss - middle)) + 1e-3
    np.testing.assert_allclose(last[1], np.clip((loss - middle) / spread, -5, 5) / 5, atol=1e-5)
    mine = labels == 2
    own = mine.sum() / (mine.sum() + 10)
    centre = own * np.median(loss[mine]) + (1 - own) * middle
    deviation = 1.4826 * np.median(np.abs(loss[mine] - np.median(loss[mine]))) + 1e-3
    scale = own * deviation + (1 - own) * spread
    np.testing.assert_allclose(last[0][mine], np.clip((loss[mine] - centre) / scale, -5, 5) / 5, atol=1e-5)
    np.testing.assert_allclose(last[2], block.entropy[:, -1], atol=1e-6)
    rank = loss.argsort().argsort() / (ROWS - 1)
    np.testing.assert_allclose(last[3], rank, atol=0.04)  # between two of 17 quantiles order is interpolated
    assert (np.diff(last[3][loss.argsort()]) >= 0).all()


def test_without_normalisation_the_net_reads_losses_as_they_are(noisy):
    data, wrong = noisy
    sample = data.sample(ROWS)
    block = sample.out_of_fold
    loss = block.loss[:, -1]
    last = PaperNorms.off(data.epochs, data.classes).scalars(block, sample.labels)[:, -1]
    np.testing.assert_allclose(last[:, 0], np.minimum(loss, 5) / 5, atol=1e-5)
    np.testing.assert_array_equal(last[:, 0], last[:, 1])
    np.testing.assert_allclose(last[:, 3], loss / 20, atol=1e-5)
    plain, normalised = TMLCPaper(PaperRecipe(normalised=False)), TMLCPaper()
    score = [one.score(one.fit(data), sample).score for one in (plain, normalised)]
    assert roc_auc_score(wrong[sample.rows], score[0]) > 0.8
    assert not np.allclose(score[0], score[1])


def test_a_soft_label_is_the_given_one_by_trust_and_the_mean_prediction_by_the_rest():
    data, _ = evidence(15, 0.2, rows=150)
    assert data.classes > MAX_CANDIDATES
    practice = practised(data)
    net = paper.TrustNet()
    with torch.no_grad():
        net.decoder[-1].bias.fill_(1.0)
        q = practice.soft_labels(net, np.arange(150)).numpy()
    w = 1 / (1 + np.exp(-1.0))
    x, rows = data.base.features(practice.rows), np.arange(150)
    heads = [[data.base.head(e, f) for f in range(5)] for e in range(data.epochs)]
    for row in rows[:20]:
        logits = [x[row] @ epoch[practice.folds[row]][0] + epoch[practice.folds[row]][1] for epoch in heads]
        mean = np.mean([np.exp(v) / np.exp(v).sum() for v in logits], axis=0)
        given, listed = practice.labels[row], practice.candidates[row].numpy()
        mean[given] = 0
        expected = (1 - w) * mean / mean.sum()
        expected[given] = w
        np.testing.assert_allclose(q[row][listed], expected[listed], atol=2e-3)
        unlisted = np.setdiff1d(np.arange(15), listed)
        np.testing.assert_allclose(q[row][unlisted], expected[unlisted].mean(), atol=2e-3)
    np.testing.assert_allclose(q.sum(axis=1), 1, atol=1e-5)


def test_unseen_rows_are_scored_by_the_state_alone_as_if_they_had_been_training_rows(noisy):
    data, _ = noisy
    state = TMLCPaper(PaperRecipe(meta_steps=3)).fit(data)
    assert state.fitted_on == data.fitted_on
    for chunk in data.chunks():
        unseen = dataclasses.replace(chunk, in_sample=None, rows=chunk.rows + 10_000)
        one, two = TMLCPaper().score(state, chunk), TMLCPaper().score(state, unseen)
        np.testing.assert_array_equal(one.score, two.score)
        np.testing.assert_array_equal(one.p, two.p)
        assert one.suspicion is None
        np.testing.assert_allclose(one.p_of(chunk.labels), 1 / (1 + np.exp(one.score)), atol=1e-6)


def test_a_fit_is_the_same_twice_and_draws_nothing_from_the_common_generator(noisy):
    data, _ = noisy
    before = torch.get_rng_state()
    one, two = (TMLCPaper(PaperRecipe(meta_steps=3)).fit(data) for _ in range(2))
    assert torch.equal(before, torch.get_rng_state())
    assert all(np.array_equal(array, two.arrays[name]) for name, array in one.arrays.items())
    other = TMLCPaper(PaperRecipe(meta_steps=3, seed=1)).fit(data)
    assert not np.array_equal(one.arrays["net.lstm.weight_hh_l0"], other.arrays["net.lstm.weight_hh_l0"])


def test_two_classes_and_one_epoch_are_enough():
    data, _ = evidence(2, 0.1, rows=120)
    first = dataclasses.replace(data.heads, **{
        name: getattr(data.heads, name)[:1] for name in ("weight", "bias", "progress")
    })  # fmt: skip
    data = dataclasses.replace(data, heads=first, _kept=[])
    state = TMLCPaper(PaperRecipe(meta_steps=3)).fit(data)
    for chunk in data.chunks():
        found = TMLCPaper().score(state, chunk)
        assert np.isfinite(found.score).all()
        np.testing.assert_allclose(found.p.sum(axis=1), 1, atol=1e-5)
