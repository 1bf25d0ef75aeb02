"""Story: the sentences and facts that the page begins with, and the commands that it ends its head with."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import Any

from labelfix.reporting import words
from labelfix.reporting.page.legible import legible
from labelfix.reporting.summary import Summary

Fact = tuple[str, str]


def headline(summary: Summary) -> str:
    """Say in one line how the labels are."""
    if not summary.rows:
        return "The manifest has no rows"
    if not summary.scored:
        return "No label could be judged"
    if summary.rate is None:
        return f"{words.plural(summary.scored, 'label')} judged"
    count = words.about(summary.rate[0] * summary.asked)
    if count == "no":
        return f"Hardly any of {words.plural(summary.scored, 'label')} looks wrong"
    verb = "looks" if count == "about 1" else "look"
    return f"{count.capitalize()} of {words.plural(summary.scored, 'label')} {verb} wrong"


def interval(summary: Summary) -> str:
    """Say how sure that is."""
    if not summary.scored:
        return words.coverage(summary)
    if summary.rate is None:
        return "The share of wrong labels could not be estimated."
    rate, low, high = (words.percent(share) for share in summary.rate)
    asked = "them" if summary.asked == summary.scored else f"the {summary.asked:,} whose label is in question"
    return f"{rate} of {asked}; the true share lies between {low} and {high} in 9 of 10 cases."


def facts(summary: Summary, record: dict[str, Any]) -> list[Fact]:
    """Return name and value of what was scanned, with what, and when."""
    chosen, recipe = record.get("chosen") or {}, record.get("recipe") or {}
    backbone = chosen.get("backbone") or {}
    model = backbone.get("backbone", "")
    if recipe.get("mode") == "finetune":
        model = f"{(recipe.get('finetune') or {}).get('model') or model}, fine-tuned"
    elif not model and record.get("pred_probs"):
        model = "your probabilities"
    elif not model and record.get("features"):
        model = "your features"
    version = (record.get("versions") or {}).get("labelfix", "")
    pairs = [
        ("scanned", str(record.get("finished_at") or "").replace("T", " ").replace("+00:00", " UTC")),
        ("model", legible(model, 60)),
        ("correctors", ", ".join(summary.correctors)),
        ("run-time", words.duration(summary.seconds) if summary.seconds is not None else ""),
        ("labelfix", version),
    ]
    return [(name, value) for name, value in pairs if value]


def numbers(summary: Summary) -> list[Fact]:
    """Return what is counted, with a name for each."""
    unreadable = summary.statuses.get("unreadable", 0)
    skipped = summary.rows - summary.scored - unreadable
    pairs = [
        ("rows", summary.rows, True),
        ("classes", summary.classes, True),
        ("unreadable", unreadable, True),
        ("not judged", skipped, skipped > 0),
        ("auto-fixable", summary.auto_fix, summary.scored > 0),
    ]
    return [(name, f"{count:,}") for name, count, told in pairs if told]


def next_steps(run: Path | None) -> list[Fact]:
    """Return commands and what they are for."""
    if run is None:
        return []
    where = shlex.quote(str(run))
    return [
        (
            f"labelfix export {where} --to label-studio -o tasks.json",
            "Send the suspects to your annotation tool",
        ),
        (
            f"labelfix merge {where} answers.csv -o fixed.parquet",
            "Take the marks made on this page into the manifest",
        ),
        (f"labelfix gate BATCH --reference {where}", "Let CI judge the next batch by this run"),
    ]
