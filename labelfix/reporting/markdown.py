"""The summary as Markdown, for pull requests and tickets."""

from __future__ import annotations

import re

from labelfix.reporting import words
from labelfix.reporting.rates import GroupRate
from labelfix.reporting.summary import Summary
from labelfix.reporting.words import visible

SPECIAL = re.compile(r"([\\`*_\[\]|#~!&])")

GROUPS = 10
"""Most classes or annotators listed."""


def escape(text: str, limit: int = 300) -> str:
    """Return a name as text that Markdown shows as it is: no markup, no HTML, no mention of a person."""
    shown = SPECIAL.sub(r"\\\1", visible(text, limit))
    return shown.replace("<", "&lt;").replace(">", "&gt;").replace("@", "&#64;")


def render(summary: Summary) -> str:
    """Return the document."""
    blocks = ["# labelfix", _facts(summary)]
    if summary.suspects:
        blocks += ["## Most suspicious labels", _suspects(summary)]
    if summary.scored:
        blocks += ["## Review", _sentence(words.review(summary))]
    if len(summary.curve) > 1:
        rows = [[f"{p.review:,}", f"{round(p.found):,}", f"{round(p.remaining):,}"] for p in summary.curve]
        blocks.append(_table(["review first", "errors found", "remaining"], rows, "rrr"))
    if summary.confusions:
        pairs = [[escape(c.given), escape(c.suggested), f"{round(c.expected):,}"] for c in summary.confusions]
        blocks += ["## Most confused classes", _table(["given", "suggested", "expected rows"], pairs, "llr")]
    for groups, title, what in (
        (summary.class_rates, "Classes", "class"),
        (summary.annotator_rates, "Annotators", "annotator"),
    ):
        table = _rates(groups, what)
        if table:
            blocks += [f"## {title}", table]
    details = (
        words.remarks(summary) + _paragraph(words.conflicts(summary)) + _paragraph(words.unreadable(summary))
    )
    if details:
        blocks += ["## Also seen", "\n".join(f"- {escape(line, 2000)}" for line in details)]
    if summary.next_steps:
        steps = [f"    {visible(command, 500)}  # {what}" for command, what in summary.next_steps]
        blocks += ["## Next", "\n".join(steps)]
    return "\n\n".join(blocks) + "\n"


def _facts(summary: Summary) -> str:
    facts = [words.coverage(summary), words.estimate(summary)]
    lines = [f"- {escape(summary.source)}"] if summary.source else []
    lines += [f"- {fact}" for fact in facts]
    if summary.columns:
        lines.append(f"- {escape(words.columns(summary), 2000)}")
    return "\n".join([*lines, *(f"- {escape(note)}" for note in summary.notes)])


def _paragraph(lines: list[str]) -> list[str]:
    return [" ".join([lines[0], "; ".join(lines[1:])])] if lines else []


def _sentence(text: str) -> str:
    return text if text.endswith(".") else f"{text}."


def _suspects(summary: Summary) -> str:
    traced, named = (
        any(map(has, summary.suspects)) for has in (lambda s: s.trajectory, lambda s: s.annotator)
    )
    rows = [
        [
            f"{s.rank:,}",
            f"{s.suspicion:.2f}",
            escape(s.given),
            escape(s.suggested),
            f"{s.confidence:.2f}",
            *([words.sparkline(s.trajectory)] if traced else []),
            escape(s.id),
            *([escape(s.annotator)] if named else []),
            escape(s.reason),
        ]
        for s in summary.suspects
    ]
    epochs = ["epochs"] if traced else []
    whose = ["annotator"] if named else []
    head = ["#", "suspicion", "given", "suggested", "confidence", *epochs, "id", *whose, "reason"]
    return _table(head, rows, "rrllr" + "l" * (len(head) - 5))


def _rates(groups: tuple[GroupRate, ...], what: str) -> str:
    """Return the groups with the most wrong labels and enough rows to say so."""
    rows = [
        [
            escape(group.name),
            f"{group.rows:,}",
            f"{group.expected:,.1f}",
            words.percent(group.rate),
            f"{words.percent(group.low)} to {words.percent(group.high)}",
        ]
        for group in groups
        if group.enough
    ]
    return (
        _table([what, "rows", "expected wrong", "rate", "interval"], rows[:GROUPS], "lrrrl") if rows else ""
    )


def _table(head: list[str], rows: list[list[str]], justify: str) -> str:
    rule = ["--:" if side == "r" else "---" for side in justify]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, rule, *rows])
