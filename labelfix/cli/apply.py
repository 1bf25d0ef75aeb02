"""`labelfix apply`."""

from __future__ import annotations

from pathlib import Path

import click

from labelfix.errors import UsageError

SHOWN = 10


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("-o", "--out", type=click.Path(path_type=Path),
              help="The new manifest.  [default: beside the old one, NAME.fixed]")  # fmt: skip
@click.option("--min-confidence", type=float, metavar="P", default=0.0, help="Of the suggestion, 0 to 1.")
@click.option(
    "--write", is_flag=True, help="Write the manifest and an undo file; else only say what would be."
)
@click.option("--manifest", metavar="FILE", help="The manifest, where it was moved since the scan.")
@click.option(
    "--undo", type=click.Path(path_type=Path), metavar="FILE", help="Take back what this file records."
)
def apply(
    run: Path, out: Path | None, min_confidence: float, write: bool, manifest: str | None, undo: Path | None
) -> None:
    """Replace labels of RUN without review, where that should do more good than harm.

    Nothing is written without --write. The old manifest stays as it is.

    \b
    Example:
      labelfix apply run --min-confidence 0.9
      labelfix apply run --min-confidence 0.9 --write -o fixed.csv
      labelfix apply run --undo fixed.csv.undo.json -o as_before.csv
    """
    from labelfix import applying
    from labelfix.reporting.words import about, plural, visible

    if undo is not None:
        if out is None:
            raise UsageError("--undo writes a manifest too: name it with -o")
        click.echo(f"{plural(applying.take_back(run, undo, out), 'label')} taken back: {out}")
        return
    done = applying.apply(run, out, min_confidence=min_confidence, write=write, manifest=manifest)
    verb = "replaced" if write else "would be replaced"
    click.echo(
        f"{plural(done.rows, 'label')} {verb}: {about(done.right)} should become right, {about(done.wrong)} were right"
    )
    for given, new, count in done.pairs[:SHOWN]:
        click.echo(f"  {count:>6,}  {visible(given, 40)} → {visible(new, 40)}")
    if len(done.pairs) > SHOWN:
        click.echo(f"  and {plural(len(done.pairs) - SHOWN, 'other pair')}")
    if done.out is not None:
        click.echo(f"Written: {done.out}, and {done.undo}, which takes it back with --undo")
    else:
        click.echo("Nothing is written; --write does it")
