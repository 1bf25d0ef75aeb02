"""`labelfix export` and `labelfix pull`: tasks out to an annotation tool, and what a server holds back."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from labelfix.cli.live import progress_on_stderr
from labelfix.errors import UsageError

SERVING = ("blind", "copies", "image_url", "images")


@click.command()
@click.argument("run", type=click.Path(path_type=Path))
@click.option("--to", metavar="NAME", required=True, help="Format or tool; labelfix plugins lists them.")
@click.option("-o", "--out", type=click.Path(path_type=Path), help="File or directory to write.")
@click.option("--top", type=int, metavar="N", help="The N most suspicious rows.")
@click.option("--min-suspicion", type=float, metavar="S", help="Rows at least so suspicious, 0 to 1.")
@click.option("--budget", type=int, metavar="N", help="N tasks: those that mend most, and a random tenth.")
@click.option("--audit", type=int, metavar="N",
              help="Tasks drawn at random, for estimates.  [default: a tenth of --budget, else 0]")  # fmt: skip
@click.option("--per-class", type=int, metavar="N", help="At most N suspicious rows of each given label.")
@click.option("--only", multiple=True, metavar="ISSUE",
              help="label-error, auto-fix, ambiguous, outlier, duplicate or conflict; repeat for several.")  # fmt: skip
@click.option("--blind", is_flag=True, help="Show no label, suggestion or suspicion, against anchoring.")
@click.option("--copies", type=int, metavar="K", default=1, help="K equal queues, one for each annotator.")
@click.option("--seed", type=int, metavar="N", default=0, help="Of what is drawn at random.")
@click.option("--images", metavar="DIR", help="Where image paths start.  [default: as in the scan]")
@click.option("--image-url", metavar="URL", default="", help="What tools put before image paths instead.")
@click.option(
    "--push", metavar="URL", help="Send the tasks to a server, each once, instead of writing files."
)
@click.option("--project", metavar="NAME", help="Project or dataset on that server.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors and warnings only.")
def export(
    run: Path, to: str, out: Path | None, push: str | None, project: str | None, quiet: bool, **given: Any
) -> None:
    """Send suspicious rows of RUN to an annotation tool, the most suspicious first.

    Without --top, --min-suspicion, --budget or --only, these are the rows that
    are flagged as label errors. With --budget, rows drawn at random come along,
    so that labelfix merge can estimate how many errors are left.

    \b
    Example:
      labelfix export run --to label-studio -o tasks.json --budget 200
      labelfix export run --to label-studio --push http://localhost:8080 --project clothes
    """
    from labelfix import exporting
    from labelfix.exporters.selecting import Selection

    progress = progress_on_stderr(quiet)
    if push is None:
        if out is None or project is not None:
            raise UsageError(
                "name the file to write with -o, or the server with --push URL and --project NAME"
            )
        for path in exporting.export(run, to, out, progress=progress, **given):
            if not quiet:
                click.echo(path)
        return
    if project is None or out is not None:
        raise UsageError("--push needs --project NAME, and no -o: the tasks go to that project")
    serving = exporting.Serving(**{name: given.pop(name) for name in SERVING})
    count, new = exporting.push(run, to, push, project, Selection(**given), serving, progress)
    if not quiet:
        click.echo(f"{count:,} tasks are in {project!r}, {new:,} of them new")


@click.command()
@click.argument("url")
@click.option("--from", "tool", metavar="NAME", required=True, help="Tool that runs there.")
@click.option("--project", metavar="NAME", required=True, help="Project or dataset on that server.")
@click.option(
    "-o", "--out", type=click.Path(path_type=Path), required=True, help="File or directory to write."
)
def pull(url: str, tool: str, project: str, out: Path) -> None:
    """Fetch the answers of a project from the server at URL, for labelfix merge.

    \b
    Example:
      labelfix pull http://localhost:8080 --from label-studio --project clothes -o answers.json
    """
    from labelfix import plugins

    click.echo(plugins.load("servers", tool)().pull(url, project, out))
