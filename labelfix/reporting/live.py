"""Progress on standard error: bars on a terminal, at most a line a stage elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text

from labelfix.reporting.words import visible


class Rate(ProgressColumn):
    """Finished units a second."""

    def render(self, task: Task) -> Text:
        """Return "330 images/s"; nothing before the first measurement."""
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} {task.fields['unit']}/s" if speed else "", "dim")


class Bars:
    """A Progress that draws a bar with rate and time left for each stage, and remembers what it noted."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.noted: set[str] = set()

    @contextmanager
    def stage(self, name: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        """Draw one bar until the stage ends."""
        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
        )
        with Progress(*columns, Rate(), TimeRemainingColumn(compact=True), console=self.console) as bars:
            task = bars.add_task(name, total=total or None, unit=unit)
            yield lambda units: bars.advance(task, units)

    def note(self, text: str) -> None:
        """Print one sentence."""
        self.noted.add(text)
        self.console.print(Text(visible(text, 1000)))


class Lines:
    """A Progress for logs: a line when a stage ends."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self.noted: set[str] = set()

    @contextmanager
    def stage(self, name: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:
        """Measure the stage, then print its line."""
        start = time.monotonic()
        yield lambda _: None
        self._print(f"{name}: {total:,} {unit} in {time.monotonic() - start:.1f} s")

    def note(self, text: str) -> None:
        """Print one sentence."""
        self.noted.add(text)
        self._print(visible(text, 1000))

    def _print(self, text: str) -> None:
        self.console.print(Text(text), soft_wrap=True)


def progress_on(console: Console) -> Bars | Lines:
    """Choose by what the console is."""
    return Bars(console) if console.is_terminal and not console.is_dumb_terminal else Lines(console)
