"""`labelfix report`, and the summary that `labelfix scan` ends with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

top_option = click.option("--top", type=click.IntRange(min=0), metavar="N", default=20, show_default=True,
                          help="Suspects to list.")  # fmt: skip


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@top_option
@click.option("--format", "form", type=click.Choice(["rich", "markdown", "json"]), default="rich",
              show_default=True, help="How to print it.")  # fmt: skip
def report(run: Path, top: int, form: str) -> None:
    """Print the summary of RUN, a run directory or a findings file, again.

    \b
    Example:
      labelfix report run --top 100 --format markdown > report.md
    """
    from labelfix.findings import Findings

    print_summary(Findings.read(run), run, form, top, set())


def print_summary(findings: Any, run: Path, form: str, top: int, noted: set[str]) -> None:
    """Print the summary of findings in a format; `noted` was shown before."""
    from dataclasses import replace

    from labelfix.reporting import as_json, markdown, summary
    from labelfix.rundir import RunDir

    directory = run if run.is_dir() else None
    record = RunDir(run).read() if directory is not None and RunDir(run).run_json.exists() else {}
    found = summary.summarise(findings, record, directory, top)
    if form == "json":
        click.echo(as_json.render(found))
    elif form == "markdown":
        click.echo(markdown.render(found), nl=False)
    else:
        from rich.console import Console

        from labelfix.reporting import terminal

        notes = tuple(note for note in found.notes if note not in noted)
        terminal.show(replace(found, notes=notes), Console(highlight=False))
