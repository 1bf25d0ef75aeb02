"""The command line: parse, call, print, exit. Nothing heavy is imported before a command needs it.

Exit codes: 0 fine, 1 the gate failed, 2 bad usage or configuration, 3 input that cannot be read,
4 internal error, 5 inconclusive, 130 interrupted, 141 the reader of a pipe went away, 143 terminated.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from labelfix import __version__
from labelfix.errors import LabelfixError, LabelfixWarning
from labelfix.progress import Progress, Silent

if TYPE_CHECKING:
    from labelfix.reporting.live import Bars, Lines

INTERRUPTED, BROKEN_PIPE, TERMINATED = 130, 141, 143
CONTEXT = {"help_option_names": ["-h", "--help"]}


class Terminated(KeyboardInterrupt):
    """SIGTERM: ends like an interrupt, with its own exit code."""


top_option = click.option("--top", type=click.IntRange(min=0), metavar="N", default=20, show_default=True,
                          help="Suspects to list.")  # fmt: skip


@click.group(context_settings=CONTEXT)
@click.version_option(__version__, message="labelfix %(version)s")
@click.option("--debug", is_flag=True, expose_value=False, help="Show tracebacks and all warnings.")
def cli() -> None:
    """Find and fix wrong labels in image-classification data.

    \b
    Example:
      labelfix scan manifest.csv -o run
      labelfix report run --top 50
    """


@cli.command()
@click.argument("manifest")
@click.option("-o", "--out", type=click.Path(path_type=Path), default=Path("labelfix-run"), show_default=True,
              help="Directory for the results.")  # fmt: skip
@click.option("--images", metavar="DIR", help="Where image paths start, if not beside the manifest.")
@click.option("--image-col", metavar="COL", help="Column with image paths or bytes.")
@click.option("--label-col", metavar="COL", help="Column with the labels to check.")
@click.option("--id-col", metavar="COL", help="Column that names each row.")
@click.option("--group-col", metavar="COL", help="Column with patient, video, product: never parted.")
@click.option("--trusted-col", metavar="COL", help="Column that is true where a label is known right.")
@click.option("--annotator-col", metavar="COL", help="Column that says who gave the label.")
@click.option("--split-col", metavar="COL", help="Column with train, validation, test; carried along.")
@click.option("--features", metavar="FILE|COL", help="Embeddings you have: NPY, NPZ, Parquet, or a column.")
@click.option("--pred-probs", metavar="FILE|COL", help="Out-of-sample probabilities of your own model.")
@click.option("--backbone", metavar="NAME", help="Any timm model, or NAME@checkpoint.safetensors.")
@click.option("--image-size", type=int, metavar="PIXELS", help="Side of the square the backbone sees.")
@click.option("--precision", type=click.Choice(["auto", "bfloat16", "float32"]), help="Backbone arithmetic.")
@click.option("-c", "--corrector", "correctors", multiple=True, metavar="NAME", default=("tmlc", "cleanlab"),
              help="Method; repeat for several, the first one ranks.  [default: tmlc, cleanlab]")  # fmt: skip
@click.option("--cache", type=click.Path(path_type=Path), help="Directory of features shared by all runs.")
@click.option("--seed", type=int, metavar="N", help="Of everything drawn at random.  [default: 0]")
@click.option("--device", metavar="NAME", help="cpu, cuda or cuda:1.  [default: a GPU if there is one]")
@click.option("--workers", type=click.IntRange(min=0), metavar="N", help="Processes that decode images.")
@click.option("--resume", is_flag=True, help="Continue an interrupted run in the same directory.")
@click.option("-q", "--quiet", is_flag=True, help="Print errors and warnings only.")
@click.option("--json", "as_json", is_flag=True, help="Print the summary as one JSON document.")
@top_option
def scan(
    manifest: str, out: Path, correctors: tuple[str, ...], quiet: bool, as_json: bool, top: int, **given: Any
) -> None:
    """Rank the labels of MANIFEST by how likely they are wrong.

    MANIFEST is a CSV, TSV, JSONL or Parquet file, a folder of images with a
    folder for each class, a folder of Parquet shards, or a URL of one of these.

    \b
    Example:
      labelfix scan manifest.csv --images photos/ --label-col label -o run
    """
    progress = _progress(quiet)
    progress.note(f"labelfix {__version__}: scanning {manifest}")
    from labelfix.learn.recipe import Recipe
    from labelfix.pipeline import scan as run_scan
    from labelfix.readers.interface import Columns

    chosen = {name: value for name, value in given.items() if value is not None}
    columns = {
        role: chosen.get(f"{role}_col")
        for role in ("image", "label", "id", "group", "trusted", "annotator", "split")
    }
    choices = ("backbone", "image_size", "precision", "seed", "device", "workers")
    findings = run_scan(
        manifest,
        Recipe(**{name: chosen[name] for name in choices if name in chosen}),
        correctors=tuple(dict.fromkeys(correctors)),
        out=out,
        columns=Columns(**columns, root=chosen.get("images"), with_images=not _brings_evidence(chosen)),
        features=chosen.get("features"),
        pred_probs=chosen.get("pred_probs"),
        cache=chosen.get("cache"),
        resume=chosen["resume"],
        progress=progress,
    )
    if as_json or not quiet:
        _print_summary(findings, out, "json" if as_json else "rich", top, getattr(progress, "noted", set()))


@cli.command()
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

    _print_summary(Findings.read(run), run, form, top, set())


@cli.command("meta-train")
@click.argument("sources", nargs=-1, metavar="[SOURCES]...")
@click.option("-o", "--out", type=click.Path(path_type=Path, dir_okay=False), required=True,
              help="File for the weights.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Of the tasks and of the fit.")
@click.option("--tasks", type=click.IntRange(min=1), metavar="N", default=600, show_default=True,
              help="How many tasks to practise on.")  # fmt: skip
@click.option("--bank", type=click.Path(path_type=Path, file_okay=False),
              help="Directory that keeps the tasks, to continue or reuse them.")  # fmt: skip
def meta_train(sources: tuple[str, ...], out: Path, seed: int, tasks: int, bank: Path | None) -> None:
    """Rebuild the weights of the tmlc corrector.

    SOURCES are labelled sets whose labels are right; wrong labels are planted in
    them, in scikit-learn's digits and in generated data. Each is what scan reads,
    and a table may name its columns: FILE:LABELS, or FILE@EMBEDDINGS:LABELS.

    \b
    Example:
      labelfix meta-train flowers.parquet:species -o weights.safetensors --seed 1
    """
    from labelfix.metatraining import meta_train as run_meta_train

    run_meta_train(sources, out, bank=bank, seed=seed, tasks=tasks, progress=_progress(quiet=False))


@cli.command()
def plugins() -> None:
    """List the installed readers and correctors, and their packages.

    \b
    Example:
      labelfix plugins
    """
    from labelfix.plugins import names

    for kind in ("readers", "correctors", "exporters"):
        found = names(kind)
        if found:
            click.echo(f"{kind}:")
        for name, point in found.items():
            package = f"{point.dist.name} {point.dist.version}" if point.dist is not None else point.module
            click.echo(f"  {name:<20} {package}")


def _brings_evidence(chosen: dict[str, Any]) -> bool:
    return "features" in chosen or "pred_probs" in chosen


def _progress(quiet: bool) -> Progress:
    if quiet:
        return Silent()
    from rich.console import Console

    from labelfix.reporting.live import progress_on

    shown: Bars | Lines = progress_on(Console(stderr=True, highlight=False))
    return shown


def _print_summary(findings: Any, run: Path, form: str, top: int, noted: set[str]) -> None:
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


def _quieten() -> None:
    """Keep the warnings of other libraries off the screen; ours become one line each."""
    import logging

    def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
        if issubclass(category, LabelfixWarning):
            click.echo(f"warning: {message}", err=True)

    warnings.showwarning = show
    logging.lastResort = None
    os.environ.setdefault("PYTHONWARNINGS", "ignore")  # for processes that are started afresh


def _terminate_from(process: int) -> Callable[[int, Any], None]:
    def terminate(_: int, __: Any) -> None:
        if os.getpid() != process:  # a worker forked off by a library: no clean-up, no words
            os._exit(TERMINATED)
        raise Terminated

    return terminate


def run(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code: the one place where errors become words."""
    try:
        with cli.make_context("labelfix", list(arguments)) as context:
            cli.invoke(context)
        sys.stdout.flush()
    except click.exceptions.Exit as stop:
        return stop.exit_code
    except click.ClickException as error:
        error.show()
        return 2
    except LabelfixError as error:
        return _failed(f"error: {error}", error.exit_code)
    except (KeyboardInterrupt, click.Abort) as stop:
        how = "terminated" if isinstance(stop, Terminated) else "interrupted"
        hint = "; the same command with --resume continues where it stopped" if "scan" in arguments else ""
        return _failed(f"{how}{hint}", TERMINATED if isinstance(stop, Terminated) else INTERRUPTED)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python complains at exit
        return BROKEN_PIPE
    except Exception as error:  # noqa: BLE001 (the last resort: a crash must not exit 1)
        if isinstance(error, MemoryError) or "out of memory" in str(error) or "allocate memory" in str(error):
            return _failed("error: out of memory; try fewer --workers or a smaller --image-size", 4)
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            return _failed("error: the disk is full", 4)
        return _failed(f"internal error: {type(error).__name__}: {error}{_report_it()}", 4)
    return 0


def _failed(message: str, code: int) -> int:
    if code == 4 and _debugging():
        import traceback

        traceback.print_exc()
    from labelfix.reporting.words import visible

    click.echo(visible(" ".join(message.split()), 2000), err=True)
    return code


def _debugging() -> bool:
    return "--debug" in sys.argv[1:] or os.environ.get("LABELFIX_DEBUG", "") not in {"", "0"}


def _report_it() -> str:
    more = "" if _debugging() else ", and what LABELFIX_DEBUG=1 shows"
    return f" (this is a bug: please report it to the labelfix issue tracker with the command{more})"


def main() -> NoReturn:
    """Run the console script."""
    instruction = os.environ.get("_LABELFIX_COMPLETE")
    if instruction:
        from click.shell_completion import shell_complete

        sys.exit(shell_complete(cli, {}, "labelfix", "_LABELFIX_COMPLETE", instruction))
    if not _debugging():
        _quieten()
    # Before torch is imported: OpenMP's waiting threads spin, which starves decoding workers and others.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    signal.signal(signal.SIGTERM, _terminate_from(os.getpid()))
    sys.exit(run(sys.argv[1:]))
