"""Opponents: cleanlab's own rankings, everything through a scan's rules, and no unknown names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from cleanlab.rank import get_label_quality_scores
from scipy.stats import rankdata

from labelfix.benchmarking.opponents import (
    CLEANLAB,
    able,
    blindly,
    counted,
    judge,
    opponents,
)
from labelfix.errors import InputError, UsageError
from labelfix.learn.replay import Replay
from labelfix.manifest import Manifest


@pytest.fixture(scope="module")
def probabilities() -> tuple[Replay, Manifest, np.ndarray]:
    """Out-of-sample probabilities of 300 rows and 4 classes, and which labels are wrong."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 4, 300)
    wrong = np.arange(300) % 10 == 0
    given = np.where(wrong, (truth + 1) % 4, truth).astype(np.int32)
    logits = rng.normal(size=(300, 4)) + 3.0 * np.eye(4)[truth]
    p = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)
    rows = rng.permutation(300)  # canonical order is not the manifest's
    manifest = Manifest(np.array([f"r{i}" for i in rows], object), given[rows], tuple("abcd"), None)
    return Replay(rows, given[rows], 4, "test", given=p), manifest, wrong[rows]


@pytest.mark.parametrize("name", CLEANLAB)
def test_cleanlabs_scores_rank_as_cleanlab_does(name, probabilities):
    evidence, manifest, _ = probabilities
    said = judge(name, opponents([], None)[name], evidence, manifest)
    method = name.removeprefix("cleanlab").lstrip(":").replace("-", "_").replace("normalised", "normalized")
    quality = get_label_quality_scores(
        manifest.labels, evidence.given[evidence.rows], method=method or "self_confidence"
    )
    assert rankdata(np.round(said.score, 5)) == pytest.approx(rankdata(np.round(-quality, 5)), abs=3)
    assert np.corrcoef(rankdata(said.score), rankdata(-quality))[0, 1] > 0.9999


def test_every_method_speaks_in_the_order_of_the_evidence_and_claims_a_probability(probabilities):
    evidence, manifest, wrong = probabilities
    for name, corrector in able(opponents([], None), evidence.present, []).items():
        said = judge(name, corrector, evidence, manifest)
        assert said.method == name
        assert ((said.suspicion >= 0) & (said.suspicion <= 1)).all()
        assert (said.suggested != manifest.labels).all()
        assert said.rate["low"] <= said.rate["rate"] <= said.rate["high"]
        assert said.seconds > 0
        if name != "constant":
            assert said.score[wrong].mean() > said.score[~wrong].mean(), name


def test_a_constant_prefers_no_row(probabilities):
    evidence, manifest, _ = probabilities
    said = judge("constant", opponents([], None)["constant"], evidence, manifest)
    assert len(np.unique(said.score)) == len(np.unique(said.suspicion)) == 1
    assert not said.fix.any()


def test_plain_disagreement_replaces_whatever_it_flags(probabilities):
    evidence, manifest, _ = probabilities
    name = "argmax-disagreement"
    said = judge(name, opponents([], None)[name], evidence, manifest)
    argmax = evidence.given[evidence.rows].argmax(axis=1)
    assert (said.flagged == (argmax != manifest.labels)).all()
    assert (np.where(said.fix, said.suggested, manifest.labels) == argmax).all()
    assert (said.classes[:, 0] == argmax).all()
    assert said.rate["rate"] == pytest.approx(said.flagged.mean())
    assert (blindly(said, manifest.labels).fix == said.flagged).all()


def test_cleanlab_keeps_its_own_flags_and_counts_them(probabilities):
    from cleanlab.filter import find_label_issues

    evidence, manifest, _ = probabilities
    said = judge("cleanlab", opponents([], None)["cleanlab"], evidence, manifest)
    theirs = find_label_issues(
        manifest.labels, evidence.given[evidence.rows], filter_by="prune_by_noise_rate", n_jobs=1
    )
    assert (said.flagged == theirs).mean() > 0.99
    assert said.rate == counted(said.flagged)


def test_the_interval_of_a_count_is_the_binomial_one():
    flagged = np.arange(1000) < 100
    found = counted(flagged)
    assert found["rate"] == pytest.approx(0.1)
    assert found["low"] == pytest.approx(0.1 - 1.645 * 0.0095, abs=0.002)
    assert found["high"] == pytest.approx(0.1 + 1.645 * 0.0095, abs=0.002)
    assert counted(np.zeros(10, bool)) == {"rate": 0.0, "low": 0.0, "high": 0.0}


def test_baselines_always_stand_beside_what_is_chosen():
    rows = list(opponents(["aum", "tmlc"], None))
    assert rows[:3] == ["aum", "tmlc", "cleanlab"]
    assert {"constant", "argmax-disagreement", *CLEANLAB} <= set(rows)
    assert "mean-loss" not in rows
    assert next(iter(opponents([], None))) == "tmlc"


def test_an_unknown_method_is_named_with_the_nearest():
    with pytest.raises(UsageError, match="unknown method 'wrong-event'; did you mean 'wrong-events'"):
        opponents(["wrong-event"], None)


def test_weights_are_those_of_the_file(tmp_path: Path, probabilities):
    (tmp_path / "w.safetensors").write_bytes(b"no weights")
    evidence, manifest, _ = probabilities
    with pytest.raises(InputError, match=r"w\.safetensors: the TMLC weights cannot be read"):
        judge("tmlc", opponents([], tmp_path / "w.safetensors")["tmlc"], evidence, manifest)


def test_a_method_that_lacks_evidence_is_left_out_unless_it_was_asked_for():
    rows = opponents([], None)
    assert set(able(rows, frozenset({"out_of_fold"}), [])) == {
        name for name, one in rows.items() if one.needs.required <= {"out_of_fold"}
    }
    with pytest.raises(UsageError, match="method 'aum' needs trajectories, which this evidence lacks"):
        able(rows, frozenset({"out_of_fold"}), ["aum"])
