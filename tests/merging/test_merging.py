"""Answers go into the manifest with their meaning; bad ones are named and nothing is written."""

from __future__ import annotations

import csv
import json

import numpy as np
import pyarrow.parquet as pq
import pytest

import labelfix
from labelfix.cli import run as command
from labelfix.errors import InputError, UsageError


def table(path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def answers(path, said, name="a.csv", **more):
    """Write a plain CSV of answers."""
    lines = [{"id": id_, "answer": word, **more} for id_, word in said]
    with (path / name).open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, lines[0])
        writer.writeheader()
        writer.writerows(lines)
    return path / name


def test_each_answer_has_its_meaning(letters, tmp_path):
    said = [
        ("r0", "a"),
        ("r1", "c"),
        ("r2", "none of these"),
        ("r3", "unsure"),
        ("r4", "bad image"),
        ("r5", "exclude"),
    ]
    merged = labelfix.merge(letters(), answers(tmp_path, said), tmp_path / "fixed.csv")
    rows = {row["id"]: row for row in table(tmp_path / "fixed.csv")}
    assert [rows[f"r{i}"]["label"] for i in range(7)] == ["a", "c", "", "a", "", "", "a"]
    assert [rows[f"r{i}"]["labelfix.previous_label"] for i in range(7)] == ["a", "b", "c", "a", "b", "c", ""]
    words = ["confirmed", "corrected", "none of these", "unsure", "bad image", "exclude", ""]
    assert [rows[f"r{i}"]["labelfix.decision"] for i in range(7)] == words
    assert [rows[f"r{i}"]["labelfix.trusted"] for i in range(7)] == ["true", "true", *["false"] * 4, ""]
    assert all(row["note"] == f"note {row['id'][1:]}" for row in rows.values())
    assert rows["r1"]["labelfix.source"] == "a.csv"
    assert rows["r1"]["labelfix.at"]
    assert merged.decisions == dict.fromkeys(words[:-1], 1)


def test_the_next_scan_trusts_what_was_answered(letters, tmp_path):
    labelfix.merge(letters(), answers(tmp_path, [("r0", "a"), ("r1", "c")]), tmp_path / "fixed.csv")
    fixed = labelfix.read(tmp_path / "fixed.csv", with_images=False)
    assert np.flatnonzero(fixed.trusted).tolist() == [0, 1]
    assert fixed.columns["label"] == "label"


def test_answers_add_to_the_users_own_trusted_column(tmp_path, make_run):
    lines = "".join(f"r{i},{'ab'[i % 2]},{'yes' if i == 3 else 'no'}\n" for i in range(6))
    (tmp_path / "m.csv").write_text(f"id,label,trusted\n{lines}", encoding="utf-8")
    found = make_run(tmp_path / "m.csv", tmp_path / "run")
    labelfix.merge(found, answers(tmp_path, [("r0", "b")]), tmp_path / "fixed.csv")
    assert np.flatnonzero(labelfix.read(tmp_path / "fixed.csv", with_images=False).trusted).tolist() == [0, 3]


def test_more_annotators_decide_and_ties_stay_open(letters, tmp_path):
    votes = {"ann": "ccu", "bob": "cau", "cyn": "bca"}
    words = {"a": "a", "b": "b", "c": "c", "u": "unsure"}
    files = [
        answers(tmp_path, [(f"r{i}", words[v]) for i, v in enumerate(said)], f"{who}.csv", annotator=who)
        for who, said in votes.items()
    ]
    merged = labelfix.merge(letters(), files, tmp_path / "fixed.csv")
    rows = {row["id"]: row for row in table(tmp_path / "fixed.csv")}
    assert (rows["r0"]["label"], rows["r0"]["labelfix.agreement"][:4]) == ("c", "0.66")
    assert (rows["r1"]["labelfix.decision"], rows["r1"]["label"]) == ("corrected", "c")
    assert (rows["r2"]["labelfix.decision"], rows["r2"]["label"]) == ("corrected", "a")
    assert rows["r0"]["labelfix.annotators"] == "ann; bob; cyn"
    shares = {one.name: one.agreement for one in merged.annotators}
    assert shares["ann"] > shares["bob"]
    tie = labelfix.merge(tmp_path / "run", files[:2], tmp_path / "tie.csv")
    assert tie.decisions["disputed"] == 1
    assert {row["id"]: row for row in table(tmp_path / "tie.csv")}["r1"]["label"] == "b"


def test_marks_of_the_report_are_read(letters, tmp_path):
    (tmp_path / "marks.csv").write_text(
        "id,label,decision\nr0,b,accept\nr1,c,reject\nr2,a,relabel\n", encoding="utf-8"
    )
    labelfix.merge(letters(), tmp_path / "marks.csv", tmp_path / "fixed.csv")
    rows = table(tmp_path / "fixed.csv")
    assert [row["label"] for row in rows[:3]] == ["b", "b", "a"]
    assert [row["labelfix.decision"] for row in rows[:3]] == ["corrected", "confirmed", "corrected"]


@pytest.mark.parametrize(
    ("said", "message"),
    [([("r0", "d")], "says 'd', which is no class"), ([("x9", "a")], "'x9', which .* does not hold")],
)
def test_unknown_ids_and_classes_are_named_and_nothing_is_written(letters, tmp_path, said, message):
    file = answers(tmp_path, [*said, ("r1", "c")])
    with pytest.raises(InputError, match=message):
        labelfix.merge(letters(), file, tmp_path / "fixed.csv")
    assert not (tmp_path / "fixed.csv").exists()
    merged = labelfix.merge(tmp_path / "run", file, tmp_path / "fixed.csv", set_aside=True)
    assert merged.decisions == {"corrected": 1}
    assert "set aside" in merged.notes[0]


def test_a_new_class_is_taken_when_it_is_meant(letters, tmp_path):
    file = answers(tmp_path, [("r0", "d")])
    labelfix.merge(letters(), file, tmp_path / "fixed.csv", new_classes=["d"])
    assert table(tmp_path / "fixed.csv")[0]["label"] == "d"


def test_the_same_answer_twice_counts_once_and_the_latest_wins(letters, tmp_path):
    said = [("r0", "b"), ("r0", "c"), ("r1", "c")]
    file = answers(tmp_path, said, annotator="ann")
    merged = labelfix.merge(letters(), [file, file], tmp_path / "fixed.csv")
    assert merged.decisions == {"corrected": 2}
    assert table(tmp_path / "fixed.csv")[0]["label"] == "c"
    assert "twice" in merged.notes[0]


def test_merging_again_gives_the_same(letters, tmp_path):
    file = answers(tmp_path, [("r0", "b")], answered_at="2024-01-01")
    for name in ("one.csv", "two.csv"):
        labelfix.merge(tmp_path / "run" if name == "two.csv" else letters(), file, tmp_path / name)
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()


def test_a_second_round_keeps_what_the_first_one_said(letters, tmp_path, make_run):
    labelfix.merge(letters(), answers(tmp_path, [("r0", "b")]), tmp_path / "one.csv")
    second = make_run(tmp_path / "one.csv", tmp_path / "run2")
    labelfix.merge(second, answers(tmp_path, [("r1", "c")]), tmp_path / "two.csv")
    rows = table(tmp_path / "two.csv")
    assert [row["labelfix.previous_label"] for row in rows[:3]] == ["a", "b", ""]
    assert list(rows[0]) == list(table(tmp_path / "one.csv")[0])


def test_answers_of_another_runs_queue_are_taken_and_said_so(letters, tmp_path):
    file = answers(tmp_path, [("r0", "b")], queue="qother")
    merged = labelfix.merge(letters(), file, tmp_path / "fixed.csv")
    assert merged.decisions == {"corrected": 1}
    assert "queue of another run" in merged.notes[0]


def test_an_answer_about_another_image_is_left_out(tmp_path, make_run):
    from PIL import Image

    for i in range(6):
        Image.new("RGB", (4, 4), (i, 0, 0)).save(tmp_path / f"{i}.png")
    (tmp_path / "m.csv").write_text("image,label\n" + "".join(f"{i}.png,{'ab'[i % 2]}\n" for i in range(6)))
    found = make_run(tmp_path / "m.csv", tmp_path / "run")
    labelfix.export(found, "jsonl", tmp_path / "q.jsonl", min_suspicion=0.0)
    tasks = [json.loads(line) for line in (tmp_path / "q.jsonl").read_text().splitlines()]
    (tmp_path / "a.jsonl").write_text(
        "".join(json.dumps({**t, "answer": t["suggested"]}) + "\n" for t in tasks)
    )
    Image.new("RGB", (4, 4), (99, 0, 0)).save(tmp_path / "2.png")
    merged = labelfix.merge(found, tmp_path / "a.jsonl", tmp_path / "fixed.csv")
    assert merged.decisions == {"corrected": 5}
    assert "another image" in merged.notes[0]
    assert "2.png" in merged.notes[0]


def test_a_half_annotated_queue_leaves_the_rest_open(letters, tmp_path):
    found = letters(30)
    labelfix.export(found, "csv", tmp_path / "q.csv", budget=20, audit=8)
    rows = table(tmp_path / "q.csv")
    for row in rows[::2]:
        row["answer"] = row["label"]
    with (tmp_path / "a.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    merged = labelfix.merge(found, tmp_path / "a.csv", tmp_path / "fixed.csv")
    assert (merged.open, merged.decisions) == (10, {"confirmed": 10})
    assert merged.left is not None
    assert not merged.left.complete
    fixed = {row["id"]: row for row in table(tmp_path / "fixed.csv")}
    drawn = [row for row in rows[::2] if float(row["drawn_with"]) < 1]
    assert {row["labelfix.round"] for row in fixed.values()} == {"1", ""}
    stands_for = {id_: row["labelfix.stands_for"] for id_, row in fixed.items() if row["labelfix.stands_for"]}
    assert stands_for.keys() == {row["id"] for row in drawn}
    assert sum(map(float, stands_for.values())) == pytest.approx(30 - 10)


def test_number_labels_keep_their_spelling(tmp_path, make_run):
    (tmp_path / "m.csv").write_text("id,label\n" + "".join(f"r{i},{i % 2}.0\n" for i in range(6)))
    found = make_run(tmp_path / "m.csv", tmp_path / "run")
    labelfix.merge(found, answers(tmp_path, [("r0", "1")]), tmp_path / "fixed.csv")
    assert table(tmp_path / "fixed.csv")[0]["label"] == "1.0"


def test_a_folder_of_images_becomes_a_table_that_is_scanned_with_it(tmp_path, make_run):
    from PIL import Image

    for i in range(6):
        (tmp_path / "photos" / "ab"[i % 2]).mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (4, 4), (i, 0, 0)).save(tmp_path / "photos" / "ab"[i % 2] / f"{i}.png")
    found = make_run(tmp_path / "photos", tmp_path / "run")
    merged = labelfix.merge(found, answers(tmp_path, [("a/0.png", "b")]))
    fixed = labelfix.read(merged.out, images=tmp_path / "photos")
    assert fixed.classes[fixed.labels[list(fixed.ids).index("a/0.png")]] == "b"


def test_a_row_that_is_one_annotators_answer_is_corrected_for_all(tmp_path, make_run):
    lines = [f"r{i},{who},{'ab'[(i + (who == 'y')) % 2]}" for i in range(4) for who in "xy"]
    (tmp_path / "m.csv").write_text("id,annotator,label\n" + "\n".join(lines) + "\n")
    found = make_run(tmp_path / "m.csv", tmp_path / "run")
    labelfix.export(found, "csv", tmp_path / "q.csv", min_suspicion=0.0)
    assert len(table(tmp_path / "q.csv")) == 4
    labelfix.merge(found, answers(tmp_path, [("r0", "b")]), tmp_path / "fixed.csv")
    rows = table(tmp_path / "fixed.csv")
    assert [(row["label"], row["labelfix.previous_label"]) for row in rows[:2]] == [("b", "a"), ("b", "b")]
    assert [row["labelfix.decision"] for row in rows[:2]] == [
        "corrected",
        "confirmed",
    ]  # the second was right
    told = labelfix.read(tmp_path / "fixed.csv", with_images=False)
    verdicts = told.rounds.verdicts(told.labels)
    assert verdicts.rows.tolist() == [0, 1]
    assert verdicts.wrong.tolist() == [True, False]


@pytest.fixture
def items(tmp_path, make_run):
    """Forty items with three answers each, x's, y's and z's; for r0 they are a, b and c."""
    given = {who: [("abc"[(i + k) % 3]) for i in range(40)] for k, who in enumerate("xyz")}
    lines = [f"r{i},{who},{given[who][i]}" for i in range(40) for who in "xyz"]
    (tmp_path / "m.csv").write_text("id,annotator,label\n" + "\n".join(lines) + "\n")
    return make_run(tmp_path / "m.csv", tmp_path / "run")


def decided(path, name="d.csv", **said):
    """Write what the report's page would: id, the label that was shown or chosen, and the decision."""
    lines = [f"{id_},{label},{decision}" for id_, pairs in said.items() for label, decision in pairs]
    (path / name).write_text("id,label,decision\n" + "\n".join(lines) + "\n")
    return path / name


@pytest.mark.parametrize("label", "abc")
def test_the_answer_that_a_reader_upholds_is_the_items_label(items, tmp_path, label):
    labelfix.merge(items, decided(tmp_path, r0=[(label, "reject")]), tmp_path / "fixed.csv")
    assert [row["label"] for row in table(tmp_path / "fixed.csv")[:4]] == [label] * 3 + ["b"]


def test_an_upheld_answer_that_is_no_class_is_refused(items, tmp_path):
    with pytest.raises(InputError, match="says 'cart', which is no class"):
        labelfix.merge(items, decided(tmp_path, r0=[("cart", "reject")]), tmp_path / "fixed.csv")


def test_answers_of_one_item_that_contradict_each_other_are_refused(items, tmp_path):
    both = decided(tmp_path, r0=[("a", "reject"), ("b", "reject")])
    with pytest.raises(InputError, match="says 'b' of 'r0', and another answer says 'a'"):
        labelfix.merge(items, both, tmp_path / "fixed.csv")
    same = decided(tmp_path, r0=[("a", "reject"), ("a", "accept")])
    assert sum(labelfix.merge(items, same, tmp_path / "fixed.csv").decisions.values()) == 1


def test_a_merge_counts_items_by_the_answer_that_was_asked_about(items, tmp_path):
    labelfix.export(items, "csv", tmp_path / "q.csv", budget=20, audit=12)
    asked = table(tmp_path / "q.csv")
    right = [(row["id"], row["label"]) for row in asked]
    kept = labelfix.merge(items, answers(tmp_path, right), tmp_path / "kept.csv")
    assert (kept.unit, kept.rows, kept.unanswered) == ("item", 40, 20)
    assert kept.decisions == {"confirmed": 20}
    assert kept.precision[0] == kept.audit[0] == 0
    assert sum(kept.precision) + sum(kept.audit) == 20
    other = [(row["id"], row["suggested"]) for row in asked]
    wrong = labelfix.merge(items, answers(tmp_path, other), tmp_path / "wrong.csv")
    assert wrong.decisions == {"corrected": 20}
    assert wrong.suggested == (20, 0)
    assert wrong.left.drawn == 12
    rows = [row for row in table(tmp_path / "wrong.csv") if row["labelfix.stands_for"]]
    assert len(rows) == 3 * 12
    assert sum(float(row["labelfix.stands_for"]) for row in rows) == pytest.approx(3 * 20)


def test_rows_that_are_trusted_are_not_left_to_ask_about_however_often_is_merged(tmp_path, make_run):
    lines = [f"r{i},{'ab'[i % 2]},{i < 20}" for i in range(60)]
    (tmp_path / "m.csv").write_text("id,label,trusted\n" + "\n".join(lines) + "\n")
    found = make_run(tmp_path / "m.csv", tmp_path / "run", trusted_col="trusted")
    first = labelfix.merge(found, answers(tmp_path, [("r30", "b")]), tmp_path / "one.csv")
    again = answers(tmp_path, [("r31", "a")])
    second = labelfix.merge(found, again, tmp_path / "two.csv", manifest=tmp_path / "one.csv")
    assert (first.unanswered, second.unanswered) == (39, 38)


def test_items_that_were_drawn_stand_for_all_rows_that_are_left(tmp_path, make_run):
    """However many answers each of them has: the next scan counts answers."""
    sizes = [1 + i % 3 for i in range(60)]
    lines = [f"r{i},{who},{'ab'[i % 2]}" for i, size in enumerate(sizes) for who in "xyz"[:size]]
    (tmp_path / "m.csv").write_text("id,annotator,label\n" + "\n".join(lines) + "\n")
    found = make_run(tmp_path / "m.csv", tmp_path / "run")
    labelfix.export(found, "csv", tmp_path / "q.csv", budget=20, audit=8)
    asked = [row["id"] for row in table(tmp_path / "q.csv")]
    said = [(name, "ab"[int(name[1:]) % 2]) for name in asked]
    labelfix.merge(found, answers(tmp_path, said), tmp_path / "fixed.csv")
    told = labelfix.read(tmp_path / "fixed.csv", with_images=False)
    left = int((~told.trusted).sum())
    assert told.rounds.stands_for.sum() == pytest.approx(left)
    assert told.rounds.about(left) is not None


def test_rows_of_a_manifest_that_has_moved_are_found_by_id_and_annotator(items, tmp_path):
    lines = (tmp_path / "m.csv").read_text().splitlines()
    (tmp_path / "m.csv").write_text("\n".join([lines[0], *lines[:0:-1]]) + "\n")
    labelfix.export(items, "csv", tmp_path / "q.csv", min_suspicion=0.0)
    right = [(row["id"], row["label"]) for row in table(tmp_path / "q.csv")]
    merged = labelfix.merge(items, answers(tmp_path, right), tmp_path / "kept.csv")
    assert merged.decisions == {"confirmed": 40}


def test_answers_of_an_earlier_round_that_come_again_change_nothing(letters, tmp_path, make_run):
    """Tools export all they have: what was corrected must not look confirmed the second time."""
    given = [("r0", "b"), ("r1", "b"), ("r2", "none of these"), ("r3", "c")]
    first = labelfix.merge(letters(12), answers(tmp_path, given), tmp_path / "one.csv")
    assert first.decisions == {"confirmed": 1, "corrected": 2, "none of these": 1}
    again = make_run(tmp_path / "one.csv", tmp_path / "again")
    both = answers(tmp_path, [*given[:3], ("r3", "a"), ("r4", "b")])  # one was changed, one is new
    second = labelfix.merge(again, both, tmp_path / "two.csv")
    assert second.decisions == {"confirmed": 1, "corrected": 1}
    assert any("3 rows were answered so before" in note for note in second.notes)
    one, two = ({row["id"]: row for row in table(tmp_path / f"{name}.csv")} for name in ("one", "two"))
    assert all(one[id_] == two[id_] for id_ in ("r0", "r1", "r2", "r5"))
    assert [two[id_]["labelfix.round"] for id_ in ("r0", "r3", "r4")] == ["1", "2", "2"]
    assert labelfix.merge(again, answers(tmp_path, given), tmp_path / "three.csv").decisions == {}
    assert (tmp_path / "three.csv").read_bytes() == (tmp_path / "one.csv").read_bytes()


def test_huggingface_metadata_knows_the_new_columns(tmp_path, make_run):
    import pyarrow as pa

    feature = {
        "label": {"_type": "ClassLabel", "names": ["a", "b", "c"]},
        "id": {"dtype": "string", "_type": "Value"},
    }
    meta = {b"huggingface": json.dumps({"info": {"features": feature}}).encode()}
    ids, labels = [f"r{i}" for i in range(6)], pa.array([0, 1] * 3, pa.int64())
    pq.write_table(
        pa.table({"id": ids, "label": labels}).replace_schema_metadata(meta), tmp_path / "m.parquet"
    )
    found = make_run(tmp_path / "m.parquet", tmp_path / "run")
    labelfix.merge(found, answers(tmp_path, [("r0", "b"), ("r1", "exclude")]), tmp_path / "f.parquet")
    back = pq.read_table(tmp_path / "f.parquet")
    features = json.loads(back.schema.metadata[b"huggingface"])["info"]["features"]
    assert set(features) == set(back.column_names)
    assert back.column("label").to_pylist()[:3] == [1, None, 0]


def test_the_manifest_itself_is_not_overwritten_and_its_format_is_kept(letters, tmp_path):
    found, file = letters(), answers(tmp_path, [("r0", "b")])
    with pytest.raises(UsageError, match="is the manifest itself"):
        labelfix.merge(found, file, tmp_path / "m.csv")
    with pytest.raises(UsageError, match=r"ends with \.csv"):
        labelfix.merge(found, file, tmp_path / "f.parquet")


def test_the_command_says_what_came_of_it(letters, tmp_path, capsys):
    found = letters(30)
    labelfix.export(found, "csv", tmp_path / "q.csv", top=10)
    ids = [row["id"] for row in table(tmp_path / "q.csv")]
    file = answers(tmp_path, [(id_, "c") for id_ in ids])
    assert command(["merge", str(tmp_path / "run"), str(file), "-o", str(tmp_path / "fixed.csv")]) == 0
    shown = capsys.readouterr().out
    assert "10 rows answered of 30 rows, 0 tasks still open" in shown
    assert "Precision of the queue" in shown
    assert "Another round" in shown
    assert command(["merge", str(tmp_path / "run"), str(file), "-o", str(tmp_path / "f.csv"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["rows"] == 30


def test_rows_of_a_changed_manifest_are_found_by_id_and_what_was_shown_counts(letters, tmp_path):
    found = letters()
    lines = (tmp_path / "m.csv").read_text(encoding="utf-8").splitlines()
    (tmp_path / "m.csv").write_text("\n".join([lines[0], *lines[:2:-1], "r0,c,note 0"]), encoding="utf-8")
    (tmp_path / "marks.csv").write_text("id,label,decision\nr0,a,reject\nr5,a,relabel\n", encoding="utf-8")
    merged = labelfix.merge(found, tmp_path / "marks.csv", tmp_path / "fixed.csv")
    rows = {row["id"]: row for row in table(tmp_path / "fixed.csv")}
    assert (rows["r0"]["label"], rows["r0"]["labelfix.previous_label"]) == ("a", "c")
    assert rows["r5"]["label"] == "a"
    assert "matched by id" in merged.notes[-1]


def test_rows_without_ids_are_not_guessed_after_a_change(tmp_path, make_run):
    (tmp_path / "m.csv").write_text("label,x\n" + "".join(f"{'ab'[i % 2]},{i}\n" for i in range(6)))
    found = make_run(tmp_path / "m.csv", tmp_path / "run")
    (tmp_path / "m.csv").write_text("label,x\nb,9\n" + "".join(f"{'ab'[i % 2]},{i}\n" for i in range(6)))
    with pytest.raises(InputError, match="no ids to be found by"):
        labelfix.merge(found, answers(tmp_path, [("0", "b")]), tmp_path / "fixed.csv")
