"""`labelfix gate`: the options, the outputs, and the exit code."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from labelfix.cli.live import progress_on_stderr
from labelfix.errors import InconclusiveError, UsageError

if TYPE_CHECKING:
    from labelfix.gating.verdict import Verdict

POLICY = Path("labelfix.toml")
"""Read from the working directory where no policy is named."""
FORMATS = ("text", "json", "markdown", "junit", "sarif", "github", "html")

file = click.Path(path_type=Path, dir_okay=False)


@click.command()
@click.argument("batch", metavar="BATCH|RUN")
@click.option("--reference", type=click.Path(path_type=Path), metavar="RUN|FILE",
              help="Finished scan, or what `export --to reference` made of one.")  # fmt: skip
@click.option("--policy", type=file, metavar="TOML", help="Limits.  [default: labelfix.toml if it is there]")
@click.option("--baseline", type=file, metavar="JSON", help="Findings that are known already, and waivers.")
@click.option("--update-baseline", is_flag=True, help="Write the findings to the baseline.")
@click.option(
    "--audited", type=file, metavar="TABLE", help="True labels (id, label) of rows of the reference."
)
@click.option("--images", metavar="DIR", help="Where image paths start, if not beside the manifest.")
@click.option("--image-col", metavar="COL", help="Column with image paths or bytes.")
@click.option("--label-col", metavar="COL", help="Column with the labels to check.")
@click.option("--id-col", metavar="COL", help="Column that names each row.")
@click.option("--group-col", metavar="COL", help="Column with patient, video, product: never parted.")
@click.option("--trusted-col", metavar="COL", help="Column that is true where a label is known right.")
@click.option("--annotator-col", metavar="COL", help="Column that says who gave the label.")
@click.option("--split-col", metavar="COL", help="Column with train, validation, test.")
@click.option("--features", metavar="FILE|COL", help="Embeddings, if the reference was made with such.")
@click.option("--pred-probs", metavar="FILE|COL", help="Probabilities, if the reference was made with such.")
@click.option("--format", "form", type=click.Choice(FORMATS), default="text", show_default=True,
              help="What is printed.")  # fmt: skip
@click.option("--json", "as_json", type=file, metavar="FILE", help="Also write JSON.")
@click.option("--markdown", type=file, metavar="FILE", help="Also write Markdown.")
@click.option("--junit", type=file, metavar="FILE", help="Also write JUnit XML, a test case for each check.")
@click.option("--sarif", type=file, metavar="FILE", help="Also write SARIF 2.1.0.")
@click.option("--html", type=file, metavar="FILE", help="Also write a page.")
@click.option("--findings", type=file, metavar="FILE", help="Also write findings.parquet of the batch.")
@click.option("--github-summary", is_flag=True, help="Also append to the job summary of GitHub Actions.")
@click.option("--top", type=click.IntRange(min=0), metavar="N", default=20, show_default=True,
              help="Findings that are printed.")  # fmt: skip
@click.option(
    "--exit-zero", is_flag=True, help="Exit 0 when the gate fails or is inconclusive, to try it out."
)
@click.option("--cache", type=click.Path(path_type=Path), help="Directory of features shared by all runs.")
@click.option(
    "--device", metavar="NAME", default="auto", help="cpu, cuda or cuda:1.  [default: a GPU if any]"
)
@click.option("--workers", type=click.IntRange(min=0), metavar="N", help="Processes that decode images.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors only; files are written.")
def gate(
    batch: str, reference: Path | None, policy: Path | None, baseline: Path | None, update_baseline: bool,
    form: str, findings: Path | None, github_summary: bool, top: int, exit_zero: bool, quiet: bool, **given: Any,
) -> int:  # fmt: skip
    """Accept or reject a batch of labels, for CI.

    A BATCH, a manifest as `labelfix scan` reads it, is judged by a reference; a
    RUN, a finished scan, by itself; a BATCH without a reference is
    cross-validated within itself. Exits 0 if it is accepted, 1 if it fails, 5 if
    that cannot be told.

    \b
    Example:
      labelfix gate batch.csv --reference run --junit gate.xml
    """
    from labelfix.gating.policy import Policy

    limits = Policy.read(policy or POLICY) if policy is not None or POLICY.exists() else Policy()
    files = _files(given, github_summary)
    outputs = [*(path for path, _ in files), *filter(None, (findings, baseline if update_baseline else None))]
    if given["sarif"] is not None:
        outputs.append(_sidecar(given["sarif"]))
    read = [batch, reference, policy or POLICY, None if update_baseline else baseline, given["audited"]]
    read += [given["features"], given["pred_probs"], *_scanned(reference)]
    _check_places(outputs, [Path(str(one)) for one in read if one])
    from labelfix.gatekeeping import Setting
    from labelfix.gatekeeping import gate as run_gate
    from labelfix.readers.interface import Columns

    roles = ("image", "label", "id", "group", "trusted", "annotator", "split")
    columns = Columns(**{role: given[f"{role}_col"] for role in roles}, root=given["images"])
    rest = {name: given[name] for name in ("features", "pred_probs", "audited", "cache", "device", "workers")}
    try:
        verdict = run_gate(
            batch, reference, limits, baseline=baseline, update_baseline=update_baseline,
            setting=Setting(columns, **rest), findings=findings, progress=progress_on_stderr(quiet),
        )  # fmt: skip
    except InconclusiveError as error:
        if not exit_zero:
            raise
        click.echo(f"inconclusive: {error}", err=True)
        return 0
    for path, render in files:
        _write(path, render(verdict))
    if given["sarif"] is not None and not verdict.lines:
        from labelfix.gating.formats import sarif

        _write(_sidecar(given["sarif"]), sarif.rows(verdict))
    if github_summary:
        _append_summary(verdict)
    if not quiet:
        _print(verdict, form, top)
    return 0 if exit_zero else verdict.exit_code


def _files(given: dict[str, Any], github_summary: bool) -> list[tuple[Path, Callable[[Verdict], str]]]:
    """Return the files to write and what renders each."""
    if github_summary and not os.environ.get("GITHUB_STEP_SUMMARY"):
        raise UsageError(
            "--github-summary works inside GitHub Actions only, where GITHUB_STEP_SUMMARY names a file"
        )
    wanted = (
        ("json", "as_json"),
        ("markdown", "markdown"),
        ("junit", "junit"),
        ("sarif", "sarif"),
        ("html", "html"),
    )
    return [
        (given[option], _renderer(name, given[option]))
        for name, option in wanted
        if given[option] is not None
    ]


def _renderer(name: str, path: Path | None = None) -> Callable[[Verdict], str]:
    def render(verdict: Verdict) -> str:
        from labelfix.gating.formats import as_json, github, html, junit, markdown, sarif

        if name == "sarif":
            return sarif.render(verdict, None if verdict.lines or path is None else _sidecar(path).as_posix())
        of = {"json": as_json.render, "markdown": markdown.render, "junit": junit.render, "html": html.render}
        return of.get(name, github.commands)(verdict)

    return render


def _sidecar(path: Path) -> Path:
    return path.with_name(f"{path.name}.rows.jsonl")


def _scanned(reference: Path | None) -> list[str]:
    """Return the manifest that a reference which is a run directory was made of."""
    from labelfix.origin import scanned
    from labelfix.rundir import RunDir

    run = None if reference is None else RunDir(reference)
    return [] if run is None or not run.run_json.is_file() else scanned(run.read())


def _check_places(paths: list[Path], read: list[Path]) -> None:
    """Raise UsageError for what could not be written after minutes of work, or would replace what is `read`."""
    from labelfix.rundir import check_spared

    for path in paths:
        place = path.resolve()
        if not path.name or not place.parent.is_dir():
            raise UsageError(f"{path}: its directory does not exist; make it first, or choose another file")
        if place.exists() and not place.is_file():
            raise UsageError(f"{path}: is no file; choose another name, or print with --format")
    check_spared(paths, read)
    if len({path.resolve() for path in paths}) < len(paths):
        raise UsageError("two outputs have the same name; choose another for one of them")


def _write(path: Path, text: str) -> None:
    from labelfix.rundir import writing

    with writing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _append_summary(verdict: Verdict) -> None:
    from labelfix.gating.formats import github
    from labelfix.rundir import output_error

    path = Path(os.environ["GITHUB_STEP_SUMMARY"])
    try:
        with path.open("a", encoding="utf-8") as file:
            file.write(github.summary(verdict))
    except OSError as error:
        raise output_error(path, error) from error


def _print(verdict: Verdict, form: str, top: int) -> None:
    if form == "text":
        from rich.console import Console

        from labelfix.gating.formats import text

        text.show(verdict, Console(highlight=False), top)
    else:
        click.echo(_renderer(form)(verdict), nl=False)
