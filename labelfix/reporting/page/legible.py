"""Legible: names of any kind as text that can neither hide nor turn what stands around it."""

from __future__ import annotations

import unicodedata

HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories of characters that show nothing, or turn the direction of reading."""
JOINERS = "\u200c\u200d"
"""Which are part of emoji and of Indic and Persian words."""


def legible(text: str, limit: int = 300) -> str:
    """Return text for HTML (not yet escaped): hidden characters are spelt out, very long text loses its middle."""
    if len(text) > limit:
        text = f"{text[: limit // 2]}…{text[-(limit // 2) :]}"
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        c if unicodedata.category(c) not in HIDDEN or c in JOINERS else c.encode("unicode_escape").decode()
        for c in text
    )


def ending(text: str, limit: int) -> str:
    """Return the end of a name, which tells most of a path."""
    text = legible(text)
    return text if len(text) <= limit else f"…{text[1 - limit :]}"


def isolated(name: str) -> str:
    """Return a name in quotes for the middle of a sentence, whose direction it cannot change."""
    return f"\u2068‘{legible(name, 80)}’\u2069"
