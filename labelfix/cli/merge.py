"""`labelfix merge`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.argument("answers", type=click.Path(path_type=Path), nargs=-1, required=True)
@click.option("-o", "--out", type=click.Path(path_type=Path),
              help="The new manifest.  [default: beside the old one, NAME.fixed]")  # fmt: skip
@click.option("--manifest", metavar="FILE", help="The manifest, if not the one that was scanned.")
@click.option("--images", metavar="DIR", help="Where image paths start.  [default: as in the scan]")
@click.option(
    "--new-class", "new_classes", multiple=True, metavar="NAME", help="A class that answers may add."
)
@click.option("--set-aside", is_flag=True, help="Leave answers with unknown ids or classes out.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON document.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors and warnings only.")
def merge(run: Path, answers: tuple[Path, ...], quiet: bool, as_json: bool, **given: Any) -> None:
    """Bring ANSWERS, files that annotation tools exported, into the manifest of RUN.

    The manifest is written in its own format, with the corrected labels and
    columns that say who decided what. Answered rows are trusted by the next
    scan. All other bytes stay as they are.

    \b
    Example:
      labelfix merge run answers.json -o fixed.csv
      labelfix scan fixed.csv -o run2
    """
    from labelfix import merging
    from labelfix.merging.words import sentences

    merged = merging.merge(run, answers, **given)
    if as_json:
        import json
        from dataclasses import asdict

        click.echo(json.dumps({**asdict(merged), "pays": merged.pays}, indent=2, ensure_ascii=False))
        return
    for note in merged.notes:
        click.echo(f"note: {note}", err=True)
    if not quiet:
        click.echo("\n".join(sentences(merged)))
