"""What an exporter must be: a tool's format, out and back; and a server that such tasks are pushed to."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Protocol

from labelfix.exporters.answers import Answer
from labelfix.exporters.queue import Queue


class Exporter(Protocol):
    """A tool's files for a relabel queue. Those without `takes_queue` export the run itself: see RunExporter."""

    takes_queue: ClassVar[bool]
    """True."""
    most: ClassVar[int]
    """Tasks that one file may hold; a longer queue is split into parts."""

    def export(self, queue: Queue, out: Path) -> list[Path]:
        """Write the tasks in the queue's order, and return what was written; raises UsageError for what cannot be."""
        ...

    def recognises(self, path: Path) -> bool:
        """Say whether a file or directory is one of this tool's, exported by it after annotation or by us."""
        ...

    def answers(self, path: Path) -> list[Answer]:
        """Return the answers in it, unanswered tasks among them; raises InputError for a damaged file."""
        ...


class RunExporter(Protocol):
    """Something made of a whole run."""

    def export(self, run: Path, out: Path) -> list[Path]:
        """Write it, and return what was written."""
        ...


class Server(Protocol):
    """A tool that runs somewhere. Secrets come from the environment."""

    def push(self, queue: Queue, url: str, project: str) -> int:
        """Make sure that each task is in the project once, in order, and return how many were new."""
        ...

    def pull(self, url: str, project: str, out: Path) -> Path:
        """Write what the project holds to a file that the exporter of the same name can read, and return it."""
        ...
