"""Scoring: correctors' states + rows → findings; the one place for training rows and unseen ones."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from labelfix.correctors.interface import Corrector
from labelfix.correctors.level import fit_level, with_suspicion
from labelfix.correctors.replacing import leads
from labelfix.errors import UsageError
from labelfix.evidence import Evidence, EvidenceChunk
from labelfix.findings import LISTED_FROM, SOFT_LABEL, Correction, State, conflicting
from labelfix.manifest import Manifest
from labelfix.tmlc.calibrate import error_rate
from labelfix.tmlc.level import Level
from labelfix.trajectories import Floats

AMBIGUOUS_BELOW = 0.6
"""No class reaches this probability."""


@dataclass(frozen=True, eq=False)
class RowFacts:
    """What is known of each of the N manifest rows apart from opinions."""

    status: NDArray[np.object_]
    """[N] scored, unreadable, unlabelled, singleton_class; of a gate also unknown_class, entangled."""
    reason: NDArray[np.object_]
    """[N] why a row was not scored, else ""."""
    outlier: NDArray[np.bool_]
    """[N]"""
    duplicate_group: NDArray[np.int64]
    """[N] number of its set of copies; -1 = none."""


@dataclass(frozen=True, eq=False)
class Opinions:
    """Opinions on n rows, and the evidence that reasons are worded from."""

    rows: NDArray[np.int64]
    """[n] manifest positions."""
    corrections: dict[str, Correction]
    """By corrector, the primary one first; it has a suspicion."""
    votes: NDArray[np.float32]
    """[n] share of neighbours that carry the suggested label; NaN without neighbours."""
    preferred: NDArray[np.float32]
    """[n] share of epochs in which the suggested label beat the given one out of fold."""
    agreeing: NDArray[np.int64]
    """[n, 2] other annotators who say the suggested label, of how many; 0 of 0 where nobody else answered."""
    suggested_loss: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    """[n, E] cross-entropy of the suggested label by trajectory block, those that there are; NaN where not recorded."""


def fit(evidence: Evidence, correctors: Mapping[str, Corrector]) -> dict[str, State]:
    """Fit every corrector; the first is primary, and gets a level if it does not claim one.

    Raises UsageError when a corrector needs evidence that is not there.
    """
    for name, corrector in correctors.items():
        missing = sorted(corrector.needs.required - evidence.present)
        if missing:
            raise UsageError(f"corrector {name!r} needs {', '.join(missing)}, which this scan does not have")
    states = {name: corrector.fit(evidence) for name, corrector in correctors.items()}
    primary = next(iter(correctors))
    few = next(iter(evidence.chunks())).take(np.arange(1))
    if correctors[primary].score(states[primary], few).suspicion is None:
        states[primary] = fit_level(correctors[primary], states[primary], evidence)
    return states


def score(
    evidence: Evidence, correctors: Mapping[str, Corrector], states: Mapping[str, State],
    seen: Callable[[EvidenceChunk], None],
) -> Opinions:  # fmt: skip
    """Score all rows chunk by chunk; `seen` is called with each chunk."""
    parts: dict[str, list[Correction]] = {name: [] for name in correctors}
    rows, votes, preferred, agreeing = [], [], [], []
    losses: dict[str, list[NDArray[np.float32]]] = {}
    primary = next(iter(correctors))
    for chunk in evidence.chunks():
        for name, corrector in correctors.items():
            parts[name].append(corrector.score(states[name], chunk))
        parts[primary][-1] = _with_level(parts[primary][-1], states[primary], chunk)
        suggested, _ = parts[primary][-1].suggested(chunk.labels)
        rows.append(chunk.rows)
        voted, beaten = _support(chunk, suggested)
        votes.append(voted)
        preferred.append(beaten)
        agreeing.append(_agreeing(chunk, suggested))
        for name, loss in _losses(chunk, suggested).items():
            losses.setdefault(name, []).append(loss)
        seen(chunk)
    if not rows:
        none, listed = np.zeros(0, np.float32), np.zeros((0, 1), np.float32)
        empty = {name: Correction(name, none, listed.astype(np.int32), listed, none) for name in correctors}
        return Opinions(none.astype(np.int64), empty, none, none, np.zeros((0, 2), np.int64))
    return Opinions(
        np.concatenate(rows),
        {name: Correction.concatenate(found) for name, found in parts.items()},
        np.concatenate(votes),
        np.concatenate(preferred),
        np.concatenate(agreeing),
        {name: np.concatenate(found) for name, found in losses.items()},
    )


def _losses(chunk: EvidenceChunk, classes: NDArray[np.int32]) -> dict[str, NDArray[np.float32]]:
    """Return the loss [n, E] of one class a row, by block; NaN where it is no candidate."""
    at, column, known = _listed(chunk, classes)
    return {
        name: np.where(known[:, None], -block.log_p[at, :, column], np.nan).astype(np.float32)
        for name, block in zip(("in_sample", "out_of_fold"), chunk.blocks, strict=True)
        if block is not None
    }


def suspect(evidence: Evidence, corrector: Corrector, state: State) -> tuple[NDArray[np.int64], Floats]:
    """Return the rows [n] of evidence, in its order, and the suspicion [n] that a primary corrector has of each."""
    rows, found = [], []
    for chunk in evidence.chunks():
        suspicion = _with_level(corrector.score(state, chunk), state, chunk).suspicion
        assert suspicion is not None
        rows.append(chunk.rows)
        found.append(suspicion)
    return np.concatenate(rows), np.concatenate(found)


def _with_level(correction: Correction, state: State, rows: EvidenceChunk) -> Correction:
    return correction if correction.suspicion is not None else with_suspicion(correction, state, rows)


def _support(
    chunk: EvidenceChunk, suggested: NDArray[np.int32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    at, column, known = _listed(chunk, suggested)
    unknown = np.full(len(chunk), np.nan, np.float32)
    voted = unknown if chunk.votes is None else np.where(known, chunk.votes[at, column], unknown)
    block = chunk.out_of_fold
    if block is None:
        return voted, unknown
    beaten = block.log_p[at, :, column] > block.log_p[:, :, 0]
    return voted, np.where(known, beaten.mean(axis=1).astype(np.float32), unknown)


def _listed(
    chunk: EvidenceChunk, classes: NDArray[np.int32]
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.bool_]]:
    """Return each row, which of its candidates a class [n] is, and whether it is one."""
    matches = chunk.candidates == classes[:, None]
    return np.arange(len(chunk)), matches.argmax(axis=1), matches.any(axis=1)


def _agreeing(chunk: EvidenceChunk, suggested: NDArray[np.int32]) -> NDArray[np.int64]:
    nobody = np.zeros((len(chunk), 2), np.int64)
    return nobody if chunk.others is None else np.stack(chunk.others.of_class(suggested), axis=1)


def tabulate(
    manifest: Manifest, scored: Opinions, facts: RowFacts, epochs: int, settings: Mapping[str, Any]
) -> tuple[pa.Table, dict[str, float]]:
    """Build the findings table in manifest order, and the estimated error rate of so many rows
    whose label is in question.

    `settings` are those of the primary corrector's state: those of its `Level` and
    `known_wrong` are used where it has them.
    """
    N, given = len(manifest), manifest.labels[scored.rows]
    primary = next(iter(scored.corrections.values()))
    assert primary.suspicion is not None
    suspicion = primary.suspicion.copy()
    order_by = primary.score.astype(np.float64)
    trusted = manifest.trusted[scored.rows] if manifest.trusted is not None else np.zeros(len(given), bool)
    suspicion[trusted] = 0.0
    order_by[trusted] = -np.inf
    level = Level.of(settings)
    known_right = len(given) > 0 and bool(trusted.all())
    nothing_wrong = {"rate": 0.0, "low": 0.0, "high": 0.0}
    estimate = nothing_wrong if known_right else error_rate(suspicion[~trusted], level.doubt)
    estimate["rows"] = int((~trusted).sum())

    suggested, confidence = primary.suggested(given)
    confidence[trusted] = 0.0
    order = np.argsort(-order_by, kind="stable")
    rank = np.empty(len(given), np.int32)
    rank[order] = np.arange(1, len(given) + 1)
    known = settings.get("known_wrong")
    asked_about = np.flatnonzero(~trusted)
    precise = len(asked_about) * (1.0 if known is None else known["flag_share"])
    flagged = (rank <= round(min(float(suspicion.sum()), precise))) & ~trusted
    p_given = np.where(trusted, 1.0, primary.p_of(given))
    weak, hopeless = level.is_weak(estimate["rate"]), level.is_hopeless(estimate["rate"])
    fix = flagged & (not hopeless)
    fix[asked_about] &= leads(
        primary.suspicion[asked_about], confidence[asked_about], p_given[asked_about], estimate, weak
    )
    likeliest = np.maximum(np.where(trusted, 1.0, confidence), p_given)
    ambiguous = (likeliest < AMBIGUOUS_BELOW) & ~trusted

    wide = np.full(N, -1, np.int64)
    wide[scored.rows] = np.arange(len(scored.rows))
    where = pa.array(wide, mask=wide < 0)  # manifest row → scored row, null where it was not scored

    def spread(values: NDArray[Any], kind: pa.DataType, default: Any = None) -> pa.Array:
        taken = pa.array(values, type=kind).take(where)
        return taken if default is None else taken.fill_null(default)

    classes = pa.array(manifest.classes, pa.string())

    def named(numbers: NDArray[np.int32]) -> pa.Array:
        return classes.take(spread(numbers, pa.int64()))

    labels = pa.array(manifest.labels.astype(np.int64), mask=manifest.labels < 0)
    soft, other = _soft_labels(primary, trusted, given, classes)
    group = _copies(manifest, facts)
    names = manifest.image_names
    columns: dict[str, Any] = {
        "id": pa.array(manifest.ids, pa.string()),
        "image": pa.nulls(N, pa.string()) if names is None else pa.array(names, pa.string()),
        "label": classes.take(labels),
        "suggested": named(suggested),
        "suspicion": spread(suspicion, pa.float32()),
        "confidence": spread(confidence, pa.float32()),
        "soft_label": soft.take(where),
        "soft_label_other": spread(other, pa.float32()),
        "rank": spread(rank, pa.int32()),
        "is_label_error": spread(flagged, pa.bool_(), False),
        "auto_fix": spread(fix, pa.bool_(), False),
        "is_ambiguous": spread(ambiguous, pa.bool_(), False),
        "is_outlier": pa.array(facts.outlier),
        "duplicate_group": pa.array(group.astype(np.int32), mask=group < 0),
        "status": pa.array(facts.status, pa.string()),
        "reason": _reasons(manifest, scored, facts, flagged | ambiguous, trusted, suggested, epochs),
    }
    if manifest.annotators is not None:
        columns["annotator"] = pa.array(manifest.annotators, pa.string())
    for name, correction in scored.corrections.items():
        columns[f"{name}.score"] = spread(correction.score, pa.float32())
        columns[f"{name}.suggested"] = named(correction.suggested(given)[0])
        if correction.is_issue is not None:
            columns[f"{name}.is_issue"] = spread(correction.is_issue, pa.bool_(), False)
    return pa.table(columns), estimate


def _soft_labels(
    correction: Correction, trusted: NDArray[np.bool_], given: NDArray[np.int32], classes: pa.Array
) -> tuple[pa.Array, NDArray[np.float32]]:
    """Return lists of (label, p), descending [n], and what is left for the classes not listed [n]."""
    p, numbers = correction.p.copy(), correction.classes.copy()
    p[trusted] = 0.0
    p[trusted, 0] = 1.0
    numbers[trusted, 0] = given[trusted]
    listed = p >= LISTED_FROM
    offsets = np.concatenate([[0], np.cumsum(listed.sum(axis=1))]).astype(np.int32)
    flat = pa.StructArray.from_arrays(
        [classes.take(pa.array(numbers[listed].astype(np.int64))), pa.array(p[listed], pa.float32())],
        fields=list(SOFT_LABEL.value_type),
    )
    other = (1.0 - np.where(listed, p, 0.0).sum(axis=1, dtype=np.float64)).clip(0.0, 1.0).astype(np.float32)
    return pa.ListArray.from_arrays(pa.array(offsets), flat), other


def _reasons(
    manifest: Manifest, scored: Opinions, facts: RowFacts, told: NDArray[np.bool_], trusted: NDArray[np.bool_],
    suggested: NDArray[np.int32], epochs: int,
) -> pa.Array:  # fmt: skip
    """Say why, for rows that were flagged, are ambiguous, trusted, or were not scored; "" for the others."""
    reasons = facts.reason.copy()
    for at in np.flatnonzero(told & ~trusted):
        name = manifest.classes[suggested[at]]
        said = []
        agree, asked = scored.agreeing[at]
        if agree:
            said.append(f"{agree} of {asked} other annotators say {name!r}")
        if np.isfinite(scored.votes[at]) and scored.votes[at] > 0:
            said.append(f"{scored.votes[at]:.0%} of the neighbours are labelled {name!r}")
        if np.isfinite(scored.preferred[at]) and scored.preferred[at] > 0:
            times = round(float(scored.preferred[at]) * epochs)
            said.append(
                f"the model that did not see this label preferred {name!r} in {times} of {epochs} epochs"
            )
        reasons[scored.rows[at]] = "; ".join(said) or f"no evidence speaks clearly, {name!r} comes closest"
    for row in np.flatnonzero(conflicting(_copies(manifest, facts), manifest.labels)):
        also = "a copy of this image carries another label"
        reasons[row] = f"{reasons[row]}; {also}" if reasons[row] else also
    reasons[scored.rows[trusted]] = "the label is trusted"
    return pa.array(reasons, pa.string())


def _copies(manifest: Manifest, facts: RowFacts) -> NDArray[np.int64]:
    """Return the number [N] of each row's set of copies; answers about one item alone are no set."""
    group = facts.duplicate_group
    rows = np.flatnonzero(group >= 0)
    if manifest.annotators is None or not len(rows):
        return group
    items = pa.array(manifest.ids[rows], pa.string()).dictionary_encode().indices.to_numpy()
    pairs = np.unique(np.stack([group[rows], items], axis=1), axis=0)
    alone = np.bincount(pairs[:, 0], minlength=int(group.max()) + 1) == 1
    return np.where((group >= 0) & alone[group], np.int64(-1), group)
