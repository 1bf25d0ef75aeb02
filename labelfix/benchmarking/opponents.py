"""Opponents: what stands in the rows of the table, and how each is made to speak of the same things.

Each row is a corrector, judged as if it were the only one of a scan: by `scoring`, the same code, so that raw
scores get a level and flags come by the same rule. None is shown the truth.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from labelfix import plugins, scoring
from labelfix.correctors.building import sparse, state_of
from labelfix.correctors.interface import Corrector, Needs
from labelfix.errors import UsageError, unknown_name
from labelfix.evidence import Evidence, EvidenceChunk
from labelfix.findings import Correction, State
from labelfix.learn.replay import Replay
from labelfix.manifest import Manifest
from labelfix.scoring import Opinions, RowFacts
from labelfix.trajectories import Floats, Ints

OURS = "tmlc"
BOOTSTRAPS = 2000


class _Plain(ABC):
    """A score that needs no fit; its soft label is the out-of-fold distribution."""

    name: ClassVar[str]
    needs: ClassVar[Needs] = Needs(required=frozenset({"out_of_fold"}))

    def fit(self, evidence: Evidence) -> State:
        """Nothing is fitted."""
        return state_of(self.name, evidence, {})

    def score(self, state: State, rows: EvidenceChunk) -> Correction:  # noqa: ARG002 (Protocol)
        """Score by `of` the final out-of-fold probabilities."""
        assert rows.probabilities is not None  # required above
        own = rows.probabilities[np.arange(len(rows)), rows.labels]
        listed = np.take_along_axis(rows.probabilities, rows.candidates.astype(np.intp), axis=1)
        return sparse(
            self.name, self.of(rows.probabilities, own, rows.labels), rows.candidates, listed, **self.verdict(rows)
        )  # fmt: skip

    @staticmethod
    @abstractmethod
    def of(p: Floats, own: Floats, labels: Ints) -> Floats:
        """Score [n] from probabilities [n, K], those of the given labels [n], and the labels."""

    @staticmethod
    def verdict(rows: EvidenceChunk) -> dict[str, Any]:  # noqa: ARG004 (most have none)
        """Return `is_issue`, where the score has a verdict of its own."""
        return {}


class Constant(_Plain):
    """The same score for every row."""

    name = "constant"

    @staticmethod
    def of(p: Floats, own: Floats, labels: Ints) -> Floats:  # noqa: ARG004 (constant)
        """[n] zeros."""
        return np.zeros(len(own), np.float32)


class ArgmaxDisagreement(_Plain):
    """1 where the out-of-fold argmax is not the given label: its verdict, too, and what it would replace."""

    name = "argmax-disagreement"

    @staticmethod
    def of(p: Floats, own: Floats, labels: Ints) -> Floats:  # noqa: ARG004 (own)
        """[n] 0 or 1."""
        return np.asarray(p.argmax(axis=1) != labels, np.float32)

    @staticmethod
    def verdict(rows: EvidenceChunk) -> dict[str, Any]:
        """Flag every disagreement."""
        assert rows.probabilities is not None
        return {"is_issue": rows.probabilities.argmax(axis=1) != rows.labels}


class NormalisedMargin(_Plain):
    """Cleanlab's normalised margin: the likeliest other class minus the given one."""

    name = "cleanlab:normalised-margin"

    @staticmethod
    def of(p: Floats, own: Floats, labels: Ints) -> Floats:
        """[n] in −1 … 1."""
        others = p.copy()
        others[np.arange(len(p)), labels] = -np.inf
        return np.asarray(others.max(axis=1) - own, np.float32)


class WeightedEntropy(_Plain):
    """Cleanlab's confidence-weighted entropy: entropy over the probability of the given label."""

    name = "cleanlab:confidence-weighted-entropy"

    @staticmethod
    def of(p: Floats, own: Floats, labels: Ints) -> Floats:  # noqa: ARG004 (labels)
        """[n] at least 0."""
        entropy = -(p * np.log(np.maximum(p, 1e-12))).sum(axis=1) / np.log(p.shape[1])
        return np.asarray(entropy / np.maximum(own, 1e-6), np.float32)


BASELINES: tuple[type[_Plain], ...] = (Constant, ArgmaxDisagreement, NormalisedMargin, WeightedEntropy)
CLEANLAB = ("cleanlab", NormalisedMargin.name, WeightedEntropy.name)
"""Its three scores."""


def opponents(chosen: Sequence[str], weights: Path | None) -> dict[str, Corrector]:
    """Return the rows of the table by name, the one in question first, then what it has to beat.

    `chosen` names correctors; none means all that are installed. Baselines and cleanlab always stand beside
    them. Raises UsageError for an unknown name.
    """
    installed = plugins.names("correctors")
    baselines: dict[str, Corrector] = {baseline.name: baseline() for baseline in BASELINES}
    for name in chosen:
        if name not in installed and name not in baselines:
            raise unknown_name("method", name, [*installed, *baselines])
    wanted = list(chosen) or sorted(installed, key=lambda name: (name != OURS, name))
    rows = dict.fromkeys([*wanted, "cleanlab", *baselines])
    return {name: baselines[name] if name in baselines else _installed(name, weights) for name in rows}


def _installed(name: str, weights: Path | None) -> Corrector:
    made: Corrector = plugins.load("correctors", name)(*([weights] if name == OURS and weights else []))
    return made


def able(
    correctors: dict[str, Corrector], present: frozenset[str], chosen: Sequence[str]
) -> dict[str, Corrector]:
    """Return those that the evidence suffices for; raises UsageError when one of the `chosen` is not."""
    missing = {name: sorted(one.needs.required - present) for name, one in correctors.items()}
    for name in chosen:
        if missing[name]:
            raise UsageError(f"method {name!r} needs {', '.join(missing[name])}, which this evidence lacks")
    return {name: one for name, one in correctors.items() if not missing[name]}


@dataclass(frozen=True, eq=False)
class Opinion:
    """What one method says of the n rows of a trial, in canonical order."""

    method: str
    """Name of the row."""
    score: NDArray[np.float32]
    """[n] higher is more suspicious."""
    suspicion: NDArray[np.float32]
    """[n] probability that the given label is wrong; through the target-side level where none is claimed."""
    flagged: NDArray[np.bool_]
    """[n] the method's own verdict, else a scan's is_label_error."""
    fix: NDArray[np.bool_]
    """[n] a scan's auto_fix."""
    suggested: NDArray[np.int32]
    """[n] the likeliest class other than the given one."""
    classes: NDArray[np.int32]
    """[n, S] of the soft label, likeliest first."""
    p: NDArray[np.float32]
    """[n, S] their probabilities."""
    rate: dict[str, float]
    """rate, low, high of the share of wrong labels, 90 %; of a method with a verdict of its own, its count."""
    seconds: float
    """Of fitting and scoring, evidence apart."""


def judge(name: str, corrector: Corrector, evidence: Replay, rows: Manifest) -> Opinion:
    """Fit a corrector, score all rows, and say it as a scan would; `rows` are those of the evidence, n."""
    began = time.perf_counter()
    states = scoring.fit(evidence, {name: corrector})
    scored = scoring.score(evidence, {name: corrector}, states, lambda _: None)
    seconds = time.perf_counter() - began
    said = opinion_of(scored, evidence, rows, states[name].settings, seconds)
    return blindly(said, rows.labels) if name == ArgmaxDisagreement.name else said


def blindly(opinion: Opinion, given: Ints) -> Opinion:
    """Replace every flagged label [n]: what the argmax of the probabilities would do to them."""
    changed = np.where(opinion.flagged, opinion.suggested, given)[:, None]
    return replace(opinion, fix=opinion.flagged, classes=changed, p=np.ones(changed.shape, np.float32))


def opinion_of(
    scored: Opinions, evidence: Replay, rows: Manifest, settings: Mapping[str, Any], seconds: float
) -> Opinion:
    """Turn the correction of the one method in `scored` into an opinion, by the rules of a scan."""
    ((name, correction),) = scored.corrections.items()
    n = len(evidence)
    place = np.empty(int(evidence.rows.max()) + 1, np.intp)
    place[evidence.rows] = np.arange(n)
    at = place[scored.rows]  # scored row → canonical position

    def ordered(values: NDArray[Any]) -> NDArray[Any]:
        out = np.empty_like(values)
        out[at] = values
        return out

    facts = RowFacts(
        np.full(n, "scored", object), np.full(n, "", object), np.zeros(n, bool), np.full(n, -1, np.int64)
    )
    table, rate = scoring.tabulate(rows, replace(scored, rows=at), facts, evidence.epochs, settings)
    flagged = table.column("is_label_error").to_numpy()
    if correction.is_issue is not None:
        flagged = ordered(correction.is_issue)
        rate = counted(flagged)
    suggested, _ = correction.suggested(rows.labels[at])
    return Opinion(
        name,
        ordered(correction.score),
        table.column("suspicion").to_numpy(),
        flagged,
        table.column("auto_fix").to_numpy(),
        ordered(suggested),
        ordered(correction.classes),
        ordered(correction.p),
        rate,
        seconds,
    )


def counted(flagged: NDArray[np.bool_]) -> dict[str, float]:
    """Return the share of flags as a rate, with the 90 % interval of a bootstrap over rows."""
    n, rate = max(len(flagged), 1), float(flagged.mean())
    again = np.random.default_rng(0).binomial(n, rate, BOOTSTRAPS) / n  # rows drawn again, counted
    low, high = np.quantile(again, [0.05, 0.95])
    return {"rate": rate, "low": float(low), "high": float(high)}
