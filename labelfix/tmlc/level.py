"""Level: what an estimated error rate rests on: two estimates without truth, rows looked up, and the model's worth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

import numpy as np

from labelfix.answers import Audit
from labelfix.evidence import EvidenceChunk
from labelfix.tmlc.calibrate import NINETY, SMALL, Doubt, joint_rate, log_odds

WEAK, WEAK_BY_RATE = 0.31, 0.18
"""Heads and neighbours read the same features. Where they differ on more rows than this, and so many more by the share
of wrong labels, which make them differ too, neither knows the classes well. With none to 40 % wrong it is .40 to .46 on
99 classes of 32-pixel photographs, and below the line on all other sets but pictures of four styles, each judged by
heads that never saw it: .33 to .58 (`examples/benchmarks/LOG.md`)."""
WEAK_SLACK = 1.4
"""Log-odds by which the rate may be lower still where the model is weak: by so much it was too high on those
photographs."""
MOSTLY_WRONG, UNLEARNT = 0.5, 0.6
"""Where a larger share of labels would be wrong, or is contradicted by heads that learnt them, features that hold next
to nothing of the classes, or columns of probabilities in another order, are likelier. On 800 rows with 23 % wrong the
views say .51 to .77 and heads contradict .64 to .82 with one to five columns of an embedding or random numbers, .07 and
.14 with the whole embedding."""
SLACK_OF_CROWD = 0.35
"""Log-odds by which the rate may be off where annotators disagreed about the same items: twice as far as it was on four
real crowds and eight simulated ones (`examples/benchmarks/README.md`)."""
POINTS = 4001
"""Of the log-odds at which the rate's likelihood is looked at."""


@dataclass(frozen=True)
class Level:
    """What the level of a corrector's suspicions rests on; part of its state."""

    views: tuple[float, ...] = ()
    """Estimates of the error rate without truth: the share of rows that are confidently of another class, and of those
    that look like labels known to be wrong, both moved towards the share above a gap between scores (`parting`); fewer
    where they cannot be made."""
    audit: Audit | None = None
    """Rows that were drawn at random and looked up."""
    readers_differ: float = 0.0
    """Share of rows on which heads and neighbours prefer different classes."""
    contradicted: float | None = None
    """Share of labels that even the heads that learnt them contradict in the end; None where that cannot be asked."""
    crowd: bool = False
    """Whether enough rows are of items that others answered, too: their disagreement tells the rate."""

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Self:
        """Undo `settings`; what a state does not have is as if it were not known."""
        audit = settings.get("audit")
        return cls(
            tuple(settings.get("rate_views", ())),
            None if audit is None else Audit(**audit),
            settings.get("readers_differ", 0.0),
            settings.get("contradicted"),
            settings.get("crowd", False),
        )

    def settings(self) -> dict[str, Any]:
        """Plain values for a State."""
        return {
            "rate_views": self.views,
            "audit": None if self.audit is None else asdict(self.audit),
            "readers_differ": self.readers_differ,
            "contradicted": self.contradicted,
            "crowd": self.crowd,
        }

    def is_weak(self, rate: float) -> bool:
        """Say whether the model knows the classes poorly, at an error rate.

        So it does where it is hopeless, and where heads and neighbours differ on too many rows, unless the heads that
        saw a row know better: they contradict more labels than the views say are wrong. What makes readers differ is
        counted by the views, too. Where others answered about the same items, their disagreement makes readers differ,
        and tells the rate.
        """
        if self.crowd:
            return False
        differ = self.readers_differ > WEAK + WEAK_BY_RATE * self._highest(rate) and not self.is_unswayed
        return differ or self.is_hopeless(rate)

    def is_hopeless(self, rate: float) -> bool:
        """Say whether the model knows next to nothing of the classes: most labels would be wrong, at an error rate."""
        unlearnt = self.contradicted is not None and self.contradicted > UNLEARNT
        return not self.crowd and (self._highest(rate) > MOSTLY_WRONG or unlearnt)

    def _highest(self, rate: float) -> float:
        """Return the higher of an error rate and what the views agree on, where there are two."""
        return max(rate, joint_rate(*self.views)) if len(self.views) == 2 else rate

    @property
    def is_unswayed(self) -> bool:
        """Whether heads that learnt the labels contradict at least as many of them as the views say are wrong."""
        return (
            self.contradicted is not None
            and len(self.views) == 2
            and self.contradicted >= joint_rate(*self.views)
        )

    @property
    def middle(self) -> float:
        """The rate that the views agree on.

        Both count rows that are hard for heads that did not see them. Heads that learnt a label contradict it only
        where the rest of its class says otherwise, and learn some wrong ones by heart. Where they contradict fewer than
        the views say, the truth lies between: the geometric mean.
        """
        joint = joint_rate(*self.views)
        if self.contradicted is None or self.is_unswayed:
            return joint
        return float(np.sqrt((joint + SMALL) * (self.contradicted + SMALL)) - SMALL)

    def interval(self) -> tuple[float, float, float]:
        """Return low (5 %), middle and high (95 %) of the error rate.

        What the views agree on, with their doubt, is the prior of a rate of which the audit has drawn.
        """
        middle = self.middle
        doubt = self._without_audit(middle)
        if self.audit is None:
            low, high = doubt.at(middle, np.array([-NINETY, NINETY]))
            return float(low), middle, float(high)
        grid = np.linspace(log_odds(0.0), log_odds(1.0), POINTS)
        odds = np.exp(grid)
        rate = ((odds * (1.0 + SMALL) - SMALL) / (1.0 + odds)).clip(1e-9, 1.0 - 1e-9)
        off = grid - log_odds(middle)
        told = -((NINETY * off / np.where(off < 0, doubt.below, doubt.above)) ** 2) / 2
        told += self.audit.wrong * np.log(rate) + (self.audit.asked - self.audit.wrong) * np.log1p(-rate)
        density = np.exp(told - told.max())
        reached = (np.cumsum(density) - density / 2) / density.sum()
        low, middle, high = (float(np.interp(share, reached, rate)) for share in (0.05, 0.5, 0.95))
        return low, middle, high

    def doubt(self, rate: float) -> Doubt:
        """Return how far suspicions with this mean may be off in level."""
        if self.audit is None and self.crowd:
            return Doubt(SLACK_OF_CROWD, SLACK_OF_CROWD)
        if self.audit is None or len(self.views) < 2:
            return self._without_audit(rate)
        low, _, high = self.interval()
        ends = log_odds(rate) - log_odds(low), log_odds(high) - log_odds(rate)
        return Doubt(*(max(float(end), 0.0) for end in ends))

    def _without_audit(self, rate: float) -> Doubt:
        found = Doubt.among(rate, self.views)
        return Doubt(found.below + WEAK_SLACK, found.above) if self.is_weak(rate) else found


def contradicted(rows: EvidenceChunk) -> float | None:
    """Return the share of labels that heads contradict in the end that learnt them; None where there are none.

    A whole network learns by heart what heads do not, so that what it contradicts says nothing.
    """
    if rows.in_sample is None or rows.two_learners:
        return None
    return float((rows.in_sample.margin[:, -1, 0] < 0).mean())
