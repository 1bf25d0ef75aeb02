"""Embedding: what the page's script reads, as plain values for JSON."""

from __future__ import annotations

import hashlib
from typing import Any

from labelfix.findings import Findings
from labelfix.reporting.histories import Histories
from labelfix.reporting.page.cards import Card
from labelfix.reporting.page.legible import legible


def page_data(findings: Findings, histories: Histories, cards: list[Card]) -> dict[str, Any]:
    """Return the suspects with classes as numbers, once as they are (for answers) and once as they are shown."""
    number = {name: k for k, name in enumerate(findings.classes)}
    return {
        "key": _key(findings),
        "classes": findings.classes,
        "shown": [legible(name, 120) for name in findings.classes],
        "progress": histories.progress,
        "cards": [_card(card, number) for card in cards],
    }


def _card(card: Card, number: dict[str, int]) -> dict[str, Any]:
    return {
        "row": card.row,
        "rank": card.rank,
        "id": card.id,
        "name": legible(card.id, 160),
        "given": number.get(card.given, -1),
        "suggested": number.get(card.suggested, -1),
        "suspicion": round(card.suspicion, 4),
        "annotator": card.annotator,
        "who": legible(card.annotator, 80),
        "why": card.why,
        "tools": card.tools,
        "kinds": [
            kind for kind in ("error", "fix", "ambiguous", "outlier", "conflict") if getattr(card, kind)
        ],
        "soft": [[number[name], round(p, 4)] for name, p in card.soft if name in number],
        "other": round(card.other, 4),
        "opinions": [
            [
                o.corrector,
                None if o.score is None else round(o.score, 4),
                number.get(o.suggested, -1),
                o.flagged,
            ]
            for o in card.opinions
        ],
        "history": {
            block: {"given": history.given, "suggested": history.suggested}
            for block, history in card.history.items()
        },
        "neighbours": [[near.row, number.get(near.label, -1), near.similarity] for near in card.neighbours],
    }


def _key(findings: Findings) -> str:
    """Name the data set, so that marks of one run are found again after a scan of the same labels."""
    known = findings.meta.get("manifest")
    if known:
        return str(known)
    digest = hashlib.blake2b(digest_size=16)
    for name in ("id", "label"):
        digest.update(
            "\x00".join(map(str, findings.table.column(name).to_pylist())).encode("utf-8", "replace")
        )
    return digest.hexdigest()
