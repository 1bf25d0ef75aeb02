"""What is said of a summary, in plain sentences shared by all formats, and names made safe to show."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from labelfix.reporting.summary import Summary

STATUS = {
    "unreadable": "unreadable",
    "unlabelled": "without a label",
    "singleton_class": "alone in their class",
    "unknown_class": "of a class that the reference does not know",
    "entangled": "tied to every part of the reference",
}


BARS = "▁▂▃▄▅▆▇█"
"""From nothing to all."""


def visible(text: str, limit: int = 300) -> str:
    """Return one line of printable text: control characters are spelt out, very long text loses its middle.

    Empty text and text that begins or ends with spaces is quoted, so that it can be seen.
    """
    if len(text) > limit:
        text = f"{text[: limit // 2]}…{text[-(limit // 2) :]}"
    shown = "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
    return f'"{shown}"' if shown != shown.strip() or not shown else shown


def about(number: float) -> str:
    """Say an expected count: "no", "about 7", "about 260"."""
    whole = round(number)
    if whole == 0:
        return "no"
    step = 10 ** max(0, len(str(whole)) - 2) if whole >= 100 else 1
    return f"about {round(whole / step) * step:,}"


def percent(share: float) -> str:
    """8.0 %, 0.15 %, < 0.01 %, 0 %."""
    value = 100 * share
    if value == 0:
        return "0 %"
    if 0 < value < 0.01:
        return "< 0.01 %"
    return f"{value:.1f} %" if value >= 1 else f"{value:.2g} %"


def sparkline(p: Sequence[float], cells: int = 6) -> str:
    """Return probabilities over time as bars of so many cells; "" for none."""
    if not p:
        return ""
    at = [round(cell * (len(p) - 1) / (cells - 1)) for cell in range(cells)] if len(p) > 1 else [0]
    return "".join(BARS[min(int(len(BARS) * p[i]), len(BARS) - 1)] for i in at)


def chance(p: float) -> str:
    """Say a probability in whole percent, never that something is sure: < 1 %, 98 %, > 99 %."""
    if 0 < p < 0.005:
        return "< 1 %"
    return "> 99 %" if 0.995 <= p < 1 else f"{100 * p:.0f} %"


def plural(count: int, noun: str) -> str:
    """1 row, 2 rows, 1,000 classes."""
    if count == 1:
        return f"1 {noun}"
    return f"{count:,} {noun}{'es' if noun.endswith('s') else 's'}"


def coverage(summary: Summary) -> str:
    """Rows, classes, and what happened to the rows that were not scored."""
    if not summary.rows:
        return "The manifest has no rows."
    rest = [
        f"{count:,} {STATUS.get(name, name)}" for name, count in summary.statuses.items() if name != "scored"
    ]
    scored = "all scored" if not rest else f"{summary.scored:,} scored, {', '.join(rest)}"
    return f"{plural(summary.rows, 'row')}, {plural(summary.classes, 'class')}: {scored}"


def estimate(summary: Summary) -> str:
    """The estimated error rate with its interval."""
    if not summary.scored:
        return "No row could be scored, so nothing can be said about the labels."
    if summary.rate is None:
        return "The share of wrong labels could not be estimated."
    rate, low, high = summary.rate
    count = about(rate * summary.asked)
    rows = f"{'less than one' if count == 'no' else count} of {plural(summary.asked, 'row')}"
    if summary.asked < summary.scored:
        rows += " whose label is in question"
    return f"Estimated wrong labels: {percent(rate)} ({percent(low)} to {percent(high)}), {rows}"


def review(summary: Summary) -> str:
    """What to review, what that finds, and what is left."""
    if not summary.scored:
        return ""
    if summary.stop is None:
        return "No wrong label is expected: a review would find next to nothing."
    first = "row" if summary.stop.review == 1 else f"{summary.stop.review:,}"
    found = about(summary.stop.found)
    errors = "error" if found == "about 1" else "errors"
    left = about(summary.stop.remaining)
    remain = "remains" if left == "about 1" else "remain"
    nothing = "none" if left == "no" else left
    return f"Review the first {first}: {found} {errors}; {nothing} {remain} after that"


def remarks(summary: Summary) -> list[str]:
    """Sentences about agreement, fixes, ambiguity, outliers: only those with something to say."""
    said = []
    if summary.agreement is not None and summary.scored:
        a = summary.agreement
        if a.both + a.only_ours + a.only_cleanlab == 0:
            said.append(f"Neither {a.corrector} nor cleanlab flags a row.")
        else:
            said.append(
                f"{a.corrector} and cleanlab both flag {plural(a.both, 'row')}; only {a.corrector} "
                f"{a.only_ours:,}, only cleanlab {a.only_cleanlab:,}."
            )
    if summary.auto_fix:
        labels = plural(summary.auto_fix, "label")
        said.append(f"Replacing {labels} without review should do more good than harm (auto_fix).")
    if summary.ambiguous:
        fit = "fits" if summary.ambiguous == 1 else "fit"
        said.append(f"{plural(summary.ambiguous, 'row')} {fit} more than one class (is_ambiguous).")
    if summary.outliers:
        look = "looks" if summary.outliers == 1 else "look"
        said.append(f"{plural(summary.outliers, 'row')} {look} unlike all others (is_outlier).")
    return said


def conflicts(summary: Summary) -> list[str]:
    """Near-duplicates with different labels: how many, and the first few."""
    if not summary.conflict_count:
        return []
    count = plural(summary.conflict_count, "group")
    said = [f"{count} of near-duplicate images with different labels (duplicate_group):"]
    for conflict in summary.conflicts:
        pairs = zip(conflict.ids, conflict.labels, strict=True)
        said.append(", ".join(f"{visible(id_, 40)} = {visible(label, 30)}" for id_, label in pairs))
    return said


def unreadable(summary: Summary) -> list[str]:
    """Rows whose image could not be read: how many, and the first few with the reason."""
    count = summary.statuses.get("unreadable", 0)
    if not count:
        return []
    shown = [f"{visible(id_, 60)}: {visible(reason, 200)}" for id_, reason in summary.unreadable]
    return [f"{plural(count, 'image')} could not be read (status):", *shown]


def columns(summary: Summary) -> str:
    """What the reader chose: "image column: file_name, label column: label"."""
    return ", ".join(f"{role} column: {visible(name, 60)}" for role, name in summary.columns.items())


def duration(seconds: float) -> str:
    """12 s, 3 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s" if whole else "less than 1 s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
