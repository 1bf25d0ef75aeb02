"""The tables on a terminal: one for each data set and noise, means over seeds, at 80 columns."""

from __future__ import annotations

from collections.abc import Callable

from rich.console import Console
from rich.table import Table
from rich.text import Text

from labelfix.benchmarking.results import CEILING, NOTHING, Results
from labelfix.benchmarking.summary import Cell, cells, comparisons, lost
from labelfix.reporting.terminal import fit, show_safely
from labelfix.reporting.words import percent, plural, visible

METHOD_CELLS = 26
"""Width of the names."""


def share(value: float) -> str:
    """.623, 1.00"""
    return f"{value:.2f}" if value >= 0.9995 else f"{value:.3f}".replace("0.", ".", 1)


def signed(value: float) -> str:
    """+.012"""
    return f"{value:+.3f}".replace("0.", ".", 1)


MAIN: dict[str, tuple[str, Callable[[float], str]]] = {
    "average_precision": ("AP", share),
    "fnr_at_true_budget": ("FNR", share),
    "precision_at_100": ("P@100", share),
    "f1": ("F1", share),
    "ece": ("ECE", share),
    "rate_estimate": ("rate", lambda value: f"{100 * value:.1f}%"),
    "net_change": ("net", signed),
    "seconds": ("sec", lambda value: f"{value:.1f}"),
}
"""Column → heading and how a number is written."""


def show(results: Results, console: Console) -> None:
    """Print all tables; no name is read as markup, and no character can break the terminal."""

    def print_all() -> None:
        for cell in cells(results):
            console.print()
            console.print(Text(visible(headline(cell)), "bold"), soft_wrap=True)
            console.print(_table(cell, results.first))
        _print_end(results, console)

    show_safely(console, print_all)


def headline(cell: Cell) -> str:
    """Say what a table is about: data, noise, rows, true rate, seeds."""
    rows, rate = cell.of("rows"), cell.of("true_rate")
    assert rows is not None
    assert rate is not None
    return f"{cell.title} · {percent(rate)} wrong of {round(rows):,} · {plural(cell.seeds, 'seed')}"


def _table(cell: Cell, first: str) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("method", no_wrap=True)
    for heading, _ in MAIN.values():
        table.add_column(heading, justify="right", no_wrap=True)
    for method, means in cell.rows.items():
        style = "bold" if method == first else "dim" if method in {NOTHING, CEILING} else ""
        shown = [Text(fit(method, METHOD_CELLS), style)]
        for column, (_, written) in MAIN.items():
            value = means[column]
            shown.append(Text("" if value is None else written(value), style))
        table.add_row(*shown)
    return table


def _print_end(results: Results, console: Console) -> None:
    console.print()
    for one in comparisons(results, "average_precision"):
        sure = f"{signed(one.low)} … {signed(one.high)}" if one.trials > 1 else "one trial"
        line = f"{one.group}: AP {signed(one.difference)} ({sure}) against {one.other}"
        console.print(Text(visible(line)), soft_wrap=True)
    worse = lost(results)
    if worse:
        console.print(
            Text(f"{results.first} loses in {plural(len(worse), 'table')}; the list is in results.md")
        )
