"""The verdict as Markdown, for pull requests and job summaries."""

from __future__ import annotations

from labelfix.gating.formats import told
from labelfix.gating.verdict import Verdict
from labelfix.reporting.markdown import escape

SIGN = {"pass": "✅", "warn": "⚠️", "fail": "❌", "inconclusive": "❔"}


def render(verdict: Verdict, top: int = 200) -> str:
    """Return the document with at most `top` findings; what is cut is said."""
    blocks = [
        f"# {SIGN[verdict.outcome]} labelfix gate: {told.OUTCOME[verdict.outcome]}",
        "\n".join(
            f"- {escape(line, 2000)}"
            for line in (told.headline(verdict), *told.facts(verdict), *verdict.notes)
        ),
        _table(
            ["", "check", "result"],
            [[SIGN[c.outcome], escape(c.name), escape(c.message, 2000)] for c in verdict.checks],
        ),
    ]
    shown = verdict.findings[:top]
    if shown:
        head = ["suspicion", "given", "suggested", "id", "line", "state", "reason"]
        rows = [
            [f"{f.suspicion:.2f}", escape(f.label), escape(f.suggested), escape(f.id),
             str(verdict.lines.get(f.row, "")), f.state, escape(f.waiver or f.reason)]
            for f in shown
        ]  # fmt: skip
        blocks += ["## Suspicious labels", _table(head, rows)]
        if cut := told.cut(len(shown), len(verdict.findings)):
            blocks.append(f"{cut[0].upper()}{cut[1:]}.")
    return "\n\n".join(blocks) + "\n"


def _table(head: list[str], rows: list[list[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *rows])
