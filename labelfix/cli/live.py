"""Where the commands report progress: standard error, or nowhere."""

from __future__ import annotations

from typing import TYPE_CHECKING

from labelfix.progress import Progress, Silent

if TYPE_CHECKING:
    from labelfix.reporting.live import Bars, Lines


def progress_on_stderr(quiet: bool) -> Progress:
    """Return bars for a terminal, lines for a log, silence where it is asked for."""
    if quiet:
        return Silent()
    from rich.console import Console

    from labelfix.reporting.live import progress_on

    shown: Bars | Lines = progress_on(Console(stderr=True, highlight=False))
    return shown
