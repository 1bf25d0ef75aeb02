"""The exception tree: every error a user can meet, with its exit code, and the hints.

Exit codes: 0 fine, 1 the gate failed, 2 bad usage or configuration, 3 input that cannot be read,
4 internal error, 5 inconclusive, 130 interrupted, 141 the reader of a pipe went away, 143 terminated.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class LabelfixWarning(UserWarning):
    """Something the user should know that does not stop the work."""


class LabelfixError(Exception):
    """Base of all errors that are the user's to mend: one sentence, no traceback."""

    exit_code = 4


class UsageError(LabelfixError):
    """An option, a name or a configuration is wrong."""

    exit_code = 2


class InputError(LabelfixError):
    """A manifest, an image folder or a file given by the user cannot be read."""

    exit_code = 3


class NewerError(InputError):
    """A file was written by a newer labelfix, in a form that this one does not know."""


class InconclusiveError(LabelfixError):
    """There is too little data, or the model is too weak, to answer."""

    exit_code = 5


class ImageUnreadable(LabelfixError):  # noqa: N818  (a state of one image, not a failure of the run)
    """One image cannot be decoded; its row stays in the findings with this reason."""

    exit_code = 3


def nearest(name: str, known: Iterable[str]) -> str:
    """Say what is known and which of it comes closest to `name`: the tail of an error message."""
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    did_you_mean = f"did you mean {close[0]!r}? " if close else ""
    shown = ", ".join(known[:30]) + (f", … ({len(known)} in all)" if len(known) > 30 else "")
    return f"{did_you_mean}known: {shown or 'none'}"


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UsageError:
    """Build the error for a name that nothing installed answers to."""
    return UsageError(f"unknown {kind} {name!r}; {nearest(name, known)}")
