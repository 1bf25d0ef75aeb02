"""The table on a terminal: a line for each variant of the labels, at 80 columns."""

from __future__ import annotations

from rich.console import Console
from rich.table import Table
from rich.text import Text

from labelfix.benchmarking.tables import share
from labelfix.reporting.terminal import show_safely
from labelfix.reporting.words import plural, visible
from labelfix.retraining.results import Results

FIRST = 3
"""Unknown classes that are named."""


def show(results: Results, console: Console) -> None:
    """Print what was trained and how well it does; no name can break the terminal."""
    show_safely(console, lambda: _print(results, console))


def _print(results: Results, console: Console) -> None:
    def say(text: str, style: str = "") -> None:
        console.print(Text(visible(text, 500), style), soft_wrap=True)

    how = "heads on frozen features" if results.mode == "probe" else "fine-tuned models"
    say(f"labelfix · {results.run}: {how}, {plural(len(results.classes), 'class')}", "bold")
    table = Table(box=None, padding=(0, 2, 0, 0), pad_edge=False, header_style="dim")
    table.add_column("labels", no_wrap=True)
    headings = (
        ["rows"] if results.counts is None else ["rows", "accuracy", "±", "balanced", "ECE", "log loss"]
    )
    for heading in (*headings, "seconds"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in results.classifiers:
        cells, found = [row.labels, f"{row.rows:,}"], row.evaluation
        if found is not None:
            cells += [share(found.accuracy), share(found.accuracy_error), share(found.balanced_accuracy)]
            cells += [share(found.calibration_error), f"{found.log_loss:.3f}"]
        table.add_row(*map(Text, [*cells, f"{row.seconds:.1f}"]))
    console.print(table)
    counts = results.counts
    if counts is not None:
        say(
            f"On {plural(counts['evaluated'], 'row')} of {results.held_out}; ± is one standard error of the accuracy"
        )
        for name, what in (("unreadable", "cannot be read"), ("unlabelled", "no label")):
            if counts[name]:
                say(f"Not counted: {plural(counts[name], 'row')}, {what}", "yellow")
        if counts["unknown_class"]:
            named = ", ".join(list(counts["unknown_classes"])[:FIRST])
            say(
                f"Not counted: {plural(counts['unknown_class'], 'row')} of classes the run lacks ({named})",
                "yellow",
            )
        if counts["also_trained_on"]:
            number = plural(counts["also_trained_on"], "row")
            say(f"Also among the rows trained on, which flatters all of them: {number}", "yellow")
    say(
        f"Files in {results.out}: {', '.join(f'{row.labels}.safetensors' for row in results.classifiers)}, results.json"
    )
