"""`labelfix bench`, run as a user runs it: equal evidence, no look at the truth, one clear sentence for mistakes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from click.testing import CliRunner

from labelfix.benchmarking.results import COLUMNS
from labelfix.cli import cli, run
from labelfix.learn.noise import FAMILIES

SAID_WITHOUT_TRUTH = ["method", "flagged", "fixed", "rate_estimate", "rate_low", "rate_high"]


def table(out: Path):
    return pq.read_table(out / "results.parquet").to_pandas()


def test_two_noises_and_two_seeds_end_to_end(joined, capsys):
    out = joined.path / "out"
    words = ["bench", joined.manifest, "--truth", "label_true", "--features", joined.features, "-o", str(out)]
    words += ["--noise", "symmetric:0.15", "--noise", "similarity:0", "--seeds", "2", "--method", "aum"]
    assert run([*words, "--no-ceiling"]) == 0
    shown = capsys.readouterr().out
    assert "photos · symmetric 15 %" in shown
    assert all(len(line) <= 80 for line in shown.splitlines() if not line.startswith("Files in"))

    rows = table(out)
    assert list(rows.columns) == list(COLUMNS)
    assert len(rows) == 4 * 7  # trials × (aum, cleanlab's three, constant, disagreement, nothing)
    assert set(rows.rows) == {600 - rows.held_out[0]}
    noisy, clean = rows[rows.noise == "symmetric"], rows[rows.noise == "similarity"]
    assert noisy.true_rate.between(0.1, 0.2).all()
    assert noisy.groupby("seed").true_rate.nunique().tolist() == [1, 1]
    assert noisy.true_rate.nunique() == 2  # other noise with each seed
    assert (clean.true_rate == 0).all()
    assert clean.average_precision.isna().all()
    means = noisy.groupby("method").mean(numeric_only=True)
    assert means.average_precision["constant"] == pytest.approx(means.true_rate.iloc[0])
    assert means.average_precision["aum"] > means.average_precision["constant"] + 0.1
    assert means.net_change["nothing"] == 0
    assert means.net_change["argmax-disagreement"] < 0
    assert means.downstream_soft[["aum", "cleanlab"]].notna().all()
    assert means.distance.isna().all()  # no ceiling

    said = (out / "results.md").read_text(encoding="utf-8")
    assert "labelfix bench photos.csv --truth label_true --noise symmetric:0.15" in said
    assert str(joined.path) not in said
    assert "| **aum** |" in said


def test_the_truth_changes_metrics_but_nothing_that_methods_say(joined):
    """With another truth, every opinion stays what it was; only what it is measured by moves."""
    found = []
    for at, truth in enumerate((joined.truth, np.random.default_rng(0).permutation(joined.truth))):
        joined.write(joined.given, truth)
        out = joined.path / f"out{at}"
        words = ["bench", joined.manifest, "--truth", "label_true", "--label", "label", "--seeds", "1", "-q"]
        assert run([*words, "--features", joined.features, "--no-ceiling", "-o", str(out)]) == 0
        found.append(table(out))
    honest, permuted = found
    assert honest[SAID_WITHOUT_TRUTH].equals(permuted[SAID_WITHOUT_TRUTH])
    for downstream in ("downstream_given", "downstream_soft", "average_precision", "brier"):
        assert (honest[downstream] != permuted[downstream]).any()
    assert honest.true_rate[0] < 0.1
    assert permuted.true_rate[0] > 0.8


def test_given_labels_are_found_as_a_scan_finds_them(joined):
    out = joined.path / "out"
    words = ["bench", f"{joined.manifest}:label_true", "--features", joined.features, "--seeds", "1", "-q"]
    assert run([*words, "--method", "aum", "--no-ceiling", "--no-downstream", "-o", str(out)]) == 0
    rows = table(out)
    assert set(rows.noise) == {"label"}
    assert set(rows.rows) == {600}
    assert rows.true_rate[0] == pytest.approx(48 / 600)


def test_probabilities_of_ones_own_are_judged_without_features(joined):
    classes, codes = np.unique(joined.truth, return_inverse=True)
    rng = np.random.default_rng(0)
    logits = 2.5 * np.eye(len(classes))[codes] + rng.normal(size=(600, len(classes)))
    np.save(joined.path / "p.npy", np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True))
    out = joined.path / "out"
    words = ["bench", joined.manifest, "--truth", "label_true", "--label", "label", "--seeds", "1", "-q"]
    assert run([*words, "--pred-probs", str(joined.path / "p.npy"), "--no-ceiling", "-o", str(out)]) == 0
    rows = table(out).set_index("method")
    assert {"tmlc", "aum", "cleanlab", "constant", "nothing"} <= set(rows.index)
    assert (rows.held_out == 0).all()
    assert rows.average_precision["cleanlab"] > 0.5
    assert rows.downstream_given.isna().all()
    both = [*words, "--pred-probs", str(joined.path / "p.npy"), "--features", joined.features]
    assert run([*both, "--no-ceiling", "--no-downstream", "-o", str(joined.path / "both")]) == 0
    beside = table(joined.path / "both").set_index("method")
    assert (
        beside.average_precision["cleanlab"] == rows.average_precision["cleanlab"]
    )  # of the same probabilities
    assert beside.average_precision["aum"] != rows.average_precision["aum"]


def test_answers_about_the_same_items_are_weighed_against_each_other(joined):
    """Three answers an item, two of them right: without knowing who answered, little of it can be seen."""
    x, found = np.load(joined.features), {}
    three = np.repeat(np.arange(600), 3)
    given = joined.truth[three]
    given[::3] = joined.given
    np.save(joined.path / "x3.npy", x[three])
    lines = [f"i{row},{['ann', 'bob', 'cy'][at % 3]},{said},{joined.truth[row]}\n"
             for at, (row, said) in enumerate(zip(three, given, strict=True))]  # fmt: skip
    (joined.path / "answers.csv").write_text("item,who,label,label_true\n" + "".join(lines), "utf-8")
    (joined.path / "rows.csv").write_text("label,label_true\n" + "".join(
        f"{said},{joined.truth[row]}\n" for row, said in zip(three, given, strict=True)), "utf-8")  # fmt: skip
    for name, options in (("answers", ["--id-col", "item", "--annotator-col", "who"]), ("rows", [])):
        out = joined.path / name
        words = ["bench", str(joined.path / f"{name}.csv"), "--truth", "label_true", "--label", "label", "-q"]
        words += ["--features", str(joined.path / "x3.npy"), "--seeds", "1", "--method", "tmlc", *options]
        assert run([*words, "--no-ceiling", "--no-downstream", "-o", str(out)]) == 0
        found[name] = table(out).set_index("method").loc["tmlc"]
    assert found["answers"].average_precision > found["rows"].average_precision + 0.2
    assert found["answers"].ece < 0.03
    assert found["answers"].rate_estimate == pytest.approx(found["answers"].true_rate, abs=0.02)


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["--noise", "symetric:0.1"], 2, "unknown family 'symetric'; did you mean 'symmetric'?"),
        (["--noise", "pair:1.5"], 2, "'1.5' is no rate; write pair:RATE with a rate in 0 … 1"),
        (["--noise", "pair"], 2, "has no rate; write pair:RATE"),
        (["--noise", "pair:x"], 2, "'x' is no rate"),
        (["--noise", "pair:nan"], 2, "'nan' is no rate"),
        (["--label", "label", "--method", "tmcl"], 2, "unknown method 'tmcl'; did you mean 'tmlc'?"),
        (["--label", "labl"], 3, "no column 'labl'; did you mean 'label'?"),
        (["--noise", "pair:0.1", "--pred-probs", "p.npy"], 2, "no --noise can be injected"),
        (["--label", "label", "--label", "b", "--pred-probs", "p.npy"], 2, "once for each --label"),
        (["--label", "label", "--weights", "none.safetensors"], 3, "the TMLC weights cannot be read"),
    ],
)
def test_a_mistake_ends_with_one_sentence(joined, capsys, words, code, said):
    words = ["bench", joined.manifest, "--truth", "label_true", *words, "-q"]
    words += [] if "--pred-probs" in words else ["--features", joined.features]
    assert run([*words, "-o", str(joined.path / "out")]) == code
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith("error: ")
    assert error.count("\n") == 1


def test_a_truth_that_is_missing_or_unnamed_is_said(joined, capsys):
    rest = ["--features", joined.features, "-q", "-o", str(joined.path / "out")]
    assert run(["bench", joined.manifest, "--truth", "truth", *rest]) == 3
    assert "no column 'truth'" in capsys.readouterr().err
    assert run(["bench", joined.manifest, *rest]) == 2
    assert "which column is true?" in capsys.readouterr().err
    assert run(["bench", joined.manifest, "--truth", "label", *rest]) == 2
    assert "name their column with --label, or inject" in capsys.readouterr().err


def test_the_help_names_every_family_of_noise():
    shown = CliRunner().invoke(cli, ["bench", "--help"]).output
    assert f"Noise families: {', '.join(FAMILIES)} " in " ".join(shown.split())
