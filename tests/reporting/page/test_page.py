"""The page says what is true of a run, also of odd ones, and no name can do anything in it."""

from __future__ import annotations

import base64
import hashlib
import re

import numpy as np
import pytest

from labelfix.reporting.page.legible import ending, isolated, legible


def test_the_head_tells_the_story(made, paged):
    record = {
        "source": "photos/m.csv", "finished_at": "2026-01-02T03:04:05+00:00", "timings": {"a": 61.2, "b": 14},
        "versions": {"labelfix": "9.9"}, "chosen": {"backbone": {"backbone": "resnet7"}},
    }  # fmt: skip
    page = paged(made.many(600), record=record)
    for part in (
        "photos/m.csv", "2026-01-02 03:04:05 UTC", "resnet7", "tmlc, cleanlab", "1 min 15 s", "9.9", "10 classes"[:2],
        "labels look wrong", "in 9 of 10 cases", "Review the first 65", "stop here: 65", "only cleanlab",
    ):  # fmt: skip
        assert part in page.text
    chart = page.named("svg", **{"class": "yield"})[0]
    assert "Review the first 65" in (chart["aria-label"] or "")


def test_commands_name_the_run_and_are_quoted(made, paged, tmp_path):
    run = tmp_path / "my run"
    run.mkdir()
    page = paged(made.many(100), run=run)
    assert f"labelfix export '{run}' --to label-studio -o tasks.json" in page.text
    assert f"labelfix gate BATCH --reference '{run}'" in page.text
    assert "labelfix export" not in paged(made.many(100)).text  # there is no run to name


def test_each_suspect_has_a_card_with_its_image_or_the_reason_why_not(made, paged, noise):
    findings = made.many(300)
    page = paged(findings, noise(300))
    cards = page.named("article")
    rows = [card["row"] for card in page.data["cards"]]
    assert len(cards) == len(rows) == page.written.suspects == page.written.total
    assert [card["rank"] for card in page.data["cards"]] == sorted(
        card["rank"] for card in page.data["cards"]
    )
    broken = sum(row % 7 == 6 for row in rows)
    assert page.written.missing == broken > 0
    assert page.text.count("No image") == broken
    pictures = [image for image in page.named("img") if image["alt"].startswith("Image of row")]
    assert len(pictures) == len(rows) - broken
    assert all(image["src"].startswith("data:image/") for image in pictures)


def test_what_is_flagged_by_either_tool_is_a_suspect(made, paged):
    findings = made.many(500)
    flagged = findings.column("is_label_error").astype(bool) | findings.column("cleanlab.is_issue").astype(
        bool
    )
    shown = {card["row"] for card in paged(findings).data["cards"]}
    assert set(np.flatnonzero(flagged).tolist()) <= shown
    tools = {card["tools"] for card in paged(findings).data["cards"]}
    assert {"both", "ours", "theirs"} <= tools


def test_more_suspects_than_asked_for_are_counted_and_not_shown(made, paged):
    page = paged(made.many(500), top=5)
    assert page.written.suspects == 5 < page.written.total
    assert f"The first 5 of {page.written.total} labels" in page.text


def test_no_suspect_is_a_good_result(made, paged):
    rows = [made.scored(str(n), "cat", "dog", 0.001) for n in range(40)]
    page = paged(made.findings(rows, rate=(0.001, 0.0, 0.03)))
    assert "Hardly any of 40 labels looks wrong" in page.text
    assert "No label looks wrong. These 12 are the least sure" in page.text
    assert "No wrong label is expected" in page.text
    assert "No two classes are expected to be confused" in page.text


def test_nothing_scored_is_said_and_nothing_is_claimed(made, paged):
    page = paged(
        made.findings([made.unscored(f"row {n}", "unreadable", "the file is empty") for n in range(3)])
    )
    assert "No label could be judged" in page.text
    assert page.text.count("the file is empty") == 3
    for claim in ("look wrong", "stop here", "only cleanlab", "% of them"):
        assert claim not in page.text
    assert "The manifest has no rows" in paged(made.findings([])).text


def test_unreadable_rows_are_listed_with_their_reason(made, paged):
    rows = [made.scored(str(n), "cat", "dog", 0.9) for n in range(5)]
    page = paged(made.findings([*rows, made.unscored("lost.png", "unreadable", "file not found")]))
    assert "1 image could not be read" in page.text
    assert "lost.png" in page.text
    assert "file not found" in page.text


def test_one_class_may_hold_all_suspects(made, paged):
    rows = [made.scored(f"a{n}", "cat", "dog", 0.95) for n in range(30)]
    rows += [made.scored(f"b{n}", "dog", "cat", 0.0) for n in range(30)]
    page = paged(made.findings(rows))
    assert {card["given"] for card in page.data["cards"]} == {0}
    assert len(page.data["cards"]) == 30


def test_classes_with_few_rows_are_insufficient_data(made, paged):
    rows = [made.scored(f"a{n}", "cat", "dog", 0.5) for n in range(30)]
    rows += [made.scored(f"b{n}", "eel", "cat", 0.5) for n in range(3)]
    assert "insufficient data: 3 rows" in paged(made.findings(rows)).text


def test_many_classes_are_a_matrix_of_those_most_confused(made, paged):
    page = paged(made.many(3000, classes=200))
    assert "the 30 classes that are most confused" in page.text
    assert "Most confused pairs" in page.text
    assert len(page.html) < 3_000_000


def test_annotators_show_their_rate_and_what_they_confuse(made, paged):
    import pyarrow as pa

    from labelfix.findings import Findings

    rows = [made.scored(f"a{n}", "cat", "dog", 0.95 if n < 12 else 0.01) for n in range(60)]
    findings = made.findings(rows)
    who = pa.array(["ann" if n < 30 else "bob" for n in range(60)])
    page = paged(Findings(findings.table.append_column("annotator", who), findings.meta))
    assert re.search(r"ann 30 12 11\.\d .* cat → dog ×12", page.text)
    assert [card["annotator"] for card in page.data["cards"]] == ["ann"] * len(page.data["cards"])


def test_what_other_annotators_say_comes_first_on_a_card(made, paged):
    reason = "2 of 3 other annotators say 'dog'; 80% of the neighbours are labelled 'dog'"
    page = paged(made.findings([made.scored("a0", "cat", "dog", 0.95, reason=reason), *(
        made.scored(f"b{n}", "cat", "dog", 0.01) for n in range(20))]))  # fmt: skip
    assert "2 of 3 other annotators say" in page.text


def test_copies_with_different_labels_stand_together(made, paged):
    rows = [made.scored(str(n), "cat", "dog", 0.01) for n in range(30)]
    rows += [
        made.scored("x1", "cat", "dog", 0.5, duplicate_group=4),
        made.scored("x2", "dog", "cat", 0.4, duplicate_group=4),
        made.scored("y1", "cat", "dog", 0.1, duplicate_group=9),
        made.scored("y2", "cat", "dog", 0.1, duplicate_group=9),
    ]
    page = paged(made.findings(rows))
    assert "1 group of near-duplicate images with different labels" in page.text
    part = page.html.partition('id="duplicates"')[2].partition('id="outliers"')[0]
    assert "x1" in part
    assert "x2" in part
    assert "y1" not in part
    conflicting = {card["id"] for card in page.data["cards"] if "conflict" in card["kinds"]}
    assert conflicting <= {"x1", "x2"}


def test_outliers_and_ambiguous_rows_have_their_lists(made, paged):
    rows = [made.scored(str(n), "cat", "dog", 0.01) for n in range(30)]
    rows += [made.scored("strange", "cat", "dog", 0.2, is_outlier=True)]
    rows += [made.scored("half", "cat", "dog", 0.5, {"cat": 0.5, "dog": 0.5}, is_ambiguous=True)]
    page = paged(made.findings(rows))
    assert "strange" in page.html.partition('id="outliers"')[2].partition('id="ambiguous"')[0]
    assert "half" in page.html.partition('id="ambiguous"')[2]


def test_a_lone_findings_file_has_a_page_that_says_what_is_missing(made, paged):
    page = paged(made.many(100), no_images="nobody knows where they are")
    assert "Images are not shown: nobody knows where they are" in page.text
    assert "No training trajectories were recorded" in page.text


@pytest.fixture
def evil(made, paged, noise, hostile):
    rows = []
    for n, name in enumerate(hostile):
        other = hostile[(n + 1) % len(hostile)]
        rows.append(
            made.scored(name, name, other, 0.9, reason=name, image=name, duplicate_group=0, is_outlier=True)
        )
        rows += [made.scored(f"{name}{i}", name, other, 0.1) for i in range(3)]
    findings = made.findings(rows, hostile)
    record = {"source": hostile[0], "notes": [hostile[1]], "columns": {"image": hostile[2]}}
    return paged(findings, noise(len(rows)), record=record, run=None)


def test_no_name_becomes_markup(evil):
    assert len(evil.scripts) == 3
    assert all(image["src"].startswith("data:image/") for image in evil.named("img"))
    assert not [name for _, attributes in evil.tags for name in attributes if name.startswith("on")]
    assert "7 * 7" in evil.text


def test_the_json_holds_every_name_as_it_is_and_cannot_end_its_element(evil, hostile):
    raw = evil.html.partition('id="data">')[2].partition("</script>")[0]
    assert not set(raw) & set("<>&\u2028\u2029")
    assert evil.data["classes"] == hostile
    assert {card["id"] for card in evil.data["cards"]} >= set(hostile)


def test_text_cannot_turn_what_stands_beside_it(evil):
    assert not set(evil.html) & set("\u202a\u202b\u202d\u202e\u2066\u2067\u200e\u200f")
    for text in (evil.text, *evil.scripts):
        assert text.count("\u2068") == text.count("\u2069")
    assert "\\u202egnp.reverse" in evil.text


def test_only_the_pages_own_script_may_run_and_nothing_may_be_asked_for(evil):
    (policy,) = [m["content"] for m in evil.named("meta") if m.get("http-equiv") == "Content-Security-Policy"]
    digest = base64.b64encode(hashlib.sha256(evil.scripts[2].encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy
    assert "unsafe-inline" not in policy.partition("script-src")[2]
    addresses = [
        a for _, attributes in evil.tags for k, a in attributes.items() if k in {"src", "href", "action"}
    ]
    assert all(address.startswith(("data:", "#")) for address in addresses)
    assert "url(" not in evil.html.partition("<style>")[2].partition("</style>")[0]


@pytest.mark.parametrize("suspects", [40, 300])
def test_pictures_of_the_worst_images_keep_within_their_share_of_twenty_megabytes(
    made, paged, noise, suspects
):
    findings = made.many(1500)
    page = paged(findings, noise(1500, (240, 240)), top=suspects)
    images = [image["src"] for image in page.named("img") if image["alt"].startswith("Image of row")]
    assert page.written.suspects > len(images) > page.written.suspects / 2  # the others cannot be decoded
    assert 1000 < max(map(len, images)) <= 4 / 3 * 7_500_000 / max(page.written.suspects, 150) + 40


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("a\nb\x00", "a\\nb\\x00"),
        ("\u202etxt", "\\u202etxt"),
        ("👩‍👩‍👧", "👩‍👩‍👧"),
        ("漢字\u3000", "漢字\u3000"),
        ("a\u2028b", "a\\u2028b"),
    ],
)
def test_hidden_characters_are_spelt_out_and_words_left_alone(text, shown):
    assert legible(text) == shown


def test_long_names_lose_their_middle_and_paths_their_beginning():
    assert len(legible("x" * 5000)) == 301
    assert ending("photos/2024/cat.jpg", 8) == "…cat.jpg"
    assert isolated("x") == "\u2068‘x’\u2069"
