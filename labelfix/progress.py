"""Progress is injected: the library never prints."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol


class Progress(Protocol):
    """Where work reports how far it is."""

    def stage(self, name: str, total: int, unit: str) -> AbstractContextManager[Callable[[int], None]]:
        """Open a stage of `total` units; yields a function that adds finished units."""
        ...

    def note(self, text: str) -> None:
        """Tell the user one sentence, such as which columns were chosen."""
        ...


class Silent:
    """Reports nothing."""

    @contextmanager
    def stage(self, name: str, total: int, unit: str) -> Iterator[Callable[[int], None]]:  # noqa: ARG002 (Protocol)
        """Ignore."""
        yield lambda _: None

    def note(self, text: str) -> None:
        """Ignore."""
