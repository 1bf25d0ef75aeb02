"""Every output says the same verdict, in its format's own grammar."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree as ET

import jsonschema
import pytest
import xmlschema
from rich.console import Console

from labelfix.gating.formats import as_json, github, html, junit, markdown, sarif, text
from labelfix.gating.verdict import Check, Comparison, Finding, Part, Verdict

SCHEMAS = Path(__file__).parent / "schemas"
NASTY = 'a<b>&"|`[x](y)`\x00\x1b[31m::error::\r\n100% @team'


def finding(row: int, name: str = "r", state: str = "new", suspicion: float = 0.9) -> Finding:
    waiver = "looked at it" if state == "waived" else ""
    return Finding(row, f"{name}{row}", "", "cat", "dog", suspicion, "why", "ab" * 16, state, waiver)  # type: ignore[arg-type]


def verdict(findings: tuple[Finding, ...], source: str = "batch.csv", lines: bool = True) -> Verdict:
    part = Part("cat", 50, 0.3, 0.2, 0.4, 0.99, True)
    checks = (
        Check(
            "error_rate_above_reference",
            "wrong labels",
            "fail",
            f"+8 points {NASTY}",
            0.03,
            0.08,
            0.05,
            0.1,
            0.99,
        ),
        Check("class_error_rate", "by class", "warn", "cat 30 %", 0.2, 0.3, 0.2, 0.4, 0.99, (), (part,)),
        Check("new_findings", "new", "fail", "2 findings", 0, 2, rows=(0, 1)),
        Check("unreadable_rate", "unreadable", "pass", "none", 0.01, 0.0),
        Check("error_rate", "rate", "inconclusive", "too few", 0.05, None),
    )
    comparison = Comparison("base.json", 1, 1, 1, 2, 3)
    where = {f.row: f.row + 2 for f in findings} if lines else {}
    return Verdict(
        "fail", checks, findings, source, "run", "labelfix.toml", 0.5, 100, 98, (0.17, 0.1, 0.3), 0.09, ("a note",),
        comparison, where,
    )  # fmt: skip


SOME = verdict((finding(0, NASTY), finding(1, state="unchanged"), finding(2, state="waived")))
EVERY = [SOME, verdict(()), verdict((finding(3),), source="batch.parquet", lines=False)]


@pytest.fixture(scope="module")
def junit_schema():
    return xmlschema.XMLSchema(SCHEMAS / "junit-10.xsd")


@pytest.fixture(scope="module")
def sarif_schema():
    return json.loads((SCHEMAS / "sarif-2.1.0-rtm.5.json").read_text(encoding="utf-8"))


@pytest.mark.parametrize("one", EVERY)
def test_junit_keeps_to_its_schema_and_has_a_case_for_each_check(junit_schema, one):
    junit_schema.validate(junit.render(one))
    suite = ET.fromstring(junit.render(one)).find("testsuite")
    cases = {case.get("name"): [child.tag for child in case] for case in suite.iter("testcase")}
    assert cases == {
        "error_rate_above_reference": ["failure"],
        "class_error_rate": ["system-out"],
        "new_findings": ["failure"],
        "unreadable_rate": ["system-out"],
        "error_rate": ["error"],
    }
    assert (suite.get("tests"), suite.get("failures"), suite.get("errors")) == ("5", "2", "1")


def test_the_schema_would_notice_what_is_no_junit(junit_schema):
    with pytest.raises(xmlschema.XMLSchemaException):
        junit_schema.validate(
            junit.render(SOME).replace("<testcase", "<case").replace("</testcase", "</case")
        )


@pytest.mark.parametrize("one", EVERY)
def test_sarif_keeps_to_its_schema(sarif_schema, one):
    jsonschema.validate(
        json.loads(sarif.render(one, None if one.lines else "out/x.sarif.rows.jsonl")), sarif_schema
    )


def test_the_schema_would_notice_what_is_no_sarif(sarif_schema):
    broken = json.loads(sarif.render(SOME, None))
    broken["runs"][0]["results"][0]["levle"] = "error"
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(broken, sarif_schema)


def test_sarif_points_at_the_line_of_the_manifest_or_of_the_sidecar():
    def places(text: str) -> list[tuple[str, int]]:
        found = [r["locations"][0]["physicalLocation"] for r in json.loads(text)["runs"][0]["results"]]
        return [(p["artifactLocation"]["uri"], p["region"]["startLine"]) for p in found]

    assert places(sarif.render(SOME, None))[4:] == [("batch.csv", 2), ("batch.csv", 3), ("batch.csv", 4)]
    other = EVERY[2]
    assert places(sarif.render(other, "x.rows.jsonl"))[-1] == ("x.rows.jsonl", 1)
    assert json.loads(sarif.rows(other).splitlines()[0])["id"] == "r3"


def test_sarif_says_what_is_new_known_and_waived():
    results = json.loads(sarif.render(SOME, None))["runs"][0]["results"][4:]
    assert [r.get("baselineState") for r in results] == ["new", "unchanged", None]
    assert results[2]["suppressions"][0]["justification"] == "looked at it"


def test_sarif_is_cut_by_suspicion_and_says_so():
    many = verdict(tuple(finding(i) for i in range(6000)))
    run = json.loads(sarif.render(many, None))["runs"][0]
    assert len(run["results"]) == 5000
    said = [note["message"]["text"] for note in run["invocations"][0]["toolExecutionNotifications"]]
    assert any("most suspicious of 6,000" in text for text in said)
    assert len(sarif.rows(many).splitlines()) == 4996


def parsed(text: str) -> list[tuple[str, dict[str, str], str]]:
    """Read workflow commands as the runner does."""
    found = []
    for line in text.splitlines():
        kind, properties, message = re.fullmatch(r"::(\w+) (.*?)::(.*)", line).groups()
        pairs = dict(pair.split("=", 1) for pair in properties.split(","))

        def undone(value: str) -> str:
            for code, sign in (("%3A", ":"), ("%2C", ","), ("%0D", "\r"), ("%0A", "\n"), ("%25", "%")):
                value = value.replace(code, sign)
            return value

        found.append((kind, {name: undone(value) for name, value in pairs.items()}, undone(message)))
    return found


def test_annotations_are_read_back_as_they_were_meant():
    found = parsed(github.commands(SOME))
    assert [kind for kind, _, _ in found] == [
        "error",
        "error",
        "error",
        "warning",
        "warning",
        "warning",
        "notice",
    ]
    assert found[0][2] == f"+8 points {NASTY}"
    assert found[4][1] == {"file": "batch.csv", "line": "2", "title": "probably a wrong label"}
    assert NASTY in found[4][2]


def test_annotations_stay_within_what_a_step_may_show_and_say_what_is_cut():
    many = verdict(tuple(finding(i) for i in range(50)))
    kinds = [kind for kind, _, _ in parsed(github.commands(many))]
    assert (kinds.count("error"), kinds.count("warning")) == (3, 10)
    assert "the 9 most suspicious of 50 findings" in github.commands(many)


def test_the_job_summary_stays_below_a_mebibyte():
    long = tuple(replace(finding(i), reason="x" * 5000) for i in range(3000))
    assert 0 < len(github.summary(verdict(long)).encode()) <= 1_000_000
    assert "most suspicious of 3,000 findings" in github.summary(verdict(long))


def test_markdown_and_html_show_names_as_they_are_and_nothing_more():
    page, document = html.render(SOME), markdown.render(SOME)
    assert "<b>" not in page
    assert "<b>" not in document
    assert "\x1b" not in page + document
    assert "@team" not in document
    assert all(
        line.count("|") - line.count("\\|") == 8 for line in document.splitlines() if "cat | dog" in line
    )
    assert "1 new, 1 unchanged, 1 waived, 2 fixed, 3 not in this batch" in page


def test_json_holds_the_verdict_and_is_plain():
    document = json.loads(as_json.render(SOME))
    assert (document["exit_code"], document["outcome"], document["passed"]) == (1, "fail", False)
    assert document["rate"] == {"rate": 0.17, "low": 0.1, "high": 0.3}
    assert document["findings"][0]["line"] == 2
    assert document["checks"][1]["parts"][0]["name"] == "cat"
    assert as_json.render(SOME).isascii()


def test_the_terminal_shows_checks_findings_and_what_is_cut(capsys):
    text.show(SOME, Console(width=100, highlight=False), top=2)
    shown = capsys.readouterr().out
    assert "batch.csv against run: failed" in shown
    assert "the 2 most suspicious of 3 findings" in shown
    assert "\x1b[31m" not in shown
