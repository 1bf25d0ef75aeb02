"""results.md: how the numbers came about, the summary, the cells that were lost, every table, every column."""

from __future__ import annotations

from collections.abc import Iterable

from labelfix.benchmarking.results import CEILING, COLUMNS, NOTHING, TRIAL, Results
from labelfix.benchmarking.summary import Cell, cells, comparisons, lost
from labelfix.benchmarking.tables import headline, share, signed
from labelfix.reporting.words import percent

SHOWN = {
    "average_precision": "AP", "auroc": "AUROC", "fnr_at_true_budget": "FNR", "precision_at_100": "P@100", "f1": "F1",
    "flagged": "flagged", "rate_estimate": "rate", "rate_low": "low", "rate_high": "high",
    "rate_covered": "covered", "interval_score": "interval score", "ece": "ECE", "brier": "Brier",
    "brier_skill": "skill", "fixed": "fixed", "accuracy_fixed": "right after fixes",
    "accuracy_argmax": "right by argmax",
    "net_change": "net", "net_best": "best net", "distance": "distance", "downstream_pruned": "pruned",
    "downstream_fixed": "fixed labels", "downstream_soft": "soft labels", "seconds": "s",
}  # fmt: skip
"""Columns of the tables and their headings."""


def render(results: Results) -> str:
    """Return the whole document."""
    return "\n".join(
        [*_origin(results), *_summary(results), *_lost(results), *_tables(results), *_glossary()]
    )


def _origin(results: Results) -> list[str]:
    trials = {tuple(row[c] for c in TRIAL) for row in results.rows}
    seeds = sorted({row["seed"] for row in results.rows})
    evidence = {tuple(row[c] for c in TRIAL): row["evidence_seconds"] for row in results.rows}
    lines = [
        f"# Benchmark: {results.first} and its opponents", "", "```", results.command, "```", "",
        f"- Versions: {', '.join(f'{name} {number}' for name, number in results.versions.items())}.",
        f"- Host: {results.host}.",
        f"- {len(trials)} trials, seeds {', '.join(map(str, seeds))}.",
        f"- Evidence of all trials: {sum(evidence.values()):.1f} s, shared by all methods.",
    ]  # fmt: skip
    lines += [f"- {stage}: {seconds:.1f} s." for stage, seconds in results.seconds.items()]
    lines += [f"- {note}" for note in results.notes]
    return [
        *lines,
        f"- `{NOTHING}` leaves the given labels alone.",
        f"- `{CEILING}` is the tmlc net fitted on half of these rows with their true labels and scored on the other",
        "  half, both ways: an oracle. No other row has seen the truth.",
        "",
    ]


def _summary(results: Results) -> list[str]:
    lines = [
        f"## {results.first} against the best other method", "",
        "The other method is the one with the best mean over the group. Differences are paired by trial; intervals",
        "(95 %) are percentiles of 10,000 bootstrap draws of trials, so they speak of other seeds and settings",
        "like these, not of other data.", "",
    ]  # fmt: skip
    for column, heading, higher in (
        ("average_precision", "AP (higher is better)", True),
        ("fnr_at_true_budget", "FNR at the true budget (lower is better)", False),
    ):
        rows = [
            [one.group, str(one.trials), share(one.ours), one.other, signed(one.difference),
             f"{signed(one.low)} … {signed(one.high)}" if one.trials > 1 else "–"]
            for one in comparisons(results, column, higher)
        ]  # fmt: skip
        titles = [heading, "trials", results.first, "best other", "difference", "95 % interval"]
        lines += [*_rows(titles, rows), ""] if rows else [f"{heading}: nothing to compare.", ""]
    return lines


def _lost(results: Results) -> list[str]:
    worse = lost(results)
    lines = [f"## Where {results.first} loses", ""]
    if not worse:
        return [*lines, "In no table, by AP.", ""]
    rows = [[cell.title, other, signed(difference)] for cell, other, difference in worse]
    return [*lines, *_rows(["table", "best method", "AP difference"], rows), ""]


def _tables(results: Results) -> list[str]:
    lines = ["## Tables", "", "Means over seeds; empty where a method does not claim it.", ""]
    for cell in cells(results):
        lines += [f"### {headline(cell)}", "", *_downstream(cell)]
        columns = [c for c in SHOWN if any(means.get(c) is not None for means in cell.rows.values())]
        rows = [
            [f"**{method}**" if method == results.first else method]
            + [_written(column, means.get(column)) for column in columns]
            for method, means in cell.rows.items()
        ]
        lines += [*_rows(["method", *(SHOWN[c] for c in columns)], rows), ""]
    return lines


def _downstream(cell: Cell) -> list[str]:
    given, true, held = (cell.of(c) for c in ("downstream_given", "downstream_truth", "held_out"))
    if given is None or true is None or held is None:
        return []
    return [
        f"A probe trained on the given labels is right on {percent(given)} of {round(held):,} held-out rows,",
        f"on true labels {percent(true)}.", "",
    ]  # fmt: skip


def _glossary() -> list[str]:
    rows = [[f"`{name}`", SHOWN.get(name, ""), text] for name, (_, text) in COLUMNS.items()]
    return ["## Columns of results.parquet", "", *_rows(["column", "above", "meaning"], rows), ""]


def _written(column: str, value: float | None) -> str:
    if value is None:
        return ""
    if column == "net_change":
        return signed(value)
    return f"{value:.1f}" if column == "seconds" else share(value)


def _rows(titles: list[str], rows: Iterable[list[str]]) -> list[str]:
    def line(texts: list[str]) -> str:
        return f"| {' | '.join(text.replace('|', chr(92) + '|') for text in texts)} |"

    return [line(titles), f"|{'---|' * len(titles)}", *map(line, rows)]
