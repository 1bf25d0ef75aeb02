"""Summary: what a person wants to know of a run, computed from the findings and said nowhere yet."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from labelfix.errors import InputError
from labelfix.findings import Findings
from labelfix.reporting.histories import NOTHING, Histories, read_histories
from labelfix.reporting.pairs import ONE_ROW, Pairs, expected_pairs
from labelfix.reporting.rates import GroupRate, group_rates
from labelfix.rundir import RunDir

FILES = {
    "report.html": "all of this with the images; open it in a browser",
    "findings.parquet": "suspicion, suggestion, soft label, reason of each row",
    "items.parquet": "one label for each item, from all answers about it",
    "run.json": "recipe, versions, timings, estimated errors",
    "trajectories.parquet": "loss, entropy and margin of every row, epoch by epoch",
    "heads.safetensors": "the probe's checkpoints",
    "kernel.safetensors": "the second learner",
    "recorded": "what the fine-tuned model said of every row, epoch by epoch",
}


@dataclass(frozen=True)
class Suspect:
    """One of the rows to look at first."""

    rank: int
    """1 is the most suspicious."""
    id: str
    """As in the manifest."""
    image: str
    """What the user calls the image."""
    given: str
    """The label in the manifest."""
    suggested: str
    """The likeliest other class."""
    suspicion: float
    """Probability that the given label is wrong."""
    confidence: float
    """Probability of the suggested class."""
    reason: str
    """In words."""
    annotator: str
    """Who gave the label; "" where that is not known."""
    trajectory: tuple[float, ...]
    """Out-of-fold probability of the suggested class, epoch by epoch; () where it was not recorded."""


@dataclass(frozen=True)
class YieldPoint:
    """What reviewing the first rows of the ranking is expected to bring."""

    review: int
    """Rows reviewed, by rank."""
    found: float
    """Expected wrong labels among them: the sum of their suspicions."""
    remaining: float
    """Expected wrong labels among the ranked rows after them."""


@dataclass(frozen=True)
class Confusion:
    """How many rows of one given class are expected to belong to another."""

    given: str
    suggested: str
    expected: float


@dataclass(frozen=True)
class Agreement:
    """Rows flagged by the primary corrector, by cleanlab, or by both."""

    corrector: str
    both: int
    only_ours: int
    only_cleanlab: int


@dataclass(frozen=True)
class Conflict:
    """Near-duplicate images with different labels."""

    ids: tuple[str, ...]
    labels: tuple[str, ...]


@dataclass(frozen=True)
class Summary:
    """Everything that is shown of a run."""

    run: str | None
    """The run directory; None for a lone findings file."""
    source: str
    """The manifest as given; "" when not known."""
    columns: dict[str, str]
    """Role → column that the reader chose."""
    notes: tuple[str, ...]
    """What the reader noticed."""
    correctors: tuple[str, ...]
    """The primary one first."""
    classes: int
    """K."""
    rows: int
    """All rows of the manifest."""
    statuses: dict[str, int]
    """Status → rows; only statuses that occur, `scored` first."""
    rate: tuple[float, float, float] | None
    """Estimated share of wrong labels among the rows `asked` about: value, low, high; None when not known."""
    asked: int
    """Scored rows whose label is in question: not known to be right."""
    flagged: int
    """Rows with is_label_error."""
    auto_fix: int
    """Rows where taking the suggestion without review should do more good than harm."""
    ambiguous: int
    """Rows that fit several classes."""
    outliers: int
    """Rows unlike all others."""
    suspects: tuple[Suspect, ...]
    """By rank."""
    curve: tuple[YieldPoint, ...]
    """Expected yield of reviewing, ascending; empty when no wrong label is expected."""
    stop: YieldPoint | None
    """Where to stop: as many rows as wrong labels are expected, rounded up."""
    confusions: tuple[Confusion, ...]
    """Pairs of classes with at least one expected mistake, the most confused first."""
    class_rates: tuple[GroupRate, ...]
    """Of the classes as given, most wrong labels first."""
    annotator_rates: tuple[GroupRate, ...]
    """Of the annotators, likewise; empty where they are not known."""
    agreement: Agreement | None
    """None without cleanlab beside another primary corrector."""
    conflict_count: int
    """Groups of near-duplicates with different labels."""
    conflicts: tuple[Conflict, ...]
    """The first few of them."""
    unreadable: tuple[tuple[str, str], ...]
    """The first few unreadable rows: id and reason."""
    files: tuple[tuple[str, str], ...]
    """What was written: path and what it holds."""
    next_steps: tuple[tuple[str, str], ...]
    """Commands and what they do."""
    seconds: float | None
    """What the stages of the run took together."""

    @property
    def scored(self) -> int:
        """Rows that were judged."""
        return self.statuses.get("scored", 0)


def summarise(
    findings: Findings, record: dict[str, Any], run: Path | None, top: int = 20, pairs: Pairs | None = None
) -> Summary:
    """Condense findings [N] and the run record (run.json; {} when there is none) to what is shown.

    `pairs` are those of the findings, where they are known already.
    """
    table = findings.table
    order, suspicion = findings.order(), _filled(table, "suspicion").astype(np.float64)
    estimated = findings.meta.get("estimated_errors") or record.get("estimated_errors") or {}
    rate, statuses = _rate(estimated), _statuses(table)
    pairs = pairs or expected_pairs(findings, suspicion)
    (curve, stop), (conflict_count, conflicts) = yield_curve(suspicion[order]), _conflicts(findings)
    timings = record.get("timings") or {}
    return Summary(
        run=str(run) if run is not None else None,
        source=str(record.get("source") or ""),
        columns=dict(record.get("columns") or {}),
        notes=tuple(record.get("notes") or ()),
        correctors=findings.correctors,
        classes=len(findings.classes),
        rows=len(findings),
        statuses=statuses,
        rate=rate,
        asked=int(estimated.get("rows", statuses.get("scored", 0))),
        flagged=_count(table, "is_label_error"),
        auto_fix=_count(table, "auto_fix"),
        ambiguous=_count(table, "is_ambiguous"),
        outliers=_count(table, "is_outlier"),
        suspects=_suspects(table, order[:top], _histories(run, order[:top])),
        curve=curve,
        stop=stop,
        confusions=most_confused(findings.classes, pairs),
        class_rates=group_rates(findings, "label", rate),
        annotator_rates=group_rates(findings, "annotator", rate),
        agreement=_agreement(findings),
        conflict_count=conflict_count,
        conflicts=conflicts,
        unreadable=_unreadable(table),
        files=_files(run),
        next_steps=_next_steps(run, stop),
        seconds=float(sum(timings.values())) if timings else None,
    )


def most_confused(classes: tuple[str, ...], pairs: Pairs, count: int = 5) -> tuple[Confusion, ...]:
    """Return the pairs with at least one expected mistake, by name."""
    first = zip(pairs.given[:count], pairs.other[:count], pairs.expected[:count], strict=True)
    return tuple(
        Confusion(classes[given], classes[other], float(expected))
        for given, other, expected in first
        if expected >= ONE_ROW
    )


def yield_curve(suspicion: NDArray[np.float64]) -> tuple[tuple[YieldPoint, ...], YieldPoint | None]:
    """Return the yield of reviewing the first m of ranked rows [M], and where to stop.

    The expected number of wrong labels found is the running sum of suspicion. A ranking by another corrector
    need not descend in suspicion, and the sum is right all the same.
    """
    found = np.concatenate([[0.0], np.cumsum(suspicion)])
    total = float(found[-1])
    if total < 0.5:  # less than one wrong label, rounded
        return (), None
    stop = min(_rounded_up(round(total)), len(suspicion))
    wanted = {
        _rounded_up(stop / 4),
        _rounded_up(stop / 2),
        stop,
        _rounded_up(2 * stop),
        _rounded_up(4 * stop),
    }
    reached = (m for m in sorted(wanted) if m < len(found))
    points = {m: YieldPoint(m, float(found[m]), total - float(found[m])) for m in reached}
    return tuple(points.values()), points[stop]


def _rounded_up(count: float) -> int:
    """Round up to a number that is easily said: 7 → 7, 48 → 50, 348 → 350, 1234 → 1300."""
    whole = max(1, int(np.ceil(count)))
    if whole <= 20:
        return whole
    step = 5 if whole < 100 else 10 ** (len(str(whole)) - 2)
    return -(-whole // step) * step


def _filled(table: pa.Table, name: str) -> NDArray[np.float64]:
    """[n] a column with nulls and NaN as 0."""
    values: NDArray[np.float64] = table.column(name).to_numpy().astype(np.float64)
    return np.nan_to_num(values, nan=0.0)


def _count(table: pa.Table, name: str) -> int:
    return int(pc.sum(table.column(name)).as_py() or 0)


def _statuses(table: pa.Table) -> dict[str, int]:
    counted = {str(s["values"]): s["counts"] for s in table.column("status").value_counts().to_pylist()}
    return dict(sorted(counted.items(), key=lambda item: (item[0] != "scored", -item[1], item[0])))


def _rate(estimated: dict[str, Any]) -> tuple[float, float, float] | None:
    values = [estimated.get(name) for name in ("rate", "low", "high")]
    if any(value is None or not np.isfinite(value) for value in values):
        return None
    rate, low, high = (float(value) for value in values if value is not None)
    return rate, low, high


def _histories(run: Path | None, rows: NDArray[np.intp]) -> Histories:
    """Return what was recorded of rows [n]; nothing where that cannot be read: the findings stand without it."""
    try:
        return NOTHING if run is None else read_histories(RunDir(run).trajectories, rows)
    except InputError:
        return NOTHING


def _suspects(table: pa.Table, rows: NDArray[np.intp], histories: Histories) -> tuple[Suspect, ...]:
    names = ["rank", "id", "image", "label", "suggested", "suspicion", "confidence", "reason"]
    names += ["annotator"] if "annotator" in table.column_names else []
    shown = table.select(names).take(pa.array(rows, pa.int64())).to_pylist()
    return tuple(
        Suspect(
            rank=row["rank"],
            id=row["id"] or "",
            image=row["image"] or "",
            given=row["label"] or "",
            suggested=row["suggested"] or "",
            suspicion=float(np.nan_to_num(row["suspicion"] or 0.0)),
            confidence=float(np.nan_to_num(row["confidence"] or 0.0)),
            reason=row["reason"] or "",
            annotator=row.get("annotator") or "",
            trajectory=() if (history := histories.out_of_fold(int(at))) is None else history.suggested,
        )
        for at, row in zip(rows, shown, strict=True)
    )


def _agreement(findings: Findings) -> Agreement | None:
    table = findings.table
    if "cleanlab.is_issue" not in table.column_names or findings.correctors[0] == "cleanlab":
        return None
    ours = table.column("is_label_error").fill_null(False).to_numpy()
    theirs = table.column("cleanlab.is_issue").fill_null(False).to_numpy()
    both, only_ours, only_theirs = (int(m.sum()) for m in (ours & theirs, ours & ~theirs, theirs & ~ours))
    return Agreement(findings.correctors[0], both, only_ours, only_theirs)


def _conflicts(findings: Findings, count: int = 3) -> tuple[int, tuple[Conflict, ...]]:
    rows = np.flatnonzero(findings.conflicting())
    group = findings.copies()[rows]
    groups = np.unique(group)
    found = []
    for one in groups[:count]:
        members = findings.table.select(["id", "label"]).take(pa.array(rows[group == one]))
        members = members.group_by(["id", "label"], use_threads=False).aggregate([]).slice(0, 4)
        found.append(
            Conflict(tuple(members.column("id").to_pylist()), tuple(members.column("label").to_pylist()))
        )
    return len(groups), tuple(found)


def _unreadable(table: pa.Table, count: int = 3) -> tuple[tuple[str, str], ...]:
    rows = table.filter(pc.equal(table.column("status"), "unreadable")).slice(0, count)
    return tuple((row["id"] or "", row["reason"] or "") for row in rows.select(["id", "reason"]).to_pylist())


def _files(run: Path | None) -> tuple[tuple[str, str], ...]:
    if run is None:
        return ()
    return tuple((str(run / name), what) for name, what in FILES.items() if (run / name).exists())


def _next_steps(run: Path | None, stop: YieldPoint | None) -> tuple[tuple[str, str], ...]:
    if run is None:
        return ()
    steps = []
    where = shlex.quote(str(run))
    if stop is not None:
        steps.append((f"labelfix report {where} --top {stop.review}", "list the rows to review"))
    steps.append((f"labelfix report {where} --html report.html", "the page with the images, made anew"))
    steps.append((f"labelfix export {where} --to label-studio -o tasks.json", "send suspects to annotators"))
    steps.append((f"labelfix merge {where} ANSWERS -o FIXED", "bring their answers into the manifest"))
    steps.append(("labelfix scan FIXED -o NEW", "scan again; features are cached"))
    steps.append((f"labelfix gate BATCH --reference {where}", "judge the next batch by this run, in CI"))
    return tuple(steps)
