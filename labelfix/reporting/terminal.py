"""The summary for a terminal: readable at 80 columns and without colour."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

from rich.cells import cell_len
from rich.console import Console
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from labelfix.reporting import words
from labelfix.reporting.rates import GroupRate
from labelfix.reporting.summary import Summary
from labelfix.reporting.words import visible

WIDE = 120
"""Columns from which the reasons stand in the table of suspects."""

ANNOTATORS = 5
"""Most that are listed."""

PLAIN = str.maketrans(
    {"→": ">", "…": "~", "–": "-", "·": "-"} | dict(zip(words.BARS, "_.-~=+*#", strict=True))
)
"""What stands in for signs that the encoding may lack; one cell each, so that tables stay straight."""


def show(summary: Summary, console: Console) -> None:
    """Print the summary. Names are never read as markup, and no character can break the terminal."""
    show_safely(console, lambda: _print(summary, console))


def show_safely(console: Console, print_all: Callable[[], None]) -> None:
    """Let `print_all` print on the console, with what its encoding lacks replaced."""
    with console.capture() as captured:
        print_all()
    text = captured.get()
    encoding = console.encoding or "ascii"
    if not encoding.startswith("utf"):
        text = text.translate(PLAIN)
    console.file.write(text.encode(encoding, "backslashreplace").decode(encoding))
    console.file.flush()


def _print(summary: Summary, console: Console) -> None:
    def say(text: str, style: str = "", indent: int = 0) -> None:
        console.print(Padding(Text(text, style), (0, 0, 0, indent), expand=False))

    def heading(text: str) -> None:
        console.print()
        say(text, "bold")

    say(f"labelfix · {visible(summary.source, 60)}" if summary.source else "labelfix", "bold")
    say(words.coverage(summary))
    if summary.columns:
        say(words.columns(summary), "dim")
    for note in summary.notes:
        say(visible(note), "yellow")
    say(words.estimate(summary), "bold" if summary.scored else "bold red")

    if summary.suspects:
        heading("Most suspicious labels")
        console.print(_suspects(summary, console.width))
        if any(s.trajectory for s in summary.suspects):
            say("epochs: how likely a model that did not see the label found the suggestion.", "dim", 2)
        if console.width < WIDE:
            say("The reasons: column reason of findings.parquet, or --format markdown.", "dim", 2)
    if summary.scored:
        heading(words.review(summary))
        if len(summary.curve) > 1:
            console.print(_curve(summary))
    if summary.confusions:
        heading("Most confused classes")
        console.print(_confusions(summary))
    annotators = [group for group in summary.annotator_rates if group.enough][:ANNOTATORS]
    if annotators:
        heading("Annotators with the most wrong answers")
        console.print(_annotators(annotators))
    for index, line in enumerate(words.remarks(summary)):
        if not index:
            console.print()
        say(line)
    for paragraph in (words.conflicts(summary), words.unreadable(summary)):
        for index, line in enumerate(paragraph):
            say(line, "" if not index else "dim", 0 if not index else 2)
    if summary.files:
        heading(f"Files in {visible(summary.run or '', 200)}")
        console.print(_pairs([(path.rsplit("/", 1)[-1], what) for path, what in summary.files]))
    if summary.next_steps:
        heading("Next")
        for command, what in summary.next_steps:
            say(visible(command, 500), "bold", 2)
            say(what, "dim", 6)


def fit(text: str, cells: int, keep: str = "start") -> str:
    """Cut visible text to a number of terminal cells; keep="end" is for paths, whose end tells most."""
    text = visible(text)
    if cell_len(text) <= cells:
        return text
    kept = text if keep == "start" else text[::-1]
    while cell_len(kept) > cells - 1:
        kept = kept[:-1]
    return f"{kept}…" if keep == "start" else f"…{kept[::-1]}"


def _table(*columns: tuple[str, Literal["left", "right"]]) -> Table:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    for name, justify in columns:
        table.add_column(name, justify=justify, no_wrap=True, overflow="ellipsis")
    return table


def _suspects(summary: Summary, width: int) -> Padding:
    wide = width >= WIDE
    table = _table(("#", "right"), ("suspicion", "right"), ("given", "left"), ("→ suggested", "left"))
    traced = any(s.trajectory for s in summary.suspects)
    if traced:
        table.add_column("epochs", no_wrap=True)
    named = any(s.annotator for s in summary.suspects)
    if wide or not named:
        table.add_column("confidence", justify="right")
    table.add_column("id", no_wrap=True, overflow="ellipsis")
    if named:
        table.add_column("annotator", no_wrap=True, overflow="ellipsis")
    if wide:
        table.add_column("reason")
    for s in summary.suspects:
        cells = [f"{s.rank:,}", f"{s.suspicion:.2f}", fit(s.given, 16), f"→ {fit(s.suggested, 16)}"]
        cells += [words.sparkline(s.trajectory)] if traced else []
        cells += [f"{s.confidence:.2f}"] if wide or not named else []
        cells += [fit(s.id, 24 if wide else 15 if traced else 20, "end")]
        cells += [fit(s.annotator, 20 if wide else 10, "end")] if named else []
        table.add_row(*(Text(cell) for cell in [*cells, *([visible(s.reason)] if wide else [])]))
    return Padding(table, (0, 0, 0, 2), expand=False)


def _curve(summary: Summary) -> Padding:
    table = _table(("review first", "right"), ("errors found", "right"), ("remaining", "right"), ("", "left"))
    for point in summary.curve:
        found, left = (f"{round(number):,}" for number in (point.found, point.remaining))
        bar = "█" * round(24 * point.found / max(point.found + point.remaining, 1e-9))
        style = "bold" if point == summary.stop else ""
        table.add_row(*(Text(cell, style) for cell in (f"{point.review:,}", found, left, bar)))
    return Padding(table, (0, 0, 0, 2), expand=False)


def _confusions(summary: Summary) -> Padding:
    table = _table(("given", "left"), ("→ suggested", "left"), ("expected rows", "right"))
    for pair in summary.confusions:
        cells = (fit(pair.given, 26), f"→ {fit(pair.suggested, 26)}", f"{round(pair.expected):,}")
        table.add_row(*(Text(cell) for cell in cells))
    return Padding(table, (0, 0, 0, 2), expand=False)


def _annotators(groups: list[GroupRate]) -> Padding:
    table = _table(("annotator", "left"), ("answers", "right"), ("expected wrong", "right"), ("rate", "right"),
                   ("interval", "left"))  # fmt: skip
    for group in groups:
        interval = f"{words.percent(group.low)} to {words.percent(group.high)}"
        rate = f"{round(group.expected):,}", words.percent(group.rate), interval
        table.add_row(*(Text(cell) for cell in (fit(group.name, 26), f"{group.rows:,}", *rate)))
    return Padding(table, (0, 0, 0, 2), expand=False)


def _pairs(rows: list[tuple[str, str]]) -> Padding:
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, show_header=False)
    for left, right in rows:
        table.add_row(Text(visible(left)), Text(right, "dim"))
    return Padding(table, (0, 0, 0, 2), expand=False)
