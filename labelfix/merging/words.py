"""What is said of a merge, in plain sentences."""

from __future__ import annotations

from collections.abc import Iterator

from labelfix.merging.summary import Merged
from labelfix.reporting.words import about, percent, plural, visible

_MEANT = {
    "confirmed": "{} confirmed as right",
    "corrected": "{} corrected",
    "none of these": "{} of no class: the label is emptied",
    "bad image": "{} with a bad image: the label is emptied",
    "exclude": "{} excluded: the label is emptied",
    "disputed": "{} disputed, as many say one thing as another: open",
    "unsure": "{} where the annotators are unsure: open",
}

FEW = 10
"""Fewer answers drawn at random are too few to measure by; `labelfix export --audit` asks for more."""


def sentences(merged: Merged) -> Iterator[str]:
    """Yield them, the result first."""
    decided = sum(merged.decisions.values())
    counted = plural(decided, merged.unit), plural(merged.rows, merged.unit)
    yield f"{counted[0]} answered of {counted[1]}, {plural(merged.open, 'task')} still open"
    yield from (
        "  " + said.format(plural(merged.decisions[word], merged.unit))
        for word, said in _MEANT.items()
        if word in merged.decisions
    )
    if decided:
        right, other = merged.suggested
        yield f"Suggestions: {right:,} taken, {other:,} rejected"
    if merged.precision[1]:
        wrong, of = merged.precision
        labels = plural(of, "suspicious label")
        yield f"Precision of the queue: {wrong:,} of {labels} were wrong ({percent(wrong / of)})"
    if merged.audit[1]:
        wrong, of = merged.audit
        yield f"Drawn at random: {wrong:,} of {plural(of, 'label')} were wrong"
    yield _left(merged)
    if decided:
        verdict = "pays" if merged.pays else "does not pay"
        round_ = f"the next {plural(merged.next_rows, merged.unit)} should hold"
        yield f"Another round {verdict}: {round_} {about(merged.next_errors)} wrong labels"
    shared = [one for one in merged.annotators if one.shared]
    for one in shared:
        quality = (
            ""
            if one.quality is None
            else f", right {percent(one.quality)} of the time by cleanlab's estimate"
        )
        yield (
            f"{visible(one.name, 60)}: {plural(one.answers, 'answer')}, agrees with the decision in "
            f"{percent(one.agreement or 0.0)} of {plural(one.shared, f'shared {merged.unit}')}{quality}"
        )
    yield f"Written: {merged.out}"


def _left(merged: Merged) -> str:
    where = f"Errors left in the {plural(merged.unanswered, merged.unit)} nobody answered"
    left = merged.left
    if left is None or left.drawn < FEW:
        few = 0 if left is None else left.drawn
        return (
            f"{where}: {about(merged.guessed)} by suspicion alone; {few} answers drawn at random are too few"
        )
    open_ = "" if left.complete else "; open tasks are taken to be like the others"
    interval = f"{left.low:,.0f} to {left.high:,.0f}"
    drawn = plural(left.drawn, "answer")
    return f"{where}: {about(left.value)} ({interval}), from {drawn} drawn at random{open_}"
