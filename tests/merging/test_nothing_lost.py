"""merge(export(x)) with no answers is x byte for byte; with answers, all that is not ours to change stays."""

from __future__ import annotations

import csv
import io
import json
import shutil
import tempfile
from pathlib import Path
from typing import Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import labelfix
from labelfix.applying import apply, take_back
from labelfix.errors import LabelfixError

cell = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=8) | st.sampled_from(
    ["=1", "a,b", 'x"y', "'-", " p "]
)
label = st.sampled_from(["cat", "dog", "a,b", 'big "dog"', " cow"])
few = settings(max_examples=8, deadline=None, suppress_health_check=list(HealthCheck))


@st.composite
def rows(draw) -> list[dict[str, str]]:
    count = draw(st.integers(2, 6))
    kinds = draw(st.lists(label, min_size=2, max_size=3, unique=True))
    return [
        {"id": f"r{i}", "note": draw(cell), "label": kinds[i % len(kinds)], "more": draw(cell)}
        for i in range(count)
    ]


@st.composite
def delimited(draw, separator: str) -> bytes:
    """A table in any of the spellings that programs and people use."""
    text = io.StringIO()
    quoting = draw(st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_MINIMAL, csv.QUOTE_NONNUMERIC]))
    end = draw(st.sampled_from(["\n", "\r\n"]))
    lines = csv.writer(text, delimiter=separator, quoting=quoting, lineterminator=end)
    table = draw(rows())
    lines.writerow(table[0])
    lines.writerows(row.values() for row in table)
    data = text.getvalue()
    if draw(st.booleans()):
        data = data.removesuffix(end)
    if draw(st.booleans()):
        data = data.replace(end + '"r1"', end * 2 + '"r1"')  # a blank line
    return (b"\xef\xbb\xbf" if draw(st.booleans()) else b"") + data.encode()


@st.composite
def json_lines(draw) -> bytes:
    style = draw(st.sampled_from([{"separators": (",", ":")}, {}, {"separators": (" , ", " : ")}]))
    ascii_ = draw(st.booleans())
    lines = [json.dumps(row, ensure_ascii=ascii_, **style) for row in draw(rows())]
    return ("\n".join(lines) + draw(st.sampled_from(["", "\n", "\n\n"]))).encode()


@st.composite
def parquet(draw) -> bytes:
    table = pa.Table.from_pylist(draw(rows()))
    kind = draw(st.sampled_from(["text", "dictionary", "declared"]))
    meta = {b"mine": draw(st.binary(max_size=5)), b"pandas": b"{}"}
    if kind == "dictionary":
        table = table.set_column(2, "label", table.column("label").dictionary_encode())
    if kind == "declared":
        named = table.column("label").combine_chunks().dictionary_encode()
        names = named.dictionary.to_pylist()
        feature = {
            "label": {"_type": "ClassLabel", "names": names},
            "id": {"dtype": "string", "_type": "Value"},
        }
        meta[b"huggingface"] = json.dumps({"info": {"features": feature}}).encode()
        table = table.set_column(2, "label", named.indices.cast(pa.int64()))
    sink = io.BytesIO()
    options = {
        "compression": draw(st.sampled_from(["snappy", "zstd", "none"])),
        "row_group_size": draw(st.integers(1, 9)),
    }
    pq.write_table(table.replace_schema_metadata(meta), sink, **options)
    return sink.getvalue()


FORMATS = {"csv": delimited(","), "tsv": delimited("\t"), "jsonl": json_lines(), "parquet": parquet()}


class Case:
    """A manifest and its run in a directory that goes away."""

    def __init__(self, make_run, data: bytes, ending: str) -> None:
        self.make_run = make_run
        self.path = Path(tempfile.mkdtemp())
        self.source, self.out = self.path / f"m.{ending}", self.path / f"fixed.{ending}"
        self.source.write_bytes(data)

    def __enter__(self) -> Self:
        try:
            self.findings = self.make_run(self.source, self.path / "run")
        except LabelfixError:  # the text is no table with two columns of names
            shutil.rmtree(self.path)
            assume(False)
        return self

    def __exit__(self, *_) -> None:
        shutil.rmtree(self.path)

    def answered(self) -> Path:
        """Half of the rows get the next class."""
        labelfix.export(self.findings, "jsonl", self.path / "q.jsonl", min_suspicion=0.0)
        tasks = [
            json.loads(line)
            for line in (self.path / "q.jsonl").read_text(encoding="utf-8").split("\n")
            if line
        ]
        for task in tasks[::2]:
            task["answer"] = task["suggested"]
        done = self.path / "a.jsonl"
        done.write_text("".join(json.dumps(task) + "\n" for task in tasks), encoding="utf-8")
        return done


@pytest.mark.parametrize("ending", FORMATS)
@few
@given(data=st.data())
def test_merging_a_queue_that_nobody_answered_changes_no_byte(make_run, ending, data):
    content = data.draw(FORMATS[ending])
    with Case(make_run, content, ending) as case:
        labelfix.export(case.findings, "csv", case.path / "q.csv", budget=4)
        merged = labelfix.merge(case.findings, case.path / "q.csv", case.out)
        assert case.out.read_bytes() == content
        assert merged.decisions == {}


@pytest.mark.parametrize("ending", FORMATS)
@few
@given(data=st.data())
def test_answers_change_labels_and_nothing_else(make_run, ending, data):
    with Case(make_run, data.draw(FORMATS[ending]), ending) as case:
        merged = labelfix.merge(case.findings, case.answered(), case.out)
        before, after = table_of(case.source), table_of(case.out)
        assert list(after.columns)[: len(before.columns)] == list(before.columns)
        for name in set(before.columns) - {"label"}:
            assert after[name].tolist() == before[name].tolist()
        old = labelfix.read(case.source, with_images=False, label_col="label", min_classes=1)
        new = labelfix.read(case.out, with_images=False, label_col="label", min_classes=1)
        named_old, named_new = ([m.classes[k] for k in m.labels] for m in (old, new))
        changed = {i for i, (a, b) in enumerate(zip(named_old, named_new, strict=True)) if a != b}
        assert len(changed) == merged.decisions["corrected"] == int(new.trusted.sum())
        assert changed == set(np.flatnonzero(new.trusted))
        if ending == "parquet":
            a, b = (pq.read_schema(path) for path in (case.source, case.out))
            assert b.field("label").type == a.field("label").type
            assert {k: v for k, v in b.metadata.items() if k != b"huggingface"} == {
                k: v for k, v in a.metadata.items() if k != b"huggingface"
            }


@pytest.mark.parametrize("ending", FORMATS)
@few
@given(data=st.data())
def test_what_was_applied_can_be_taken_back(make_run, ending, data):
    with Case(make_run, data.draw(FORMATS[ending]), ending) as case:
        done = apply(case.findings, case.out, write=True)
        back = case.path / f"back.{ending}"
        assert take_back(case.findings, done.undo, back) == done.rows
        if ending == "parquet":
            old, new = pq.read_table(case.source), pq.read_table(back)
            assert new.schema.equals(old.schema, check_metadata=True)
            assert new.to_pydict() == old.to_pydict()
        else:
            assert back.read_bytes() == case.source.read_bytes()


def table_of(path: Path):
    import pandas as pd

    if path.suffix == ".parquet":
        table = pq.read_table(path)
        return pd.DataFrame(table.to_pydict(), columns=table.column_names)
    if path.suffix == ".jsonl":
        lines = path.read_text(encoding="utf-8").split("\n")
        return pd.DataFrame([json.loads(line) for line in lines if line])
    separator = "\t" if path.suffix == ".tsv" else ","
    text = path.read_bytes().decode("utf-8-sig")
    header, *lines = [line for line in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if line]
    return pd.DataFrame(lines, columns=header)
