"""The command line: parse, call, print, exit. Nothing heavy is imported before a command needs it.

Exit codes: 0 fine, 1 the gate failed, 2 bad usage or configuration, 3 input that cannot be read,
4 internal error, 5 inconclusive, 130 interrupted, 141 the reader of a pipe went away, 143 terminated.
"""

from __future__ import annotations

import atexit
import errno
import gc
import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, NoReturn

import click

from labelfix import __version__
from labelfix.cli.apply import apply
from labelfix.cli.bench import bench
from labelfix.cli.export import export, pull
from labelfix.cli.gate import gate
from labelfix.cli.merge import merge
from labelfix.cli.plugins import plugins
from labelfix.cli.report import report
from labelfix.cli.scan import scan
from labelfix.cli.train import train
from labelfix.cli.training import meta_train
from labelfix.errors import LabelfixError, LabelfixWarning

INTERRUPTED, BROKEN_PIPE, TERMINATED = 130, 141, 143
CONTEXT = {"help_option_names": ["-h", "--help"]}


class Terminated(KeyboardInterrupt):
    """SIGTERM: ends like an interrupt, with its own exit code."""


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


for command in (apply, bench, export, gate, merge, meta_train, plugins, pull, report, scan, train):
    cli.add_command(command)


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
            code = cli.invoke(context)
        if sys.stdout is not None:  # closed by the caller
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
        hint = (
            "; the same command with --resume continues where it stopped"
            if {"scan", "train"} & set(arguments)
            else ""
        )
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
    return code if isinstance(code, int) else 0


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
    # Before torch is imported: OpenMP's waiting threads spin, which starves decoding workers and others. GNU's spin for
    # some microseconds, or they would be woken for each of the probe's small products.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    signal.signal(signal.SIGTERM, _terminate_from(os.getpid()))
    # Importing torch and timm makes a million objects that live to the end. Looking through them for cycles again and
    # again, and once more at the exit, takes 1.3 seconds.
    gc.set_threshold(100_000, 50, 1000)
    code = run(sys.argv[1:])
    # All that is to be done at an exit is done here. The rest is skipped: it looks through all objects once more, and a
    # thread that a library has left behind, as Arrow does while it reads CSV, would turn the code into that of a crash.
    atexit._run_exitfuncs()  # noqa: SLF001 (no public name)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    os._exit(code)
