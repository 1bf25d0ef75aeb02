"""What holds for every exporter: any ids, any classes, any suspicion; and each tool's own reader can read it."""

from __future__ import annotations

import csv
import json
import shutil
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labelfix import plugins
from labelfix.testing import Squares, check_exporter, make_queue


def in_table(read, write):
    def annotate(path: Path, said: Mapping[str, str]) -> Path:
        rows = read(path)
        for row in rows:
            row["answer"] = said[row["id"]]
        done = path.with_name(f"done{path.suffix}")
        write(done, rows)
        return done

    return annotate


def read_csv(path: Path) -> list[dict[str, str]]:
    from labelfix.exporters.csv import restored

    with path.open(encoding="utf-8", newline="") as file:
        return [{name: restored(cell) for name, cell in row.items()} for row in csv.DictReader(file)]


def write_csv(path: Path, rows: list[dict[str, str]]) -> None:
    from labelfix.exporters.csv import neutralised

    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.DictWriter(file, rows[0])
        lines.writeheader()
        lines.writerows({name: neutralised(cell) for name, cell in row.items()} for row in rows)


def read_jsonl(path: Path) -> list[dict]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]


def write_jsonl(path: Path, rows: list[dict]) -> None:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def label_studio(path: Path, said: Mapping[str, str]) -> Path:
    """As `GET /api/projects/…/export?exportType=JSON` writes it."""
    tasks = json.loads(path.read_text(encoding="utf-8"))
    for task in tasks:
        value = {"choices": [said[task["data"]["sample_id"]]]}
        result = [{"from_name": "answer", "to_name": "image", "type": "choices", "value": value}]
        task["annotations"] = [{"completed_by": 1, "result": result, "was_cancelled": False}]
    return written(path, "export.json", json.dumps(tasks))


def cvat(path: Path, said: Mapping[str, str]) -> Path:
    """The annotator adds a tag; the mark stays."""
    tree = ET.parse(path / "annotations.xml")
    for image in tree.iter("image"):
        id_ = next(a.text or "" for a in image.iter("attribute") if a.get("name") == "sample_id")
        ET.SubElement(image, "tag", {"label": said[id_], "source": "manual"})
    done = path.with_name("done.xml")
    tree.write(done, encoding="utf-8")
    return done


def fiftyone(path: Path, said: Mapping[str, str]) -> Path:
    """As a field `answer` is exported: file names without attributes."""
    labels = json.loads((path / "labels.json").read_text(encoding="utf-8"))["labels"]
    answers = {name: said[label["attributes"]["sample_id"]] for name, label in labels.items()}
    done = path.with_name("exported")
    done.mkdir(exist_ok=True)
    written(done / "x", "labels.json", json.dumps({"classes": None, "labels": answers}))
    return done


def argilla(path: Path, said: Mapping[str, str]) -> Path:
    """As `dataset.records.to_json` writes it."""
    records = json.loads((path / "records.json").read_text(encoding="utf-8"))
    for record in records:
        record["responses"] = {"answer": [{"value": said[record["id"]], "user_id": "u1"}]}
    return written(path, "records-back.json", json.dumps(records))


def prodigy(path: Path, said: Mapping[str, str]) -> Path:
    """As `prodigy db-out` writes it."""
    rows = read_jsonl(path)
    for row in rows:
        row |= {"accept": [said[row["meta"]["sample_id"]]], "answer": "accept", "_timestamp": 1700000000}
    write_jsonl(path.with_name("out.jsonl"), rows)
    return path.with_name("out.jsonl")


def written(beside: Path, name: str, text: str) -> Path:
    path = beside.with_name(name)
    path.write_text(text, encoding="utf-8")
    return path


TOOLS = {
    "csv": ("q.csv", in_table(read_csv, write_csv)),
    "jsonl": ("q.jsonl", in_table(read_jsonl, write_jsonl)),
    "parquet": (
        "q.parquet",
        in_table(
            lambda path: pq.read_table(path).to_pylist(),
            lambda path, rows: pq.write_table(pa.Table.from_pylist(rows), path),
        ),
    ),
    "label-studio": ("q.json", label_studio),
    "cvat": ("q", cvat),
    "fiftyone": ("q", fiftyone),
    "argilla": ("q", argilla),
    "prodigy": ("q.jsonl", prodigy),
}

text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
tricky = st.sampled_from(
    ["=1+1", "-2", "'=x", "@a", "unsure", "none of these", "labelfix", " a", "a,b", '"', "a\nb", "ä", "0"]
)
names = st.lists(text | tricky, min_size=2, max_size=5, unique=True).filter(
    lambda s: all(n.strip() for n in s)
)


def test_every_built_in_is_checked_here():
    ours = {n for n, p in plugins.names("exporters").items() if getattr(p.load(), "takes_queue", False)}
    assert ours == set(TOOLS)


@pytest.mark.parametrize("name", TOOLS)
@settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    ids=st.lists(text | tricky, min_size=1, max_size=5, unique=True),
    classes=names,
    suspicion=st.lists(st.floats(0, 1), min_size=5, max_size=5),
)
def test_an_exporter_keeps_its_contract(name, ids, classes, suspicion):
    ordered = sorted(suspicion, reverse=True)[: len(ids)]
    queue = make_queue(ids, classes, ordered, Squares(len(ids)))
    place, annotate = TOOLS[name]
    directory = Path(tempfile.mkdtemp())
    try:
        check_exporter(plugins.load("exporters", name)(), queue, directory / place, annotate)
    finally:
        shutil.rmtree(directory)


class Forgetful:
    """An exporter that breaks its contract in one way or another."""

    takes_queue, most = True, 10

    def __init__(self, fault: str) -> None:
        self.fault, self.inner = fault, plugins.load("exporters", "jsonl")()

    def export(self, queue, out):
        paths = self.inner.export(queue, out)
        rows = read_jsonl(out)
        if self.fault == "order":
            rows.reverse()
        if self.fault == "answered":
            rows[0]["answer"] = "cat"
        if self.fault == "blind":
            rows[0]["hint"] = queue.table.column("suggested")[0].as_py()
        write_jsonl(out, rows)
        return paths

    def recognises(self, path):
        return path.is_file()

    def answers(self, path):
        return self.inner.answers(path)


@pytest.mark.parametrize(
    ("fault", "said"), [("order", "order"), ("answered", "taken for answered"), ("blind", "should hide")]
)
def test_the_contract_check_notices_a_broken_one(fault, said, tmp_path):
    with pytest.raises(AssertionError, match=said):
        check_exporter(
            Forgetful(fault),
            make_queue(["a", "b", "c"], ["cat", "dog"], [0.9, 0.5, 0.1], Squares(3)),
            tmp_path / "q.jsonl",
        )


def test_prodigy_lines_have_the_documented_fields(tmp_path):
    plugins.load("exporters", "prodigy")().export(
        make_queue(["a", "b", "c"], ["cat", "dog"], [0.9, 0.5, 0.1], Squares(3)), tmp_path / "q.jsonl"
    )
    for row in read_jsonl(tmp_path / "q.jsonl"):
        assert set(row) == {"image", "options", "accept", "meta"}
        assert all(set(option) == {"id", "text"} for option in row["options"])
        assert set(row["accept"]) <= {option["id"] for option in row["options"]}
        assert row["image"].startswith("data:image/png;base64,")


def test_label_studio_is_told_of_local_images_in_a_url_that_names_them(tmp_path):
    class Named(Squares):
        def name(self, index: int) -> str:
            return f"r&d/50% #{index}+1.png"

    queue = make_queue(["a", "b", "c"], ["cat", "dog"], [0.9, 0.5, 0.1], Named(3))
    queue = replace(queue, root=str(tmp_path / "my photos"))
    plugins.load("exporters", "label-studio")().export(queue, tmp_path / "q.json")
    for at, task in enumerate(json.loads((tmp_path / "q.json").read_text(encoding="utf-8"))):
        (asked,) = parse_qs(urlsplit(task["data"]["image"]).query)["d"]
        assert asked == f"my photos/r&d/50% #{at}+1.png"


def test_the_label_studio_config_offers_what_answers_may_say(tmp_path):
    plugins.load("exporters", "label-studio")().export(
        make_queue(["a", "b", "c"], ["cat", "dog"], [0.9, 0.5, 0.1], Squares(3)), tmp_path / "q.json"
    )
    config = ET.parse(tmp_path / "q.config.xml")
    offered = [choice.get("value") for choice in config.iter("Choice")]
    assert offered == ["cat", "dog", "none of these", "unsure", "bad image", "exclude"]
