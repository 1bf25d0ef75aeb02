"""Check and Verdict: what a gate answers."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

Outcome = Literal["pass", "warn", "fail", "inconclusive"]
EXIT = {"pass": 0, "warn": 0, "fail": 1, "inconclusive": 5}


@dataclass(frozen=True)
class Part:
    """One class, annotator or column value that a check looked at."""

    name: str
    """What it is called."""
    rows: int
    """Judged rows."""
    value: float
    """Estimated rate."""
    low: float
    """5 % quantile."""
    high: float
    """95 % quantile."""
    probability: float
    """That the limit is exceeded."""
    exceeds: bool
    """The verdict, corrected for the number of parts."""


@dataclass(frozen=True)
class Check:
    """One limit and what was found."""

    name: str
    """As in `[limits]`."""
    title: str
    """In words."""
    outcome: Outcome
    """warn and fail: exceeded."""
    message: str
    """One sentence with the numbers."""
    limit: float
    """The policy's number."""
    value: float | None
    """What was measured or estimated; None where it could not be."""
    low: float | None = None
    """5 % quantile of an estimate."""
    high: float | None = None
    """95 % quantile of an estimate."""
    probability: float | None = None
    """That an estimated value is above the limit."""
    rows: tuple[int, ...] = ()
    """Positions of rows that the check is about, where there are such."""
    parts: tuple[Part, ...] = ()
    """By class, annotator or column value, the worst first."""


@dataclass(frozen=True)
class Finding:
    """A row that is probably labelled wrongly."""

    row: int
    """Position in the manifest."""
    id: str
    """As in the manifest."""
    image: str
    """What the user calls the image."""
    label: str
    """As given."""
    suggested: str
    """The likeliest other class."""
    suspicion: float
    """Probability that the label is wrong."""
    reason: str
    """In words."""
    content: str
    """Hash of the content, hexadecimal; "" where it is not known."""
    state: Literal["new", "unchanged", "waived", "found"]
    """Against the baseline; `found` without one."""
    waiver: str = ""
    """Reason of the waiver."""


@dataclass(frozen=True)
class Comparison:
    """A batch's findings against a baseline."""

    path: str
    """The baseline."""
    new: int
    """Findings that are not in it."""
    unchanged: int
    """Findings that are."""
    waived: int
    """Findings with a waiver that holds."""
    fixed: int
    """In the baseline and in the batch, and no finding any more."""
    absent: int
    """In the baseline, but not in the batch."""
    expired: tuple[str, ...] = ()
    """Ids whose waiver is past its date."""


@dataclass(frozen=True)
class Verdict:
    """Whether a batch is accepted, and why."""

    outcome: Outcome
    """The worst of the checks; a failed one beats an inconclusive one."""
    checks: tuple[Check, ...]
    """In the order of the policy."""
    findings: tuple[Finding, ...]
    """The most suspicious first."""
    source: str
    """What was judged."""
    reference: str | None
    """By what; None for a run or a batch judged on its own."""
    policy: str
    """Where the limits came from."""
    confidence: float
    """Of the policy."""
    rows: int
    """All rows."""
    scored: int
    """Rows that were judged."""
    rate: tuple[float, float, float] | None
    """Estimated share of wrong labels: value, 5 % and 95 % quantile; None where it could not be."""
    reference_rate: float | None
    """The reference's own."""
    notes: tuple[str, ...] = ()
    """What else the user should know, a sentence each."""
    comparison: Comparison | None = None
    """None without a baseline."""
    lines: dict[int, int] = field(default_factory=dict, repr=False)
    """Row → line of the manifest, where it is a text file."""

    @property
    def passed(self) -> bool:
        """Whether the batch is accepted; warnings do not stop it."""
        return self.outcome in {"pass", "warn"}

    @property
    def exit_code(self) -> int:
        """0 accepted, 1 failed, 5 inconclusive."""
        return EXIT[self.outcome]
