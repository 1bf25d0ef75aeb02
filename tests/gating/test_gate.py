"""A batch is judged by a reference: worse ones fail, and whatever else is wrong with one is seen."""

from __future__ import annotations

import csv
import json
import shutil
from datetime import date

import numpy as np
import pytest

import labelfix
from labelfix.errors import InconclusiveError, InputError, UsageError
from labelfix.findings import Findings
from labelfix.gating.baseline import Baseline

POLICY = labelfix.Policy(levels={"error_rate": "off"})


def check(verdict, name):
    (found,) = [one for one in verdict.checks if one.name == name]
    return found


def judge(batch, reference, policy=POLICY, **rest):
    return labelfix.gate(batch.manifest, reference, policy, setting=batch.setting, **rest)


@pytest.fixture(scope="module")
def good(make):
    return make(600, 30, seed=2, prefix="good")


@pytest.fixture(scope="module")
def bad(make):
    return make(600, 120, seed=3, prefix="bad")


DRAWN = pytest.approx(0.22, abs=0.05)
"""Rate of a batch with a fifth of its labels drawn at random. People's errors look milder, and the gate allows for it,
so that it takes a difference in these for up to a third more than it is."""


def test_a_batch_as_good_as_the_reference_passes_and_a_worse_one_fails(run, good, bad):
    passed, failed = judge(good, run), judge(bad, run)
    assert (passed.outcome, passed.exit_code) == ("pass", 0)
    assert (failed.outcome, failed.exit_code) == ("fail", 1)
    rate = check(failed, "error_rate_above_reference")
    assert rate.low < 0.15 < rate.high
    assert failed.rate[0] == DRAWN


def test_a_batch_may_be_larger_than_the_reference(run, make):
    verdict = judge(make(2000, 400, seed=12, prefix="large"), run)
    assert verdict.outcome == "fail"
    assert verdict.rate[0] == DRAWN


def test_planted_errors_are_the_findings(run, bad):
    verdict = judge(bad, run)
    wrong = set(np.flatnonzero(bad.truth != bad.given))
    found = [one.row for one in verdict.findings]
    assert len(wrong & set(found)) > 0.7 * len(wrong)
    assert len(wrong & set(found)) > 0.8 * len(found)
    suspicion = [one.suspicion for one in verdict.findings]
    assert suspicion == sorted(suspicion, reverse=True)


def test_an_all_bad_batch_does_not_look_normal(run, make):
    verdict = judge(make(200, 200, seed=4), run)
    assert verdict.outcome == "fail"
    assert verdict.rate[0] > 0.8


def test_the_portable_file_says_the_same_and_is_small(run, reference, bad):
    one, other = judge(bad, run), judge(bad, reference)
    assert one.outcome == other.outcome
    assert other.rate[0] == pytest.approx(one.rate[0], abs=0.01)
    assert {f.id for f in other.findings} ^ {f.id for f in one.findings} <= {f.id for f in one.findings[-10:]}
    assert reference.stat().st_size < sum(p.stat().st_size for p in run.rglob("*") if p.is_file())


def test_findings_are_those_that_a_scan_would_write_and_the_report_reads_them(run, bad, tmp_path):
    judge(bad, run, findings=tmp_path / "f.parquet")
    found = Findings.read(tmp_path / "f.parquet")
    assert len(found) == 600
    assert found.meta["reference"] == str(run)
    assert set(Findings.read(run).table.column_names) == set(found.table.column_names)


def test_a_batch_that_is_the_reference_is_told_so_and_scored_by_heads_that_saw_none_of_it(run, last_month):
    verdict = judge(last_month, run)
    overlap = check(verdict, "reference_overlap")
    assert (overlap.outcome, overlap.value) == ("fail", 1.0)
    assert verdict.rate[0] == pytest.approx(0.05, abs=0.03)
    wrong = set(np.flatnonzero(last_month.truth != last_month.given))
    assert len(wrong & {one.row for one in verdict.findings}) > 0.6 * len(wrong)


def test_a_copy_with_another_label_conflicts_with_the_reference(run, make, last_month):
    again = make(300, 15, seed=8)
    x = np.load(again.features)
    x[:10] = np.load(last_month.features)[:10]
    np.save(again.features, x)
    rows = list(csv.reader(again.manifest.open(encoding="utf-8")))
    for i in range(10):
        rows[i + 1][1] = f"c{(last_month.given[i] + (i < 6)) % 4}"
    rows[10][1] = "of no class that is known"
    again.manifest.write_text("\n".join(map(",".join, rows)) + "\n", encoding="utf-8")
    verdict = judge(again, run)
    assert check(verdict, "reference_overlap").rows == tuple(range(10))
    assert set(range(6)) <= set(check(verdict, "conflicting_duplicate_rate").rows)
    assert 9 in check(verdict, "conflicting_duplicate_rate").rows
    assert not {6, 7, 8} & set(check(verdict, "conflicting_duplicate_rate").rows)


def test_unknown_classes_and_missing_labels_have_checks_of_their_own_and_are_not_scored(run, make):
    batch = make(300, 15, seed=9)
    text = batch.manifest.read_text(encoding="utf-8").splitlines()
    text[1], text[2] = "r0,zebra", "r1,"
    batch.manifest.write_text("\n".join(text) + "\n", encoding="utf-8")
    verdict = judge(batch, run)
    assert verdict.outcome == "fail"
    assert check(verdict, "unknown_class_rate").rows == (0,)
    assert "does not know ('zebra' (1)); none may" in check(verdict, "unknown_class_rate").message
    assert check(verdict, "unlabelled_rate").rows == (1,)
    assert verdict.scored == 298


def test_other_classes_and_other_features_are_seen_as_drift(run, make):
    batch = make(400, 20, seed=10)
    keep = batch.given != 3
    shifted = np.load(batch.features) + np.where(np.arange(24) < 6, 2.5, 0).astype(np.float32)
    np.save(batch.features, shifted[keep])
    rows = [f"r{i},c{k}" for i, k in enumerate(batch.given[keep])]
    batch.manifest.write_text("id,label\n" + "\n".join(rows) + "\n", encoding="utf-8")
    policy = labelfix.Policy(class_mix_drift=0.05, levels={"error_rate": "off"})
    verdict = judge(batch, run, policy)
    assert check(verdict, "class_mix_drift").outcome == "warn"
    assert check(verdict, "feature_drift").outcome == "warn"
    same = judge(make(400, 20, seed=11), run, policy)
    assert check(same, "class_mix_drift").outcome == check(same, "feature_drift").outcome == "pass"


def test_a_sloppy_annotator_and_a_bad_camera_are_named(run, make):
    rng = np.random.default_rng(0)
    batch = make(
        600, 0, seed=12, annotator=[f"a{i % 3}" for i in range(600)], camera=[f"k{i % 2}" for i in range(600)]
    )
    lines = batch.manifest.read_text(encoding="utf-8").splitlines()
    for i in range(0, 600, 3):  # a0 is wrong every other time
        if rng.random() < 0.5:
            cells = lines[i + 1].split(",")
            cells[1] = f"c{(batch.truth[i] + 1) % 4}"
            lines[i + 1] = ",".join(cells)
    batch.manifest.write_text("\n".join(lines) + "\n", encoding="utf-8")
    policy = labelfix.Policy(
        columns=("camera",), levels={"annotator_error_rate": "fail", "error_rate": "off"}
    )
    verdict = judge(batch, run, policy)
    found = check(verdict, "annotator_error_rate")
    assert found.outcome == "fail"
    assert [part.name for part in found.parts if part.exceeds] == ["a0"]
    assert {part.name for part in check(verdict, "column_error_rate.camera").parts} == {"k0", "k1"}


def test_few_rows_are_inconclusive_but_what_can_be_counted_still_fails(run, make):
    few = make(20, 10, seed=13)
    assert judge(few, run).outcome == "inconclusive"
    text = few.manifest.read_text(encoding="utf-8").replace("r0,c", "r0,zebra")
    few.manifest.write_text(text, encoding="utf-8")
    assert judge(few, run).outcome == "fail"


def test_a_model_that_cannot_tell_is_inconclusive(make, tmp_path):
    noise = make(400, 300, seed=14)
    labelfix.scan(
        labelfix.read(noise.manifest, with_images=False), out=tmp_path / "run", features=str(noise.features)
    )
    verdict = judge(make(300, 225, seed=15), tmp_path / "run")
    assert verdict.outcome == "inconclusive"
    assert "too weak" in check(verdict, "error_rate_above_reference").message


def test_without_a_reference_a_large_batch_is_cross_validated_and_a_small_one_is_not(bad, make):
    verdict = labelfix.gate(bad.manifest, setting=bad.setting)
    assert verdict.outcome == "fail"
    assert check(verdict, "error_rate").value == pytest.approx(0.2, abs=0.08)
    few = make(100, 5, seed=16)
    with pytest.raises(InconclusiveError, match="min_rows_alone"):
        labelfix.gate(few.manifest, setting=few.setting)


def test_a_finished_scan_is_judged_by_itself(run):
    verdict = labelfix.gate(run)
    assert verdict.reference is None
    assert verdict.rate[0] == pytest.approx(0.05, abs=0.04)
    with pytest.raises(UsageError, match="judged by itself"):
        labelfix.gate(run, run)


def test_a_finished_scan_has_the_rate_that_the_scan_said(run):
    said = json.loads((run / "run.json").read_text())["estimated_errors"]["rate"]
    assert labelfix.gate(run).rate[0] == pytest.approx(said, abs=0.003)


def test_trusted_rows_count_as_right_and_are_no_findings(run, make):
    batch = make(400, 80, seed=17, trusted=["1" if i < 200 else "0" for i in range(400)])
    verdict = judge(batch, run)
    assert all(one.row >= 200 for one in verdict.findings)
    alone = make(400, 80, seed=17)
    assert verdict.rate[0] < 0.7 * judge(alone, run).rate[0]


def test_audited_rows_of_the_reference_set_its_level(run, last_month, good, tmp_path):
    from dataclasses import replace

    rates = []
    for more in (0, 5):  # as things are; had somebody found every fifth label wrong as well
        truth = [f"c{(k + (more and i % more == 0)) % 5}" for i, k in enumerate(last_month.truth)]
        lines = "".join(f"old{i},{k}\n" for i, k in enumerate(truth))
        (tmp_path / "audit.csv").write_text("id,label\n" + lines, encoding="utf-8")
        setting = replace(good.setting, audited=tmp_path / "audit.csv")
        rates.append(labelfix.gate(good.manifest, run, POLICY, setting=setting).rate)
    assert rates[0][1] <= 0.05 <= rates[0][2]
    assert rates[1][0] > rates[0][2] + 0.05
    (tmp_path / "audit.csv").write_text("id,label\nnobody,c1\n", encoding="utf-8")
    with pytest.raises(InputError, match="none of its 1 ids"):
        labelfix.gate(
            good.manifest, run, POLICY, setting=replace(good.setting, audited=tmp_path / "audit.csv")
        )


def test_rows_in_another_order_are_judged_the_same(run, bad, make, tmp_path):
    lines = bad.manifest.read_text(encoding="utf-8").splitlines()
    order = np.random.default_rng(0).permutation(600)
    (tmp_path / "m.csv").write_text(
        "\n".join([lines[0], *(lines[i + 1] for i in order)]) + "\n", encoding="utf-8"
    )
    np.save(tmp_path / "x.npy", np.load(bad.features)[order])
    from dataclasses import replace

    moved = replace(bad, manifest=tmp_path / "m.csv", features=tmp_path / "x.npy")
    one, other = judge(bad, run), judge(moved, run)
    assert {f.id: round(f.suspicion, 4) for f in one.findings} == {
        f.id: round(f.suspicion, 4) for f in other.findings
    }
    assert one.rate == pytest.approx(other.rate, abs=1e-4)


def test_a_reference_of_an_older_scan_or_with_mixed_files_is_refused(run, good, tmp_path):
    old = shutil.copytree(run, tmp_path / "old")
    (old / "unseen.safetensors").unlink()
    with pytest.raises(InputError, match="older labelfix"):
        judge(good, old)
    with pytest.raises(UsageError, match="made with --features"):
        labelfix.gate(good.manifest, run, setting=labelfix.gatekeeping.Setting(good.setting.columns))


def test_a_reference_of_another_version_is_remarked(run, good, tmp_path):
    other = shutil.copytree(run, tmp_path / "other")
    record = (other / "run.json").read_text(encoding="utf-8")
    current = f'"labelfix": "{labelfix.__version__}"'
    assert current in record
    (other / "run.json").write_text(record.replace(current, '"labelfix": "0.0.9"'), encoding="utf-8")
    assert any("made by labelfix 0.0.9" in note for note in judge(good, other).notes)
    assert not any("made by" in note for note in judge(good, run).notes)


class TestBaseline:
    """New, unchanged, fixed and waived findings."""

    def test_what_is_in_the_baseline_is_not_new(self, run, bad, tmp_path):
        path = tmp_path / "base.json"
        first = judge(bad, run, baseline=path, update_baseline=True)
        assert first.comparison.new == 0
        assert check(first, "new_findings").outcome == "pass"
        again = judge(bad, run, baseline=path)
        assert again.comparison.unchanged == len(again.findings) > 0
        assert again.outcome == "fail"  # the rate looks at the whole batch

    def test_a_changed_label_is_new_and_what_was_mended_is_fixed(self, run, bad, tmp_path):
        path = tmp_path / "base.json"
        before = judge(bad, run, baseline=path, update_baseline=True)
        worst, other = before.findings[0], before.findings[1]
        right = {one.row: f"c{bad.truth[one.row]}" for one in (worst,)}
        lines = bad.manifest.read_text(encoding="utf-8").splitlines()
        lines[worst.row + 1] = f"{worst.id},{right[worst.row]}"
        still = next(k for k in range(4) if f"c{k}" not in {other.label, f"c{bad.truth[other.row]}"})
        lines[other.row + 1] = f"{other.id},c{still}"
        from dataclasses import replace

        (tmp_path / "m.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
        after = judge(replace(bad, manifest=tmp_path / "m.csv"), run, baseline=path)
        assert [one.id for one in after.findings if one.state == "new"] == [other.id]
        assert after.comparison.fixed == 2
        assert check(after, "new_findings").outcome == "fail"

    def test_a_waived_row_counts_as_confirmed_until_its_date(self, run, bad, tmp_path):
        path = tmp_path / "base.json"
        plain = judge(bad, run, baseline=path, update_baseline=True)
        held = Baseline.read(path)
        today = date.today()  # noqa: DTZ011 (waivers end on the user's own day)
        later, past = today.replace(year=today.year + 1, day=1), today.replace(year=today.year - 1, day=1)
        from labelfix.gating.baseline import Waiver

        waivers = tuple(Waiver(one, "looked at it", later) for one in held.findings)
        Baseline(str(path), frozenset(), waivers).write()
        waived = judge(bad, run, baseline=path)
        assert waived.comparison.waived == len(plain.findings)
        assert waived.rate[0] < 0.3 * plain.rate[0]
        expired = tuple(Waiver(one, "looked at it", past) for one in held.findings)
        Baseline(str(path), frozenset(), expired).write()
        late = judge(bad, run, baseline=path)
        assert (late.comparison.waived, late.comparison.new) == (0, len(plain.findings))
        assert check(late, "expired_waivers").outcome == "warn"

    def test_the_baseline_of_another_manifest_is_remarked(self, run, bad, good, tmp_path):
        judge(bad, run, baseline=tmp_path / "b.json", update_baseline=True)
        verdict = judge(good, run, baseline=tmp_path / "b.json")
        assert any("another manifest" in note for note in verdict.notes)

    @pytest.mark.parametrize(
        ("text", "says"),
        [
            ("{", "is no JSON"),
            ("[]", "is no baseline"),
            ('{"labelfix_baseline": 9}', "another labelfix"),
            ('{"labelfix_baseline": 1, "waiver": []}', "did you mean 'waivers'"),
            ('{"labelfix_baseline": 1, "findings": [{"id": "a"}]}', "findings[0] must have"),
            (
                '{"labelfix_baseline": 1, "waivers": [{"id": "a", "content": "", "label": "b"}]}',
                "has no reason",
            ),
            (
                '{"labelfix_baseline": 1, "waivers": [{"id": "a", "content": "", "label": "b", "reason": "r"}]}',
                "must be a date",
            ),
        ],
    )
    def test_a_broken_baseline_is_named(self, tmp_path, text, says):
        (tmp_path / "b.json").write_text(text, encoding="utf-8")
        with pytest.raises(UsageError) as raised:
            Baseline.read(tmp_path / "b.json")
        assert says in str(raised.value)


@pytest.mark.parametrize("asked", [0, 12])
def test_a_reference_whose_labels_are_known_to_be_right_serves(make, good, bad, tmp_path, asked):
    golden = make(1200, 0, seed=21, prefix="gold", ok=["0"] * asked + ["1"] * (1200 - asked))
    manifest = labelfix.read(golden.manifest, with_images=False, trusted_col="ok")
    labelfix.scan(manifest, out=tmp_path / "run", features=str(golden.features))
    clean = make(600, 0, seed=22, prefix="clean")
    assert judge(clean, tmp_path / "run").outcome == "pass"
    assert judge(bad, tmp_path / "run").outcome == "fail"


def test_a_reference_of_models_by_fold_says_so_also_where_the_mode_was_chosen(run, good, tmp_path):
    shutil.copytree(run, tmp_path / "run")
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    record["recipe"]["mode"], record["chosen"]["mode"] = "auto", "finetune"
    record["recipe"]["finetune"]["by_fold"] = True
    (tmp_path / "run" / "run.json").write_text(json.dumps(record))
    with pytest.raises(UsageError, match="was scanned with --finetune-folds"):
        judge(good, tmp_path / "run")
