"""What XML can carry."""

from __future__ import annotations

import re

from labelfix.errors import UsageError

_UNFIT = re.compile("[^\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""Control characters: not allowed in XML 1.0, or changed by its parsers."""


def fit(text: str, what: str, tool: str) -> str:
    """Return the text; raises UsageError for what XML, or a tool that trims, would not give back."""
    odd = _UNFIT.search(text)
    if odd is not None or text != text.strip() or not text:
        why = (
            f"holds the character {odd.group()!r}"
            if odd
            else "begins or ends with a space"
            if text
            else "is empty"
        )
        raise UsageError(f"{what} {text!r} {why}, which {tool} cannot carry; rename it, or choose --to jsonl")
    return text
