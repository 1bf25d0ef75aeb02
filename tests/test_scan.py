"""A scan finds planted errors, whatever evidence it is given and whoever judges."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.model_selection import cross_val_predict

import labelfix
from labelfix.correctors.dynamics import AverageMargin
from labelfix.errors import InconclusiveError, InputError, UsageError
from labelfix.findings import Findings, State
from labelfix.learn.recipe import Recipe
from labelfix.plugins import names
from labelfix.readers.interface import Columns
from labelfix.tmlc.level import Level

CLOTHING = Path(__file__).parent.parent / "examples" / "clothing"
CORRECTORS = ["tmlc", "tmlc-paper", "cleanlab", "aum", "mean-loss", "wrong-events"]


def rows(name: str) -> list[dict[str, str]]:
    with (CLOTHING / name).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def record(run: Path) -> dict[str, Any]:
    return json.loads((run / "run.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def wrong() -> np.ndarray:
    return np.array([bool(row["planted"]) for row in rows("truth.csv")])


@pytest.fixture(scope="module")
def clothing(cache, tmp_path_factory) -> Findings:
    out = tmp_path_factory.mktemp("clothing") / "run"
    return labelfix.scan(CLOTHING / "manifest.csv", out=out, cache=cache)


def test_planted_errors_are_found_far_above_chance_and_no_worse_than_by_cleanlab(clothing, wrong):
    ours = average_precision_score(wrong, clothing.column("suspicion"))
    theirs = average_precision_score(wrong, clothing.column("cleanlab.score"))
    assert ours > 5 * wrong.mean()
    assert ours >= theirs


def test_the_true_class_of_most_found_errors_is_suggested(clothing, wrong):
    true = np.array([row["label_true"] for row in rows("truth.csv")])
    found = wrong & clothing.column("is_label_error").astype(bool)
    assert found.sum() > wrong.sum() / 2
    assert (clothing.column("suggested")[found] == true[found]).mean() > 0.6


def test_findings_hold_every_row_of_the_manifest_in_its_order(clothing):
    given = rows("manifest.csv")
    assert clothing.column("id").tolist() == [row["file_name"] for row in given]
    assert clothing.column("image").tolist() == [row["file_name"] for row in given]
    assert clothing.column("label").tolist() == [row["label"] for row in given]


def test_ranks_follow_suspicion_and_no_more_rows_are_flagged_than_errors_are_expected(clothing):
    suspicion, order = clothing.column("suspicion"), clothing.order()
    assert sorted(clothing.column("rank")) == list(range(1, 601))
    assert (np.diff(suspicion[order]) <= 1e-6).all()
    flagged = clothing.column("is_label_error").astype(bool)
    assert 10 < flagged.sum() <= round(float(suspicion.sum()))
    assert flagged[order[: flagged.sum()]].all()
    assert (clothing.column("suggested") != clothing.column("label")).all()
    assert all(clothing.column("reason")[flagged])


def test_the_estimated_error_rate_comes_with_an_interval_around_it(clothing):
    found = clothing.meta["estimated_errors"]
    assert 0 <= found["low"] <= found["rate"] <= found["high"] <= 1
    assert found["rate"] == pytest.approx(clothing.column("suspicion").mean(), abs=1e-4)


def changed_labels(share: float, path: Path) -> Path:
    rng = np.random.default_rng(0)
    given = [(row["file_name"], row["label"]) for row in rows("manifest.csv")]
    classes = sorted({label for _, label in given})
    lines = [f"{name},{rng.choice(classes) if rng.random() < share else label}\n" for name, label in given]
    path.write_text("file_name,label\n" + "".join(lines), encoding="utf-8")
    return path


def test_a_scan_of_changed_labels_elsewhere_forwards_no_image(clothing, cache, tmp_path):
    manifest = changed_labels(0.05, tmp_path / "changed.csv")
    again = labelfix.scan(
        manifest, out=tmp_path / "other" / "run", cache=cache, columns=Columns(root=str(CLOTHING))
    )
    told = record(tmp_path / "other" / "run")
    assert told["counts"] == {"rows": 600, "forwarded": 0, "scored": 600}
    assert told["timings"]["backbone"] == 0
    assert (again.column("label") != clothing.column("label")).any()
    assert again.column("suspicion").mean() > clothing.column("suspicion").mean()


def test_only_images_never_seen_are_forwarded(clothing, cache, tmp_path):
    shutil.copytree(CLOTHING, tmp_path / "data")
    for number in (3, 5):
        path = tmp_path / "data" / "images" / f"{number:04}.jpg"
        with Image.open(path) as image:
            image.rotate(90).save(path, quality=90)
    shutil.copy(tmp_path / "data" / "images" / "0003.jpg", tmp_path / "data" / "images" / "0007.jpg")
    found = labelfix.scan(tmp_path / "data" / "manifest.csv", out=tmp_path / "run", cache=cache)
    assert record(tmp_path / "run")["counts"]["forwarded"] == 2
    group = found.column("duplicate_group")
    assert group[3] == group[7]
    assert rows("manifest.csv")[3]["label"] != rows("manifest.csv")[7]["label"]
    for row in (3, 7):
        assert "a copy of this image carries another label" in found.column("reason")[row]


def test_run_json_says_what_was_done(clothing, cache, tmp_path):
    labelfix.scan(CLOTHING / "manifest.csv", out=tmp_path / "run", cache=cache)
    told = record(tmp_path / "run")
    assert told["finished"] is True
    choices = Recipe().to_dict()
    del choices["workers"]  # changes nothing but the time it takes
    assert told["recipe"] == choices
    assert told["columns"] == {"image": "file_name", "label": "label"}
    stages = {
        "start",
        "read",
        "features",
        "backbone",
        "neighbours",
        "train",
        "kernel",
        "fit",
        "score",
        "write",
        "report",
    }
    assert set(told["timings"]) == stages
    assert all(seconds >= 0 for seconds in told["timings"].values())
    assert told["estimated_errors"] == clothing.meta["estimated_errors"]
    assert set(told["versions"]) >= {"labelfix", "torch", "cleanlab"}


def test_a_scan_leaves_a_page_with_the_images_unless_told_not_to(clothing, cache, tmp_path):
    labelfix.scan(CLOTHING / "manifest.csv", out=tmp_path / "run", cache=cache)
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    flagged = clothing.column("is_label_error").astype(bool)
    assert page.count("data:image/") >= flagged.sum()
    assert "No image" not in page
    labelfix.scan(CLOTHING / "manifest.csv", out=tmp_path / "bare", cache=cache, report=False)
    assert not (tmp_path / "bare" / "report.html").exists()
    labelfix.scan(CLOTHING / "manifest.csv", out=tmp_path / "bare", cache=cache, resume=True)
    assert (tmp_path / "bare" / "report.html").exists()


def test_the_loss_of_the_suggestion_is_recorded_beside_that_of_the_label(clothing, cache, tmp_path):
    labelfix.scan(CLOTHING / "manifest.csv", out=tmp_path / "run", cache=cache, report=False)
    table = pq.read_table(tmp_path / "run" / "trajectories.parquet")
    for block in ("in_sample", "out_of_fold"):
        given, other = (
            np.array(table.column(f"{block}.{kind}").to_pylist()) for kind in ("loss", "suggested_loss")
        )
        assert given.shape == other.shape
        assert (np.exp(-given) + np.exp(-other) <= 1 + 1e-5).all()
    wins = (other < given).mean(axis=1)
    flagged = clothing.column("is_label_error").astype(bool)
    assert wins[flagged].mean() > wins[~flagged].mean() + 0.5


# ---- evidence of the user's own


@pytest.fixture
def planted(plant):
    data = plant(rows=240, classes=4, wrong=16)
    model = LogisticRegression(max_iter=500)
    p = cross_val_predict(model, data.features, data.given, cv=5, method="predict_proba").astype(np.float32)
    p /= p.sum(axis=1, keepdims=True)
    np.save(data.path / "p.npy", p)
    np.savez(data.path / "both.npz", x=data.features, p=p)
    table = pa.table({"id": [f"r{i}" for i in range(240)], "label": [f"c{k}" for k in data.given]})
    table = table.append_column("x", pa.array(list(data.features))).append_column("p", pa.array(list(p)))
    pq.write_table(table, data.path / "m.parquet", row_group_size=100)
    return data


EVIDENCE = {
    "features": {"features": "x.npy"},
    "probabilities": {"pred_probs": "p.npy"},
    "both": {"features": "x.npy", "pred_probs": "p.npy"},
}


def scan(directory: Path, out: str, manifest: str = "m.csv", **options: Any) -> Findings:
    return labelfix.scan(
        directory / manifest,
        out=directory / out,
        columns=Columns(with_images=False, **options.pop("columns", {})),
        **options,
    )


@pytest.mark.parametrize(
    ("correctors", "trains_it"), [(["cleanlab", "aum"], False), (["cleanlab", "tmlc"], True)]
)
def test_the_second_learner_is_trained_if_somebody_hears_it(correctors, trains_it, planted, monkeypatch):
    monkeypatch.chdir(planted.path)
    scan(planted.path, "run", correctors=correctors, features="x.npy")
    assert (planted.path / "run" / "kernel.safetensors").exists() == trains_it
    assert ("kernel" in record(planted.path / "run")["timings"]) == trains_it


@pytest.mark.parametrize("evidence", EVIDENCE)
@pytest.mark.parametrize("corrector", CORRECTORS)
def test_every_corrector_ranks_planted_errors_first_and_gives_probabilities(
    corrector, evidence, planted, monkeypatch
):
    monkeypatch.chdir(planted.path)
    if corrector == "tmlc-paper" and evidence == "probabilities":
        with pytest.raises(UsageError, match="corrector 'tmlc-paper' needs base model"):
            scan(planted.path, "run", correctors=[corrector], **EVIDENCE[evidence])
        return
    found = scan(planted.path, "run", correctors=[corrector], **EVIDENCE[evidence])
    suspicion, soft = found.column("suspicion"), found.soft_labels()
    # Calibration may tie neighbouring scores; that of tmlc-paper ties 3 of the 16 with right labels.
    floor = 0.8 if corrector == "tmlc-paper" else 0.9
    assert average_precision_score(planted.wrong, suspicion) > floor
    assert average_precision_score(planted.wrong, found.column(f"{corrector}.score")) > 0.95
    assert suspicion.min() >= 0
    assert suspicion.max() <= 1
    assert soft.sum(axis=1) == pytest.approx(1, abs=1e-5)
    # A class too unlikely to be listed shares what is left over.
    assert soft[np.arange(240), planted.given] == pytest.approx(1 - suspicion, abs=1e-3)
    truth = np.array([f"c{k}" for k in planted.truth])
    assert (found.column("suggested")[planted.wrong] == truth[planted.wrong]).all()


def test_a_set_of_which_one_class_is_left_says_so(plant):
    planted = plant(rows=60, wrong=0)
    lines = [f"r{i},{'lonely' if i == 3 else 'many'}\n" for i in range(60)]
    (planted.path / "m.csv").write_text("id,label\n" + "".join(lines))
    with pytest.raises(
        InconclusiveError, match="only 59 of 60 rows can be judged, all of class 'many'; at least"
    ):
        scan(planted.path, "run", features=str(planted.path / "x.npy"))


@pytest.mark.parametrize("evidence", ["features", "both"])
def test_a_table_without_images_is_read_where_evidence_is_given(evidence, planted, monkeypatch):
    monkeypatch.chdir(planted.path)
    named = labelfix.scan("m.csv", out="named", **EVIDENCE[evidence])
    assert named.table.equals(scan(planted.path, "run", **EVIDENCE[evidence]).table)


@pytest.mark.parametrize(("name", "factor", "way"), [("small", 1e-5, "up"), ("large", 1e5, "down")])
def test_features_that_half_precision_cannot_hold_are_refused(name, factor, way, planted, monkeypatch):
    monkeypatch.chdir(planted.path)
    np.save(f"{name}.npy", planted.features * np.float32(factor))
    with pytest.raises(
        InputError, match=rf"{name}\.npy: the features do not fit into float16, .*scale them {way}"
    ):
        scan(planted.path, "run", features=f"{name}.npy")


def test_every_corrector_of_ours_is_tested_here():
    ours = [name for name, point in names("correctors").items() if point.value.startswith("labelfix.")]
    assert sorted(CORRECTORS) == ours


@pytest.mark.parametrize(
    ("manifest", "features", "probabilities"),
    [
        ("m.csv", "both.npz:x", "both.npz:p"),
        ("m.csv", "m.parquet:x", "m.parquet:p"),
        ("m.parquet", "x", "p"),
        ("m.parquet", "x.npy", "both.npz:p"),
    ],
)
def test_evidence_is_the_same_wherever_it_lies(manifest, features, probabilities, planted, monkeypatch):
    monkeypatch.chdir(planted.path)
    expected = scan(planted.path, "npy", features="x.npy", pred_probs="p.npy")
    found = scan(planted.path, "run", manifest, features=features, pred_probs=probabilities)
    assert found.table.equals(expected.table)


def test_given_probabilities_are_what_cleanlab_judges(planted, monkeypatch):
    monkeypatch.chdir(planted.path)
    p = np.load("p.npy")
    found = scan(planted.path, "run", features="x.npy", pred_probs="p.npy")
    assert found.column("cleanlab.score") == pytest.approx(1 - p[np.arange(240), planted.given], abs=1e-6)


def test_probabilities_whose_columns_stand_in_another_order_are_remarked_on(planted, monkeypatch):
    monkeypatch.chdir(planted.path)
    shuffled = np.load("p.npy")[:, [1, 2, 3, 0]]
    np.save("shuffled.npy", shuffled)
    scan(planted.path, "run", pred_probs="p.npy")
    assert record(planted.path / "run")["notes"] == []
    found = scan(planted.path, "shuffled", pred_probs="shuffled.npy")
    remark, verdict = record(planted.path / "shuffled")["notes"]
    assert (
        "column 0 (the first is 0) stands for class 'c0', but the rows likeliest there are labelled 'c1'"
        in remark
    )
    assert "most labels would be wrong" in verdict
    assert not found.column("auto_fix").any()


def test_a_corrector_without_its_evidence_is_refused(planted, monkeypatch):
    from labelfix.correctors.dynamics import AverageMargin
    from labelfix.correctors.interface import Needs

    monkeypatch.chdir(planted.path)
    monkeypatch.setattr(AverageMargin, "needs", Needs(required=frozenset({"neighbours"})))
    with pytest.raises(UsageError, match="corrector 'aum' needs neighbours"):
        scan(planted.path, "run", correctors=["aum"], pred_probs="p.npy")
    assert not (planted.path / "run" / "findings.parquet").exists()


# ---- columns that say more than the label


def with_column(data, name: str, values: list[Any]) -> None:
    given = pq.read_table(data.path / "m.parquet")
    pq.write_table(given.append_column(name, pa.array(values)), data.path / "more.parquet")


def test_rows_of_one_group_share_a_fold(planted, monkeypatch):
    monkeypatch.chdir(planted.path)
    patient = [f"p{i // 6}" if i >= 60 else "" for i in range(240)]
    with_column(planted, "patient", patient)
    scan(planted.path, "run", "more.parquet", features="x", columns={"group": "patient"})
    fold = pq.read_table(planted.path / "run" / "trajectories.parquet").column("fold").to_numpy()
    folds = {name: set(fold[[p == name for p in patient]]) for name in set(patient) - {""}}
    assert all(len(found) == 1 for found in folds.values())
    assert len({found.pop() for found in folds.values()}) == 5
    assert len(set(fold[:60])) == 5  # rows without a group stand alone


def test_a_whole_patient_with_one_wrong_label_stands_out_the_more_with_groups(plant, monkeypatch):
    data = plant(rows=300, classes=3, wrong=0)
    monkeypatch.chdir(data.path)
    features, given = data.features.copy(), data.given.copy()
    one = np.arange(0, 60, 3)  # 20 images of one patient, all of class 0 and called 2
    features[one] = features[0] + 0.8 * np.random.default_rng(1).normal(size=(20, 16))
    given[one] = 2
    np.save("x.npy", features)
    lines = [f"r{i},c{k},{'p' if i in one else f'q{i}'}\n" for i, k in enumerate(given)]
    (data.path / "m.csv").write_text("id,label,patient\n" + "".join(lines), encoding="utf-8")
    grouped = scan(data.path, "grouped", features="x.npy", columns={"group": "patient"})
    (data.path / "n.csv").write_text((data.path / "m.csv").read_text().replace("patient", "note"))
    alone = scan(data.path, "alone", "n.csv", features="x.npy")
    suspicion, before = grouped.column("suspicion"), alone.column("suspicion")
    assert suspicion[one].min() > 5 * np.delete(suspicion, one).max()
    assert suspicion[one].mean() > 1.3 * before[one].mean()


def test_trusted_rows_are_never_suspects(planted, monkeypatch):
    monkeypatch.chdir(planted.path)
    trusted = np.arange(240) < 8  # half of the planted errors, to see that trust wins
    with_column(planted, "verified", trusted.tolist())
    found = scan(planted.path, "run", "more.parquet", features="x", columns={"trusted": "verified"})
    assert (found.column("suspicion")[trusted] == 0).all()
    assert not found.column("is_label_error")[trusted].any()
    assert set(found.column("reason")[trusted]) == {"the label is trusted"}
    assert found.column("rank")[trusted].min() == 233
    assert (found.soft_labels()[trusted].max(axis=1) == 1).all()
    assert found.column("rank")[8:16].max() <= 16  # the errors that nobody vouches for come first


def test_answers_of_annotators_are_rows_of_their_own(planted, monkeypatch):
    monkeypatch.chdir(planted.path)
    three = np.repeat(np.arange(240), 3)
    given = planted.truth[three]
    given[::3] = planted.given  # ann's; bob and cy are right
    table = pa.table({
        "id": [f"r{i}" for i in three],
        "label": [f"c{k}" for k in given],
        "worker": ["ann", "bob", "cy"] * 240,
        "x": list(planted.features[three]),
    })  # fmt: skip
    pq.write_table(table, "answers.parquet")
    found = scan(planted.path, "run", "answers.parquet", features="x", columns={"annotator": "worker"})
    assert found.column("annotator").tolist() == table.column("worker").to_pylist()
    assert found.column("id").tolist() == table.column("id").to_pylist()
    wrong = given != planted.truth[three]
    assert average_precision_score(wrong, found.column("suspicion")) > 0.99
    assert found.column("suspicion").mean() == pytest.approx(wrong.mean(), abs=0.01)
    first = found.to_pandas().sort_values("rank").iloc[0]
    assert first["annotator"] == "ann"
    assert f"2 of 2 other annotators say {first['suggested']!r}" in first["reason"]
    items = pq.read_table(planted.path / "run" / "items.parquet").to_pandas()
    assert items["id"].tolist() == [f"r{i}" for i in range(240)]
    assert items["label"].tolist() == [f"c{k}" for k in planted.truth]
    assert (items["agree"] == np.where(planted.wrong, 2, 3)).all()
    copies = found.to_pandas()["duplicate_group"].astype(float)
    assert np.isnan(copies).all()  # answers about one item are none
    assert Level.of(State.load(planted.path / "run" / "state" / "tmlc.safetensors").settings).crowd


# ---- the Python API


def test_the_python_api_speaks_the_words_of_the_command_line(planted, monkeypatch):
    monkeypatch.chdir(planted.path)
    manifest = labelfix.read("m.csv", with_images=False)
    assert len(manifest) == 240
    findings = labelfix.scan(
        manifest, labelfix.Recipe(seed=1), correctors=["tmlc", "cleanlab"], out="run", features="x.npy"
    )
    first = findings.most_suspicious(16)
    assert first["rank"].tolist() == list(range(1, 17))
    assert set(first["id"]) == {f"r{i}" for i in range(16)}
    assert findings.soft_labels().shape == (240, 4)
    frame = findings.to_pandas()
    assert list(frame.columns) == findings.table.column_names
    assert len(frame) == len(findings) == 240
    assert findings.classes == manifest.classes == ("c0", "c1", "c2", "c3")
    assert findings.correctors == ("tmlc", "cleanlab")
    kept = Findings.read("run")
    assert kept.table.equals(findings.table)
    assert kept.meta == json.loads(json.dumps(findings.meta))


def test_a_model_that_knows_the_classes_poorly_is_said_to(planted, monkeypatch):
    monkeypatch.chdir(planted.path)
    scan(planted.path, "strong", features="x.npy")
    np.save("noise.npy", np.random.default_rng(0).normal(size=(240, 16)).astype(np.float32))
    found = scan(planted.path, "weak", features="noise.npy")
    told = [record(Path(run))["notes"] for run in ("strong", "weak")]
    assert [len(notes) for notes in told] == [0, 1]
    assert "the model knows next to nothing of these classes" in told[1][0]
    assert not found.column("auto_fix").any()


def test_correctors_may_be_objects_under_names_of_ones_own(planted, monkeypatch):
    monkeypatch.chdir(planted.path)
    mine = {"mine": AverageMargin(), "again": AverageMargin()}
    found = scan(planted.path, "run", correctors=mine, features="x.npy")
    assert found.correctors == ("mine", "again")
    assert (found.column("mine.score") == found.column("again.score")).all()
    assert average_precision_score(planted.wrong, found.column("suspicion")) > 0.9


def test_another_seed_is_another_run_that_says_nearly_the_same(planted, monkeypatch):
    monkeypatch.chdir(planted.path)
    one = labelfix.scan(
        "m.csv", Recipe(seed=1), out="one", features="x.npy", columns=Columns(with_images=False)
    )
    two = labelfix.scan(
        "m.csv", Recipe(seed=2), out="two", features="x.npy", columns=Columns(with_images=False)
    )
    difference = np.abs(one.column("suspicion") - two.column("suspicion"))
    assert 0 < difference.max() < 0.2


@pytest.mark.slow
def test_half_precision_does_not_change_the_order(tmp_path, cache):
    from scipy.stats import spearmanr

    found = {
        precision: labelfix.scan(
            CLOTHING / "manifest.csv", Recipe(precision=precision), out=tmp_path / precision, cache=cache
        ).column("suspicion")
        for precision in ("bfloat16", "float32")
    }
    assert spearmanr(found["bfloat16"], found["float32"]).statistic >= 0.99
