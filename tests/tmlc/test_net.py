"""The net is equivariant over classes, takes any K and E and any missing evidence, and survives saving."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from labelfix.errors import InputError
from labelfix.learn.recipe import Recipe
from labelfix.learn.replay import Replay
from labelfix.tmlc import perception
from labelfix.tmlc.bank import evidence_of, without_trajectories
from labelfix.tmlc.net import TMLCNet, load_net, save_net
from labelfix.tmlc.sources import Task


def make_task(K: int, n: int = 300, d: int = 12, seed: int = 0, rate: float = 0.15) -> Task:
    rng = np.random.default_rng(seed)
    truth = (np.arange(n) % K).astype(np.int32)
    x = (2.5 * rng.normal(size=(K, d))[truth] + rng.normal(size=(n, d))).astype(np.float32)
    given = np.where(rng.random(n) < rate, (truth + 1) % K, truth).astype(np.int32)
    return Task(x, truth, given, K, "pair", "test")


def posterior(evidence: Replay) -> tuple[np.ndarray, np.ndarray]:
    """Return dense posteriors [n, K] by evidence row."""
    sample = evidence.sample(len(evidence))
    norms = perception.fit(sample, np.bincount(evidence.labels, minlength=evidence.classes), evidence.epochs)
    net, _ = load_net()
    dense = np.zeros((len(evidence), evidence.classes))
    other = np.zeros(len(evidence))
    for chunk in evidence.chunks():
        q = np.exp(net.posterior(chunk, norms))
        for row, candidates, p in zip(chunk.rows, chunk.candidates, q, strict=True):
            dense[row, candidates] = p[:-1]
            other[row] = p[-1]
    return dense, other


@pytest.mark.parametrize("K", [2, 3, 10, 40])
def test_posteriors_sum_to_one_for_any_number_of_classes(K: int) -> None:
    dense, other = posterior(evidence_of(make_task(K), Recipe(epochs=4, checkpoints=3, device="cpu")))
    np.testing.assert_allclose(dense.sum(axis=1) + other, 1.0, atol=1e-5)
    assert (other > 0).any() == (K > 12)


def test_a_thousand_classes_work() -> None:
    task = make_task(1000, n=2200, d=32)
    dense, other = posterior(evidence_of(task, Recipe(epochs=2, checkpoints=2, device="cpu")))
    np.testing.assert_allclose(dense.sum(axis=1) + other, 1.0, atol=1e-5)


def test_one_recorded_epoch_works() -> None:
    dense, _ = posterior(evidence_of(make_task(5), Recipe(epochs=3, checkpoints=1, device="cpu")))
    assert np.isfinite(dense).all()


def test_permuting_the_classes_permutes_the_posteriors() -> None:
    task, recipe = make_task(6), Recipe(epochs=5, checkpoints=4, device="cpu")
    permutation = np.random.default_rng(1).permutation(6).astype(np.int32)
    permuted = dataclasses.replace(task, given=permutation[task.given], truth=permutation[task.truth])
    one, _ = posterior(evidence_of(task, recipe))
    two, _ = posterior(evidence_of(permuted, recipe))
    # Rounding of the heads to half precision is the same for both: columns only change places.
    np.testing.assert_allclose(two[:, permutation], one, atol=1e-4)


@pytest.mark.parametrize("missing", [{"in_sample"}, {"votes"}, {"in_sample", "votes"}, {"out_of_fold"}])
def test_planted_errors_rank_high_whatever_evidence_is_missing(missing: set[str]) -> None:
    task = make_task(4, n=400)
    evidence = evidence_of(task, Recipe(epochs=6, checkpoints=5, device="cpu"))
    sample = evidence.sample(len(evidence))
    norms = perception.fit(sample, np.bincount(evidence.labels, minlength=4), evidence.epochs)
    held = dataclasses.replace(sample, **dict.fromkeys(missing))
    net, _ = load_net()
    right = np.exp(net.posterior(held, norms)[:, 0])
    # Rows of the evidence are in canonical order; labels there tell given from true through the features' order.
    wrong = wrong_rows(task)[sample.rows]
    assert roc_auc_score(wrong, -right) > 0.85


def test_probabilities_alone_are_enough() -> None:
    task = make_task(4, n=400)
    evidence = without_trajectories(evidence_of(task, Recipe(epochs=6, checkpoints=5, device="cpu")))
    assert evidence.present == {"trajectories", "out_of_fold", "neighbours"}
    dense, _ = posterior(evidence)
    wrong = wrong_rows(task)
    own = dense[np.arange(len(dense)), evidence.labels]
    assert roc_auc_score(wrong, -own) > 0.85


def wrong_rows(task: Task) -> np.ndarray:
    """Return which evidence rows are wrong: evidence of a task is in the order of its content hashes."""
    from labelfix.tmlc.bank import canonical_order

    order = canonical_order(task.x)
    return (task.given != task.truth)[order]


def test_weights_survive_saving_and_loading(tmp_path: Path) -> None:
    net = TMLCNet(encoder_hidden=8, decoder_hidden=16)
    save_net(net, {"tasks": 5, "seed": 3}, tmp_path / "w.safetensors")
    loaded, card = load_net(tmp_path / "w.safetensors")
    assert card == {"tasks": 5, "seed": 3}
    for name, tensor in net.state_dict().items():
        assert (loaded.state_dict()[name] == tensor).all()


def test_damaged_weights_are_refused_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "w.safetensors").write_bytes(b"not weights")
    with pytest.raises(InputError, match="meta-train"):
        load_net(tmp_path / "w.safetensors")


def test_the_shipped_model_card_says_how_the_weights_were_made() -> None:
    _, card = load_net()
    assert {
        "sources",
        "noise",
        "seed",
        "command",
        "tasks",
        "unseen_source_average_precision",
    } <= set(card)
