"""Answers move the suspicion of rows like those that were answered, and of no others; few move little."""

from __future__ import annotations

import numpy as np
import pytest

import labelfix
from labelfix.answers import Told, Verdicts
from labelfix.benchmarking.metrics import average_precision
from labelfix.evidence import EvidenceChunk
from labelfix.learn.recipe import Recipe
from labelfix.tmlc.bank import _neighbours_of, evidence_of
from labelfix.tmlc.feedback import Feedback
from labelfix.tmlc.judgement import Judgement
from labelfix.tmlc.net import load_net
from labelfix.tmlc.scored import Scored
from labelfix.tmlc.sources import Task
from labelfix.trajectories import Trajectories

K, C = 5, 4


def rows(n: int, seed: int, classes: int = K) -> Scored:
    """Return made-up rows that say nothing but their classes and a score."""
    rng = np.random.default_rng(seed)
    candidates = np.stack([rng.permutation(classes)[:C] for _ in range(n)]).astype(np.int32)
    block = Trajectories(
        np.log(rng.dirichlet(np.ones(C), (n, 3))).astype(np.float32),
        rng.normal(size=(n, 3, C)).astype(np.float32),
        rng.random((n, 3)).astype(np.float32),
    )
    votes = rng.dirichlet(np.ones(C), n).astype(np.float32)
    chunk = EvidenceChunk(
        np.arange(n), candidates[:, 0].copy(), classes, candidates, None, block, None, votes, votes * 0.9
    )
    return Scored(chunk, rng.normal(-2.0, 1.5, n).astype(np.float32), rng.integers(1, C, n))


def answers(asked: Scored, confused: tuple[int, int], seed: int = 0) -> np.ndarray:
    """Say which labels are wrong: as the score says, but nearly none of one pair."""
    odds = asked.score - 3.0 * of_pair(asked, confused)
    return np.random.default_rng(seed).random(len(odds)) < 1 / (1 + np.exp(-odds))


def of_pair(scored: Scored, pair: tuple[int, int]) -> np.ndarray:
    return (scored.rows.labels == pair[0]) & (scored.suggested == pair[1])


def test_a_pair_that_people_do_not_confuse_is_suspected_less_and_the_mean_stays() -> None:
    asked, usual = rows(2000, 1), rows(4000, 2)
    found = Feedback.fit(asked, answers(asked, (2, 3)), usual)
    moved = found(usual)
    inside = of_pair(usual, (2, 3))
    assert moved[inside].mean() < moved[~inside].mean() - 1.0
    assert moved[~inside].std() < 0.6
    before, after = (1 / (1 + np.exp(-usual.score - by)) for by in (0.0, moved))
    assert after.mean() == pytest.approx(before.mean(), abs=1e-3)


def test_few_answers_move_little_and_none_of_an_unknown_pair_matters() -> None:
    asked, usual = rows(3, 1), rows(4000, 2)
    moved = Feedback.fit(asked, np.array([True, False, True]), usual)(usual)
    assert moved.std() < 0.35


def test_a_score_that_says_too_much_is_believed_less() -> None:
    asked, usual = rows(3000, 1), rows(4000, 2)
    wrong = np.random.default_rng(0).random(3000) < 1 / (1 + np.exp(-(0.4 * asked.score - 1.2)))
    found = Feedback.fit(asked, wrong, usual)
    assert found.slope[0] == pytest.approx(-0.6, abs=0.1)
    assert (usual.score + found(usual)).std() < 0.6 * usual.score.std()


def test_that_rows_were_chosen_by_their_score_bends_nothing() -> None:
    """Answers that follow the scores exactly, from the top alone, leave the order as it was."""
    drawn, usual = rows(20_000, 3), rows(4000, 2)
    top = np.argsort(-drawn.score)[:1500]
    asked = Scored(drawn.rows.take(top), drawn.score[top], drawn.column[top])
    wrong = np.random.default_rng(5).random(1500) < 1 / (1 + np.exp(-asked.score))
    moved = Feedback.fit(asked, wrong, usual)(usual)
    assert moved.std() < 0.35
    assert np.corrcoef(usual.score, usual.score + moved)[0, 1] > 0.97


def test_classes_by_another_number_are_moved_alike() -> None:
    asked, usual = rows(800, 1), rows(500, 2)
    wrong = answers(asked, (2, 3))
    number = np.random.default_rng(0).permutation(K).astype(np.int32)

    def renamed(scored: Scored) -> Scored:
        chunk = scored.rows.take(np.arange(len(scored.rows)))
        object.__setattr__(chunk, "labels", number[chunk.labels])
        object.__setattr__(chunk, "candidates", number[chunk.candidates])
        return Scored(chunk, scored.score, scored.column)

    one = Feedback.fit(asked, wrong, usual)(usual)
    other = Feedback.fit(renamed(asked), wrong, renamed(usual))(renamed(usual))
    np.testing.assert_allclose(one, other, atol=1e-5)


def test_it_survives_a_state_and_is_small_at_a_thousand_classes() -> None:
    asked, usual = rows(300, 1, 1000), rows(500, 2, 1000)
    found = Feedback.fit(asked, answers(asked, (2, 3)), usual)
    again = Feedback.of(found.arrays())
    assert again is not None
    np.testing.assert_array_equal(again(usual), found(usual))
    assert sum(values.nbytes for values in found.arrays().values()) < 20_000
    assert Feedback.of({}) is None


def confusing(seed: int = 0) -> tuple[Task, np.ndarray]:
    """Return a task whose classes 0 and 1 overlap, though their labels are right, while people call 2 sometimes 3."""
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 4, 2000).astype(np.int32)
    centres = rng.normal(size=(4, 16))
    centres[1] = centres[0] + 0.35 * rng.normal(size=16)
    centres[3] = centres[2] + 0.5 * rng.normal(size=16)
    x = (1.6 * centres[truth] + rng.normal(size=(2000, 16))).astype(np.float32)
    given = np.where((truth == 2) & (rng.random(2000) < 0.35), 3, truth).astype(np.int32)
    order, *_ = _neighbours_of(Task(x, truth, given, 4, "", ""), Recipe())  # evidence has it so
    return Task(x[order], truth[order], given[order], 4, "", ""), (given != truth)[order]


def test_what_was_answered_is_shown_as_it_was_and_the_rest_is_ranked_better() -> None:
    task, wrong = confusing()
    net, _ = load_net(None)
    evidence = evidence_of(task, Recipe())
    deaf = Judgement.fit(net, evidence)
    score = np.empty(len(wrong), np.float32)
    for chunk in evidence.chunks():
        score[chunk.rows] = deaf(net, chunk)[0]
    asked = np.sort(np.argsort(-score)[:150])
    assert 20 < wrong[asked].sum() < 130

    mended = task.given.copy()
    mended[asked] = task.truth[asked]
    after = evidence_of(Task(task.x, task.truth, mended, 4, "", ""), Recipe())
    after.told = Told(verdicts=Verdicts(asked, task.given[asked], wrong[asked]))
    shown = after.answered()
    assert shown is not None
    rows_then, wrong_then = shown
    assert (rows_then.labels == task.given[rows_then.rows]).all()
    assert (wrong_then == wrong[rows_then.rows]).all()
    assert rows_then.in_sample is None
    assert len(rows_then) == 150

    left = np.setdiff1d(np.arange(len(wrong)), asked)
    ranked = {}
    for name, told in (("deaf", Told()), ("taught", after.told)):
        after.told = told
        judged = Judgement.fit(net, after)
        again = Judgement.of(judged.arrays(), judged.settings())
        for chunk in after.chunks():
            score[chunk.rows] = judged(net, chunk)[0]
            np.testing.assert_allclose(again(net, chunk)[0], score[chunk.rows], rtol=1e-5)
        ranked[name] = average_precision(score[left].astype(np.float64), wrong[left])
    assert ranked["taught"] > ranked["deaf"] + 0.03


def test_a_label_that_nothing_spoke_for_is_shown_among_many_classes_too() -> None:
    rng = np.random.default_rng(0)
    truth = (np.arange(900) % 30).astype(np.int32)
    x = (4.0 * rng.normal(size=(30, 24))[truth] + rng.normal(size=(900, 24))).astype(np.float32)
    order, *_ = _neighbours_of(Task(x, truth, truth, 30, "", ""), Recipe())
    truth, asked = truth[order], np.arange(0, 900, 9)
    evidence = evidence_of(Task(x[order], truth, truth, 30, "", ""), Recipe())
    before = (truth[asked] + 1 + np.arange(100) % 29) % 30
    evidence.told = Told(verdicts=Verdicts(asked, before.astype(np.int32), np.ones(100, bool)))
    shown = evidence.answered()
    assert shown is not None
    rows_then, wrong_then = shown
    assert wrong_then.all()
    assert len(rows_then) == 100
    assert (rows_then.candidates[:, 0] == rows_then.labels).all()
    assert (rows_then.labels == before[np.searchsorted(asked, rows_then.rows)]).all()
    assert rows_then.out_of_fold.margin[:, :, 0].mean() < -1.0  # heads speak against it


def test_the_next_scan_learns_from_answers_to_chosen_rows(tmp_path) -> None:
    task, wrong = confusing(1)
    np.save(tmp_path / "x.npy", task.x)
    names = np.array(list("abcd"))
    lines = "".join(f"r{i},{name}\n" for i, name in enumerate(names[task.given]))
    (tmp_path / "m.csv").write_text("id,label\n" + lines)
    read = {"with_images": False}
    scans = {"features": str(tmp_path / "x.npy"), "report": False}
    first = labelfix.scan(labelfix.read(tmp_path / "m.csv", **read), out=tmp_path / "one", **scans)
    labelfix.export(first, "csv", tmp_path / "q.csv", top=150)
    queue = (tmp_path / "q.csv").read_text().splitlines()
    at = queue[0].split(",").index("id")
    asked = [int(line.split(",")[at][1:]) for line in queue[1:]]
    (tmp_path / "a.csv").write_text("id,label\n" + "".join(f"r{i},{names[task.truth[i]]}\n" for i in asked))
    labelfix.merge(first, tmp_path / "a.csv", tmp_path / "fixed.csv")

    fixed = (tmp_path / "fixed.csv").read_text()
    (tmp_path / "forgot.csv").write_text(fixed.replace("labelfix.previous_label", "was"))
    left, ranked = np.setdiff1d(np.arange(len(wrong)), asked), {}
    for name in ("fixed", "forgot"):
        manifest = labelfix.read(tmp_path / f"{name}.csv", **read)
        second = labelfix.scan(manifest, out=tmp_path / name, **scans)
        score = second.column("tmlc.score").astype(np.float64)
        ranked[name] = average_precision(score[left], wrong[left])
        learnt = "150 answers have taught which labels to doubt" in (tmp_path / name / "run.json").read_text()
        assert learnt == (name == "fixed")
    assert ranked["fixed"] > ranked["forgot"] + 0.03
