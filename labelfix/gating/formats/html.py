"""The verdict as one self-contained page."""

from __future__ import annotations

from html import escape

from labelfix.gating.formats import told
from labelfix.gating.verdict import Verdict
from labelfix.reporting.words import visible

STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; margin: 1rem 0; }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid #8884; }
.pass { color: #17803d; } .warn { color: #9a6700; } .fail { color: #c2255c; } .inconclusive { color: #7048a8; }
td.pass, td.warn, td.fail, td.inconclusive { font-weight: 600; }
"""


def render(verdict: Verdict, top: int = 1000) -> str:
    """Return the page with at most `top` findings; what is cut is said."""
    shown = verdict.findings[:top]
    facts = "".join(f"<li>{_safe(line)}</li>" for line in (*told.facts(verdict), *verdict.notes))
    checks = "".join(
        f'<tr><td class="{c.outcome}">{c.outcome}</td><td>{_safe(c.name)}</td><td>{_safe(c.message)}</td></tr>'
        for c in verdict.checks
    )
    rows = "".join(
        f"<tr><td>{f.suspicion:.2f}</td><td>{_safe(f.label)}</td><td>{_safe(f.suggested)}</td><td>{_safe(f.id)}</td>"
        f"<td>{verdict.lines.get(f.row, '')}</td><td>{f.state}</td><td>{_safe(f.waiver or f.reason)}</td></tr>"
        for f in shown
    )
    head = "".join(
        f"<th>{name}</th>" for name in ("suspicion", "given", "suggested", "id", "line", "state", "reason")
    )
    table = f"<h2>Suspicious labels</h2><table><tr>{head}</tr>{rows}</table>" if shown else ""
    cut = told.cut(len(shown), len(verdict.findings))
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>labelfix gate: {told.OUTCOME[verdict.outcome]}</title><style>{STYLE}</style></head><body>"
        f'<h1 class="{verdict.outcome}">{_safe(told.headline(verdict))}</h1><ul>{facts}</ul>'
        f"<table><tr><th>result</th><th>check</th><th></th></tr>{checks}</table>{table}"
        f"<p>{_safe(cut) if cut else ''}</p></body></html>\n"
    )


def _safe(text: str) -> str:
    return escape(visible(text, 2000))
