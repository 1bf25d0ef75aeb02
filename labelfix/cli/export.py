"""`labelfix export`: a run in another form, by whichever exporter is named."""

from __future__ import annotations

from pathlib import Path

import click


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--to", "name", required=True, metavar="NAME", help="Exporter, such as reference.")
@click.option("-o", "--out", type=click.Path(path_type=Path), required=True, help="File to write.")
def export(run: Path, name: str, out: Path) -> None:
    """Write RUN, a run directory, in another form.

    \b
    Example:
      labelfix export run --to reference -o reference.safetensors
    """
    from labelfix import plugins

    for path in plugins.load("exporters", name)().export(run, out):
        click.echo(f"{path}: {path.stat().st_size / 1e6:.1f} MB")
