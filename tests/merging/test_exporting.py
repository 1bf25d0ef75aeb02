"""From a run to files: parts, copies, blind queues, odd names, and exporters of other kinds."""

from __future__ import annotations

import csv
import json
import sys

import pyarrow.parquet as pq
import pytest

import labelfix
from labelfix.cli import run as command
from labelfix.errors import UsageError
from labelfix.exporters.label_studio import LabelStudio


def table(path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_a_queue_longer_than_the_tool_takes_is_split_and_said_so(letters, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(LabelStudio, "most", 4)
    letters()
    out = tmp_path / "tasks.json"
    assert (
        command(["export", str(tmp_path / "run"), "--to", "label-studio", "-o", str(out), "--top", "10"]) == 0
    )
    shown = capsys.readouterr()
    assert "10 tasks are more than the 4" in shown.err
    parts = [tmp_path / f"tasks.part{i}of3.json" for i in (1, 2, 3)]
    positions = [task["data"]["position"] for part in parts for task in json.loads(part.read_text())]
    assert positions == list(range(1, 11))
    merged = labelfix.merge(tmp_path / "run", parts, tmp_path / "fixed.csv")
    assert merged.open == 10


def test_copies_are_equal_queues_whose_answers_count_as_different_annotators(letters, tmp_path):
    found = letters()
    written = labelfix.export(found, "csv", tmp_path / "q.csv", top=4, copies=2)
    assert [path.name for path in written] == ["q.copy1.csv", "q.copy2.csv"]
    for path in written:
        rows = table(path)
        for row in rows:
            row["answer"] = row["suggested"]
        with path.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    labelfix.merge(found, written, tmp_path / "fixed.csv")
    who = {row["labelfix.annotators"] for row in table(tmp_path / "fixed.csv")}
    assert who == {"", "copy 1; copy 2"}


def test_the_run_remembers_its_queues_and_an_equal_selection_is_the_same_queue(letters, tmp_path):
    found = letters(30)
    for name in ("a.csv", "b.csv"):
        labelfix.export(found, "csv", tmp_path / name, budget=10)
    (kept,) = (tmp_path / "run" / "queues").iterdir()
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()
    assert pq.read_table(kept).column("id").to_pylist() == [row["id"] for row in table(tmp_path / "a.csv")]
    assert {row["queue"] for row in table(tmp_path / "a.csv")} == {kept.stem}


def test_formulas_are_neutralised_in_the_spreadsheet_and_restored_on_merge(tmp_path, make_run):
    lines = "".join(f'"=HYPERLINK({i})",{label}\n' for i, label in enumerate(["-1", "+x", "@y"] * 3))
    (tmp_path / "m.csv").write_text("id,label\n" + lines, encoding="utf-8")
    found = make_run(tmp_path / "m.csv", tmp_path / "run")
    labelfix.export(found, "csv", tmp_path / "q.csv", min_suspicion=0.0)
    rows = table(tmp_path / "q.csv")
    assert all(row["id"].startswith("'=") and row["label"].startswith("'") for row in rows)
    for row in rows:
        row["answer"] = row["suggested"]
    with (tmp_path / "a.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    assert labelfix.merge(found, tmp_path / "a.csv", tmp_path / "f.csv").decisions == {"corrected": 9}


def test_a_blind_queue_shows_no_label(letters, tmp_path):
    labelfix.export(letters(), "csv", tmp_path / "q.csv", top=4, blind=True)
    names = set(table(tmp_path / "q.csv")[0])
    assert not names & {"label", "suggested", "suspicion", "confidence", "rank", "soft_label"}
    assert {"id", "drawn_with", "answer"} <= names


def test_a_tool_that_needs_images_says_so_where_there_are_none(letters, tmp_path):
    with pytest.raises(UsageError, match="cannot be read, and CVAT takes images only"):
        labelfix.export(letters(), "cvat", tmp_path / "q", top=4)


def test_a_class_that_xml_cannot_carry_is_refused_by_name(tmp_path, make_run):
    (tmp_path / "m.csv").write_text(
        "id,label\n" + "".join(f"r{i},{'ab'[i % 2]}\n" for i in range(6)).replace("b", "b\x01")
    )
    found = make_run(tmp_path / "m.csv", tmp_path / "run")
    with pytest.raises(UsageError, match=r"the class 'b\\x01' holds the character"):
        labelfix.export(found, "label-studio", tmp_path / "q.json", top=4)


def test_pushing_without_the_plugin_says_what_is_missing(letters, tmp_path, capsys):
    letters()
    run = str(tmp_path / "run")
    assert command(["export", run, "--to", "jsonl", "--push", "http://x", "--project", "p"]) == 2
    assert "unknown server 'jsonl'" in capsys.readouterr().err
    assert command(["export", run, "--to", "csv"]) == 2
    assert "-o" in capsys.readouterr().err


WHOLE = """
class Whole:
    def export(self, run, out):
        out.write_text(run.name)
        return [out]
"""


def test_an_exporter_of_whole_runs_gets_the_run_and_takes_no_queue(letters, tmp_path, monkeypatch):
    info = tmp_path / "whole-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: whole\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[labelfix.exporters]\nwhole = whole_run:Whole\n")
    (tmp_path / "whole_run.py").write_text(WHOLE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "whole_run", raising=False)
    found = letters()
    assert labelfix.export(found, "whole", tmp_path / "o.txt") == [tmp_path / "o.txt"]
    assert (tmp_path / "o.txt").read_text() == "run"
    with pytest.raises(UsageError, match="exports the run as a whole"):
        labelfix.export(found, "whole", tmp_path / "o.txt", top=3)


def test_marks_of_the_report_that_were_neutralised_are_restored(tmp_path):
    from labelfix.exporters.csv import Csv

    marks = tmp_path / "answers.csv"
    marks.write_text(
        'id,label,decision\r\n"\'=a","\'@home","relabel"\r\n"\'b","c","accept"\r\n', encoding="utf-8"
    )
    read = Csv().answers(marks)
    assert [(one.id, one.says) for one in read] == [("=a", "@home"), ("'b", "c")]
