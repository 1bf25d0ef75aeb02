"""Summary of a merge: what the answers came to, what is left, and whether another round pays."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from labelfix.answers import WRONG
from labelfix.exporters.selecting import askable
from labelfix.findings import Findings
from labelfix.merging.annotators import Annotator
from labelfix.merging.consensus import Decision
from labelfix.merging.estimating import Estimate, estimate_errors
from labelfix.merging.standing import Asked, audited

WORTH = 0.05
"""Another round pays where at least so many of its answers should mend an error."""
FEW = 5.0
"""Expected errors that the model's word counts for, against what the answers found."""


@dataclass(frozen=True)
class Merged:
    """What `labelfix merge` did and found."""

    out: str
    """The new manifest."""
    unit: str
    """What is counted: "row", or "item" where several rows are answers about one."""
    rows: int
    """How many there are of these."""
    decisions: dict[str, int]
    """confirmed, corrected, none of these, bad image, exclude, disputed, unsure → rows; only those that occur."""
    open: int
    """Tasks without an answer."""
    suggested: tuple[int, int]
    """Corrected rows that got the suggested class, and answered rows whose suggestion was not the answer."""
    precision: tuple[int, int]
    """Rows chosen by suspicion whose label was wrong, of how many that are settled."""
    audit: tuple[int, int]
    """The same of rows drawn at random."""
    left: Estimate | None
    """Wrong labels still in rows that nobody has answered; None where no row drawn at random is answered."""
    guessed: float
    """The same by suspicion alone, corrected by what the answers found."""
    unanswered: int
    """Rows that were scored and that nobody has answered."""
    next_rows: int
    """Size of another round like this one."""
    next_errors: float
    """Errors that it should mend."""
    annotators: tuple[Annotator, ...]
    """Who answered."""
    notes: tuple[str, ...]
    """What was noticed."""

    @property
    def pays(self) -> bool:
        """Whether another round is worth it."""
        return self.next_errors >= max(1.0, WORTH * self.next_rows)


def summarise(
    out: str, findings: Findings, trusted: NDArray[np.bool_] | None, decisions: Sequence[Decision], open_: int,
    asked: Sequence[Asked], who: tuple[Annotator, ...], notes: Sequence[str],
) -> Merged:  # fmt: skip
    """Count and estimate; all rows are those of the run. `asked` are the run's queues."""
    suspicion = np.nan_to_num(findings.column("suspicion").astype(np.float64))
    settled = {one.row: one for one in decisions if one.settled}
    wrong = np.zeros(len(findings), bool)
    wrong[[row for row, one in settled.items() if one.word in WRONG]] = True
    answered = np.zeros(len(findings), bool)
    answered[list(settled)] = True
    pool = askable(findings, trusted)
    queue = audited(asked, answered)
    left, drawn = None, np.ones(len(findings))
    if queue is not None:
        drawn[queue.rows] = queue.drawn_with
        left = estimate_errors(
            float(suspicion[pool].sum()), len(pool), suspicion[queue.rows], queue.drawn_with,
            answered[queue.rows], wrong[queue.rows],
        )  # fmt: skip
    in_pool = np.zeros(len(findings), bool)
    in_pool[pool] = True
    found = int((wrong & in_pool).sum())
    chosen = answered & (drawn == 1.0)
    factor = (wrong[chosen].sum() + FEW) / (suspicion[chosen].sum() + FEW)
    rest = pool[~answered[pool]]
    size = len(decisions)
    ahead = float(np.minimum(suspicion[rest[:size]] * factor, 1.0).sum())
    left = None if left is None else left.less(found)
    suggested = (
        findings.table.column("suggested").take(pa.array(list(settled))).to_pylist() if settled else []
    )
    said = [(one, name) for one, name in zip(settled.values(), suggested, strict=True)]
    return Merged(
        out=out,
        unit="item" if "annotator" in findings.table.column_names else "row",
        rows=len(pc.unique(findings.table.column("id"))),
        decisions=dict(Counter(one.word for one in decisions)),
        open=open_,
        suggested=(
            sum(one.word == "corrected" and one.label == name for one, name in said),
            sum(one.label != name for one, name in said),
        ),
        precision=(int(wrong[chosen].sum()), int(chosen.sum())),
        audit=(int(wrong[answered & ~chosen].sum()), int((answered & ~chosen).sum())),
        left=left,
        guessed=float(np.minimum(suspicion[rest] * factor, 1.0).sum()),
        unanswered=len(rest),
        next_rows=min(size, len(rest)),
        next_errors=ahead if left is None else min(ahead, left.high),
        annotators=who,
        notes=tuple(notes),
    )
