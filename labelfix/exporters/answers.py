"""Answers: what an annotator may say of a row besides a class, and one answer as a tool gave it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

SPECIAL = ("none of these", "unsure", "bad image", "exclude")
"""No class fits; the annotator cannot tell; the image shows nothing; the row does not belong in the data set."""


def special_words(classes: Sequence[str]) -> dict[str, str]:
    """Return the words offered beside the classes → what they mean; a star is added where a class has the name."""
    taken = {name.strip().casefold() for name in classes}
    words = {}
    for meaning in SPECIAL:
        word = meaning
        while word in taken:
            word += "*"
        words[word] = meaning
    return words


@dataclass(frozen=True)
class Answer:
    """What one annotator said of one task. The row is named by `id`, `task` or `image`, whichever the tool kept."""

    says: str | None
    """A class or a special word, as written; None where the task was not answered or skipped."""
    where: str
    """File and place in it, for messages."""
    id: str | None = None
    """As in the manifest."""
    task: str | None = None
    """Name of the task, as `Queue.task_name` gives it."""
    image: str | None = None
    """Name of the image, as in the findings."""
    keeps: bool = False
    """The given label is right; `says` is then what it was, where the tool kept that."""
    annotator: str = ""
    """Who answered; "" where the tool does not say."""
    at: str = ""
    """When, as the tool writes it."""
    queue: str = ""
    """Name of the queue the task came from; "" where the tool did not keep it."""
