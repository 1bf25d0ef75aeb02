"""Every format says only what is true, at 80 columns, without colour, whatever the names are."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from labelfix.findings import Findings
from labelfix.reporting import as_json, markdown, words
from labelfix.reporting.live import progress_on
from labelfix.reporting.summary import Summary, summarise
from labelfix.reporting.terminal import fit, show


def text(summary: Summary, width: int = 80, encoding: str = "utf-8", **console: Any) -> str:
    raw = io.BytesIO()
    file = io.TextIOWrapper(raw, encoding=encoding)
    show(summary, Console(file=file, width=width, highlight=False, **console))
    return raw.getvalue().decode(encoding)


def of(findings: Any, top: int = 20) -> Summary:
    return summarise(findings, {}, None, top)


def all_formats(summary: Summary) -> str:
    return text(summary) + markdown.render(summary) + as_json.render(summary)


def test_the_terminal_shows_the_whole_picture_within_80_columns(made):
    shown = text(of(made.many(600)))
    assert all(len(line) <= 80 for line in shown.splitlines())
    for part in (
        "600 rows, 10 classes",
        "Estimated wrong labels",
        "→ suggested",
        "Review the first 65",
        "tmlc and",
    ):
        assert part in shown
    assert "\x1b" not in shown


def test_the_review_sentence_adds_up():
    def sentence(found: float, remaining: float, review: int = 400) -> str:
        point = {"review": review, "found": found, "remaining": remaining}
        return words.review(summary_with(point))

    assert sentence(262.0, 88.0) == "Review the first 400: about 260 errors; about 88 remain after that"
    assert sentence(1.0, 0.2, 1) == "Review the first row: about 1 error; none remain after that"
    assert sentence(3.0, 1.0, 4) == "Review the first 4: about 3 errors; about 1 remains after that"


def summary_with(point: dict[str, Any]) -> Summary:
    from labelfix.reporting.summary import YieldPoint

    empty: dict[str, Any] = dict.fromkeys(Summary.__dataclass_fields__, ())
    empty |= {"statuses": {"scored": 1000}, "stop": YieldPoint(**point), "rate": None, "agreement": None}
    return Summary(**empty)


def test_with_no_row_scored_nothing_is_claimed(made):
    summary = of(made.findings([made.unscored("a", "unreadable", "the file is empty")] * 3))
    for shown in (text(summary), markdown.render(summary)):
        assert "nothing can be said" in shown
        assert "3 unreadable" in shown
        assert "the file is empty" in shown
        for claim in ("Review", "Most suspicious", "Estimated", "flag"):
            assert claim not in shown
    assert json.loads(as_json.render(summary))["scored"] == 0


def test_with_nothing_suspicious_no_review_is_proposed(made):
    rows = [made.scored(str(n), "cat", "dog", 0.001) for n in range(10)]
    shown = text(of(made.findings(rows, rate=(0.0, 0.0, 0.03))))
    assert "No wrong label is expected" in shown
    assert "Neither tmlc nor cleanlab flags a row" in shown
    assert "0 % (0 % to 3.0 %), less than one of 10 rows" in shown
    assert "Review the first" not in shown
    assert "Most confused" not in shown


def test_one_row_is_one_row(made):
    shown = text(of(made.findings([made.scored("a", "cat", "dog", 0.9)], rate=(0.9, 0.1, 1.0))))
    assert "1 row, 3 classes: all scored" in shown
    assert "about 1 of 1 row" in shown
    assert "1 rows" not in shown


def test_an_empty_table_is_said_to_be_empty(made):
    assert "no rows" in text(of(made.findings([])))


def test_a_wide_terminal_gives_the_reasons(made):
    findings = made.findings([made.scored("a", "cat", "dog", 0.9)])
    assert "held-out head says dog" in text(of(findings), width=140)
    assert "held-out head says dog" not in text(of(findings), width=80)


def test_markup_in_names_is_shown_and_not_obeyed(made):
    findings = made.findings(
        [made.scored("[red]x[/red]", "[bold]cat", "<b>*d*|g</b>@all", 0.9)], ["[bold]cat"]
    )
    assert "[bold]cat" in text(of(findings))
    shown = markdown.render(of(findings))
    assert "&lt;b&gt;\\*d\\*\\|g&lt;/b&gt;&#64;all" in shown


def test_control_characters_cannot_reach_the_terminal(made):
    evil = "a\x1b[2J\r\nb\x07\u202ec\ud800"
    summary = replace(of(made.findings([])), notes=(evil,), source=evil)
    for shown in (text(summary), markdown.render(summary)):
        assert "\\x1b[2J\\r\\nb\\x07\\u202ec\\ud800" in shown.replace("\\\\", "\\").replace("\\[", "[")
        assert not set(shown) & {"\x1b", "\r", "\x07", "\u202e"}
    assert json.loads(as_json.render(summary))["source"] == evil


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "cp1252"])
def test_a_terminal_of_another_encoding_gets_its_own_signs(made, encoding):
    rows = [made.scored("漢字", "кот", "dog", 0.9), made.scored("x" * 99, "dog", "кот", 0.8)]
    shown = text(of(made.findings(rows, ["кот", "dog"])), encoding=encoding)
    assert "> suggested" in shown
    assert "~xxx" in shown


@pytest.mark.parametrize("name", ["", " cat", "cat "])
def test_names_that_cannot_be_seen_are_quoted(name):
    assert words.visible(name) == f'"{name}"'


def test_a_name_is_cut_to_cells_and_a_path_keeps_its_end():
    assert fit("a" * 30, 8) == "aaaaaaa…"
    assert fit("photos/2024/cat.jpg", 8, "end") == "…cat.jpg"
    assert cell_len(fit("漢字" * 30, 9)) <= 9
    assert len(words.visible("x" * 1_000_000)) < 400


NAMES = st.text(st.characters(codec=None), max_size=40) | st.sampled_from(
    [
        "[/]",
        "[bold]",
        "\\[",
        "|",
        "```",
        "\n\n# x",
        "\x1b]8;;http://x\x07",
        "\u202e",
        "A" * 5000,
        "\ud800",
        "🇨🇭👩‍👩‍👧",
        "é",
    ]
)


@settings(max_examples=60, deadline=None)
@given(st.lists(NAMES, min_size=3, max_size=3, unique=True), st.integers(10, 200))
def test_no_name_breaks_a_format(made, names, width):
    # Lone surrogates cannot be in a Parquet file; they reach the notes and the source.
    storable = [name.encode(errors="replace").decode() for name in names]
    id_, a, b = (f"{name}{n}" for n, name in enumerate(storable))
    rows = [
        made.scored(id_, a, b, 0.9, duplicate_group=0),
        made.scored("2", b, a, 0.8, duplicate_group=0),
        made.unscored("3", "unreadable", id_, label=b),
    ]
    summary = replace(
        of(made.findings(rows, [a, b])), source=names[0], notes=tuple(names), columns={"image": names[1]}
    )
    shown = text(summary, width=width)
    assert all(character.isprintable() or character == "\n" for character in shown)
    assert all(cell_len(line) <= width for line in shown.split("\n"))
    lines = markdown.render(summary).split("\n")
    assert all(character.isprintable() for line in lines for character in line)
    assert sum(line.startswith("#") for line in lines) == sum(
        line.startswith(("# labelfix", "## ")) for line in lines
    )
    document = json.loads(as_json.render(summary))
    assert document["suspects"][0]["given"] == a


def test_the_json_document_is_complete_and_plain(made):
    document = json.loads(as_json.render(of(made.many(600), top=5)))
    assert document["schema"] == 1
    assert len(document["suspects"]) == 5
    assert set(document["estimated_errors"]) == {"rate", "low", "high"}
    assert document["yield"]["stop"] in document["yield"]["curve"]
    assert set(document["agreement"]) == {"corrector", "both", "only_ours", "only_cleanlab"}
    for name in document:
        assert f"`{name}`" in (as_json.document.__doc__ or ""), f"{name} is not documented"


def test_the_json_document_keeps_to_its_schema(made):
    import jsonschema

    schema = json.loads((Path(as_json.__file__).parent / "report.schema.json").read_text(encoding="utf-8"))
    jsonschema.Draft202012Validator.check_schema(schema)
    copies = [made.scored(name, name, "dog", 0.5, duplicate_group=0) for name in ("cat", "eel")]
    for findings in (
        made.many(600),
        made.findings([]),
        made.findings([*copies, made.unscored("a", "unreadable", "no file")], rate=None),
    ):
        document = json.loads(as_json.render(of(findings, top=5)))
        jsonschema.validate(document, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document | {"rows": "3"}, schema)


@pytest.mark.parametrize(
    ("share", "said"),
    [(0.0, "0 %"), (3e-7, "< 0.01 %"), (0.0015, "0.15 %"), (0.0123, "1.2 %"), (0.8, "80.0 %")],
)
def test_shares_are_said_in_percent(share, said):
    assert words.percent(share) == said


def test_a_sparkline_rises_with_the_probability_and_has_as_many_cells_as_asked_for():
    assert words.sparkline([0.0, 0.2, 0.4, 0.6, 0.8, 1.0]) == "▁▂▄▅▇█"
    assert len(words.sparkline([0.1] * 10)) == 6
    assert words.sparkline([1.0]) == "█"
    assert words.sparkline([]) == ""


def test_suspects_show_their_trajectory_where_one_was_recorded(made):
    summary = of(made.findings([made.scored("a", "cat", "dog", 0.9)]))
    assert "epochs" not in text(summary)
    traced = replace(
        summary, suspects=tuple(replace(s, trajectory=(0.0, 0.5, 1.0)) for s in summary.suspects)
    )
    for shown in (text(traced), markdown.render(traced)):
        assert "epochs" in shown
        assert words.sparkline([0.0, 0.5, 1.0]) in shown
    assert "_" in text(traced, encoding="ascii")
    assert json.loads(as_json.render(traced))["suspects"][0]["trajectory"] == [0.0, 0.5, 1.0]


def test_markdown_lists_classes_with_enough_rows(made):
    rows = [made.scored(f"a{n}", "cat", "dog", 0.5) for n in range(30)]
    rows += [made.scored(f"b{n}", "eel", "dog", 0.5) for n in range(3)]
    shown = markdown.render(of(made.findings(rows)))
    assert "| cat | 30 | 15.0 | 50.0 % |" in shown
    assert "| eel | 3 |" not in shown


def test_no_estimate_is_null_in_json(made):
    findings = made.findings([made.scored("a", "cat", "dog", 0.9)], rate=None)
    assert json.loads(as_json.render(of(findings)))["estimated_errors"] is None


def test_a_log_gets_one_line_a_stage():
    file = io.StringIO()
    progress = progress_on(Console(file=file, width=80))
    progress.note("image column: file_name")
    with progress.stage("features", 600, "images") as advance:
        for _ in range(600):
            advance(1)
    note, line = file.getvalue().splitlines()
    assert note == "image column: file_name"
    assert line.startswith("features: 600 images in ")


def test_a_terminal_gets_a_bar_with_the_rate():
    file = io.StringIO()
    progress = progress_on(Console(file=file, width=100, force_terminal=True, _environ={"TERM": "xterm"}))
    with progress.stage("features", 600, "images") as advance:
        advance(300)
        advance(300)
    assert "600/600" in file.getvalue()
    assert "images/s" in file.getvalue()


def test_formats_do_not_contradict_each_other(made):
    assert all_formats(of(made.many(600))).count("Review the first 65") == 2


def test_answers_name_their_annotators(made):
    found = made.many(600)
    who = np.where(np.arange(600) % 3 == 0, "ann [red]", "bob").astype(object)
    summary = of(Findings(found.table.append_column("annotator", pa.array(who)), found.meta))
    first = summary.suspects[0]
    shown = text(summary)
    assert max(map(len, shown.splitlines())) <= 80
    assert "Annotators with the most wrong answers" in shown
    for line in (text(summary), markdown.render(summary)):
        (named,) = [row for row in line.splitlines() if first.id in row][:1]
        assert first.annotator in named.replace("\\", "")
    assert json.loads(as_json.render(summary))["suspects"][0]["annotator"] == first.annotator
    assert "Annotators with" not in text(of(found))
