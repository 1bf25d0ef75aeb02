"""The verdict for a terminal."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from labelfix.gating.formats import told
from labelfix.gating.verdict import Verdict
from labelfix.reporting.terminal import show_safely
from labelfix.reporting.words import visible

STYLE = {"pass": "green", "warn": "yellow", "fail": "bold red", "inconclusive": "magenta"}


def show(verdict: Verdict, console: Console, top: int = 20) -> None:
    """Print the verdict, the worst findings last seen first. Names are never read as markup."""
    show_safely(console, lambda: _print(verdict, console, top))


def _print(verdict: Verdict, console: Console, top: int) -> None:
    console.print(Text(f"labelfix gate · {told.headline(verdict)}", style=STYLE[verdict.outcome]))
    for fact in told.facts(verdict):
        console.print(Text(fact))
    for note in verdict.notes:
        console.print(Text(f"note: {visible(note, 2000)}"))
    console.print()
    table = Table(box=None, padding=(0, 1), pad_edge=False, show_header=False)
    for check in verdict.checks:
        message = Text.assemble((check.name, "bold"), "  ", visible(check.message, 2000))
        table.add_row(Text(check.outcome, style=STYLE[check.outcome]), message)
    console.print(table)
    shown = verdict.findings[:top]
    if shown:
        console.print()
        console.print(Text("Suspicious labels", style="bold"))
        rows = Table(box=None, padding=(0, 1), header_style="dim")
        for name in ("suspicion", "given", "→ suggested", "id", "state"):
            rows.add_column(name, justify="right" if name == "suspicion" else "left", overflow="fold")
        for one in shown:
            cells = (f"{one.suspicion:.2f}", one.label, f"→ {one.suggested}", one.id, one.state)
            rows.add_row(*(Text(visible(cell, 60)) for cell in cells))
        console.print(rows)
        if cut := told.cut(len(shown), len(verdict.findings), "; --top shows more"):
            console.print(Text(cut))
