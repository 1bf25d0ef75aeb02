"""`labelfix report`, and the summary that `labelfix scan` ends with."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from labelfix.errors import InputError, NewerError, UsageError

top_option = click.option("--top", type=click.IntRange(min=0), metavar="N", default=20, show_default=True,
                          help="Suspects to list.")  # fmt: skip


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--top", type=click.IntRange(min=0), metavar="N",
              help="Suspects to list.  [default: 20; 1000 with --html]")  # fmt: skip
@click.option("--format", "form", type=click.Choice(["rich", "markdown", "json"]),
              help="How to print it.  [default: rich; nothing is printed with --html]")  # fmt: skip
@click.option("--html", type=click.Path(path_type=Path, dir_okay=False), metavar="FILE",
              help="Write the page with images, trajectories and neighbours.")  # fmt: skip
@click.option("--images", metavar="DIR", help="Where the images are now, if they have moved since the scan.")
def report(run: Path, top: int | None, form: str | None, html: Path | None, images: str | None) -> None:
    """Print the summary of RUN, a run directory or a findings file, again.

    With --html the page that a scan leaves in its directory is made anew.

    \b
    Example:
      labelfix report run --top 100 --format markdown > report.md
      labelfix report run --html report.html
    """
    from labelfix.findings import Findings

    try:
        findings = Findings.read(run)
        if html is not None:
            _write_page(findings, run, html, top, images)
    except NewerError as error:
        if html is not None:
            from labelfix.reporting.page.rendering import write_refusal

            write_refusal(html, str(error))
        raise
    if form is not None or html is None:
        print_summary(findings, run, form or "rich", 20 if top is None else top, set())


def _write_page(findings: Any, run: Path, html: Path, top: int | None, root: str | None) -> None:
    """Write the page, and say on standard error how large it is and what is missing."""
    from labelfix.origin import scanned
    from labelfix.readers.again import images_again
    from labelfix.reporting.page.writing import TOP, write_page
    from labelfix.rundir import RunDir, check_spared

    if not html.absolute().parent.is_dir():
        raise UsageError(f"--html {html}: there is no directory {html.parent}; make it, or choose another")
    directory, record = _directory(run)
    if directory is None or html.resolve() != RunDir(directory.resolve()).report:
        check_spared([html], [run, *scanned(record)])
    found, why = None, ""
    try:
        found = images_again(record, findings.table.column("image").combine_chunks(), root)
    except InputError as error:
        why = str(error)
    limit = TOP if top is None else top
    written = write_page(html, findings, record, directory, found, limit, why)
    said = f"{html}: {written.suspects:,} of {written.total:,} suspects, {written.bytes / 1e6:.1f} MB"
    if written.missing:
        said += f"; {written.missing:,} without an image" + (f" ({why})" if why else "")
    click.echo(said, err=True)


def print_summary(findings: Any, run: Path, form: str, top: int, noted: set[str]) -> None:
    """Print the summary of findings in a format; `noted` was shown before."""
    from dataclasses import replace

    from labelfix.reporting import as_json, markdown, summary

    directory, record = _directory(run)
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


def _directory(run: Path) -> tuple[Path | None, dict[str, Any]]:
    """Return the run directory, None for a findings file, and its record, {} when there is none."""
    from labelfix.rundir import RunDir

    if not run.is_dir():
        return None, {}
    return run, RunDir(run).read() if RunDir(run).run_json.exists() else {}
