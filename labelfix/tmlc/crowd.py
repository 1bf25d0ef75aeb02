"""Crowd: where annotators are known, how good each is, and what the others' answers say of a label.

Where several answered the same item, their answers are evidence that the images do not hold, and show how many labels
are wrong without any truth. As in Dawid & Skene (1979), an annotator has a rate of right answers, found by expectation
maximisation together with the posteriors of the true classes; here those start from what the images say (Raykar et al.
2010), an annotator has one number instead of a table of K × K, drawn towards that of all by as much as chance explains
(empirical Bayes), and errors on one item are not independent: if the label is wrong, another annotator is right less
often, and repeats the very error with a probability of its own. An error is half as likely as the heads find the class,
half even.

Disagreement between annotators also tells how far the images' log-odds can be believed: offset and slope are found in
the same rounds. Posteriors of such models are too sure of themselves, since hard items are hard for all: in the end
half of their log-odds counts, at the level that the rounds have found.

Bytes of a state: 12 an annotator. Work a round: a few numbers for each pair of answers about one item.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from labelfix.coanswers import CoAnswers
from labelfix.evidence import EvidenceChunk
from labelfix.tmlc.calibrate import level_offset, sigmoid
from labelfix.trajectories import Floats

PART = 0.5
"""How much of the log-odds counts where others answered, and of an annotator's record. By the truth of four crowds it
is .3 to .9 of what images say and .05 to .5 of what others do (`LOG.md`)."""
BELIEVED = np.array([1.0, 4.0])
"""Precisions of offset and slope of the images' log-odds before anyone has answered: they count where few have."""
ROUNDS = 20
REPEATED = 2.0
"""So many times the share of wrong answers there may be that would explain disagreement if errors were independent."""
ALIKE = 0.6
"""Two say the same wrong thing at most so often as the same right one: agreement speaks for a label, never against."""
LEAST = 0.1
"""Slope of the images' log-odds: they may say next to nothing, and never the opposite."""
PINNED = 10.0
"""Precision of the levels before any row is seen: rows that are all certain would let them go anywhere."""
COUNTED = 4
"""Others up to whom their number has a level of its own."""
MOSTLY = 0.5
"""Share of rows whose items others answered, too, from which on they stand for all."""
RATES = 1.5, 0.8, -0.4
"""Where rounds begin, and what is left where nobody answered what another had."""
SURE = 5.0
"""Log-odds added to the answers that are known to be right."""
MOST = 3.0
"""An annotator's log-odds are off those of all by at most so much."""
PREFIX = "crowd."

Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Crowd:
    """What was learnt of A annotators."""

    keys: NDArray[np.int64]
    """[A] ascending; see `coanswers.Items`."""
    records: Floats
    """[A] log-odds of a right answer, off those of all."""
    rates: Floats
    """[3] log-odds that another answer is right if this one is; that it is right if this one is wrong; that it then
    repeats the error, if it is not right."""
    images: Floats
    """[2, 2] offset and slope of what images say: of rows whose items others answered, of the rest."""
    levels: Floats
    """[L] log-odds to add where nobody else answered, one other did, two did, …; L − 1 stands for all more."""

    @classmethod
    def fit(cls, rows: EvidenceChunk, score: Floats, log_q: Floats, keeps_level: bool) -> Self | None:
        """Fit on training rows with the log-odds [n] of being wrong and the log-posteriors [n, C + 1] of candidates.

        `keeps_level`: the mean suspicion is known from elsewhere. None where no annotators are known.
        """
        others = rows.others
        if others is None or not len(rows):
            return None
        rows = replace(rows, in_sample=None, out_of_fold=None, votes=None, reliable_votes=None, kernel=None)
        keys, own = np.unique(others.own, return_inverse=True)
        odds, said, beside = score.astype(np.float64), _Said.of(rows), others.counts > 0
        learns, most = bool(beside.any()) and not keeps_level, _most_wrong(rows, said)
        plain = np.array([[0.0, 1.0], [0.0, 1.0]], np.float32)
        nothing = np.zeros(len(keys), np.float32), np.array(RATES, np.float32), plain
        fitted = cls(keys, *nothing, np.zeros(1, np.float32))
        wrong = sigmoid(odds)
        for _ in range(ROUNDS):
            joint = _at_most(most, fitted._joint(rows, said, odds, log_q), beside)
            posterior = np.exp(joint - np.logaddexp.reduce(joint, axis=1)[:, None])
            wrong = 1.0 - posterior[:, 0]
            fitted = replace(fitted, records=_records(own, 1.0 - wrong, len(keys)),
                             rates=_rates(posterior, wrong, said, rows.classes))  # fmt: skip
            if learns:
                line = _line(odds[beside], wrong[beside], fitted.images[0])
                # What few items show that somebody chose to ask about again says little of the others.
                fitted = replace(
                    fitted, images=np.stack([line, line if beside.mean() > MOSTLY else plain[1]])
                )
        kept = np.full(len(rows), keeps_level) if beside.mean() > MOSTLY or keeps_level else ~beside
        wrong[kept] *= sigmoid(odds)[kept].sum() / max(float(wrong[kept].sum()), 1e-9)
        return fitted.levelled(rows, score, log_q, wrong)

    def levelled(self, rows: EvidenceChunk, score: Floats, log_q: Floats, wrong: Numbers) -> Self:
        """Fit `levels`: rows with so many other answers, more of them being withheld, have the mean of `wrong` [n]."""
        assert rows.others is not None
        counts, levels = rows.others.counts, list[float]()
        for count in range(min(COUNTED, int(counts.max())) + 1):
            which = np.flatnonzero(counts >= count)
            some = rows.take(which)
            assert some.others is not None
            heard = some.others if count == COUNTED else some.others.first(count)
            bare, _ = self(replace(some, others=heard), score[which], log_q[which])
            levels.append(_offset(bare.astype(np.float64), wrong[which]))
        return replace(self, levels=np.array(levels, np.float32))

    def __call__(self, rows: EvidenceChunk, score: Floats, log_q: Floats) -> tuple[Floats, Floats]:
        """Return the log-odds [n] and log-posteriors [n, C + 1] that these become."""
        if rows.others is None:
            rows = replace(rows, others=CoAnswers.nobody(len(rows)))
        assert rows.others is not None
        counts = rows.others.counts
        joint = self._joint(rows, _Said.of(rows), score.astype(np.float64), log_q)
        joint *= np.where(counts > 0, PART, 1.0)[:, None]
        # The record counts in part for all; where nobody else answered, all of it is in the joint log-posterior yet.
        joint[:, 0] -= np.where(counts > 0, 0.0, 1.0 - PART) * self._record(rows.others.own)
        moved = np.logaddexp.reduce(joint[:, 1:], axis=1) - joint[:, 0]
        moved += self.levels[np.minimum(counts, len(self.levels) - 1)]
        return moved.astype(np.float32), joint.astype(np.float32)

    def _joint(self, rows: EvidenceChunk, said: _Said, odds: Numbers, log_q: Floats) -> Numbers:
        """Return log-posteriors [n, C + 1], up to a number a row, of images, records and others' answers together."""
        line = self.images[np.where(said.others.counts > 0, 0, 1)]
        odds = line[:, 0] + line[:, 1] * odds - self._record(said.others.own)
        rest = log_q[:, 1:].astype(np.float64)
        rest += (odds - np.logaddexp.reduce(rest, axis=1))[:, None]
        return np.concatenate([np.zeros((len(odds), 1)), rest], axis=1) + self._told(rows, said)

    def _record(self, keys: NDArray[np.int64]) -> Numbers:
        """Return the record [n] of annotators; 0 of unknown ones."""
        at = np.searchsorted(self.keys, keys).clip(0, len(self.keys) - 1)
        return np.asarray(np.where(self.keys[at] == keys, self.records[at], 0.0), np.float64)

    def _told(self, rows: EvidenceChunk, said: _Said) -> Numbers:
        """Return the log-likelihood [n, C + 1] of what others said, for each candidate that may be the true class."""
        others = said.others
        record = self._record(others.who) + SURE * others.trusted
        right, helps = sigmoid(self.rates[0] + record), sigmoid(self.rates[1] + record)
        repeats = sigmoid(self.rates[2]) if rows.classes > 2 else 1.0 - 1e-9
        strange = np.log((1.0 - helps) * (1.0 - repeats) / max(rows.classes - 2, 1))
        elsewise = np.where(said.same, np.log((1.0 - helps) * repeats), strange)
        agrees = np.where(said.same, np.log(right), np.log((1.0 - right) * said.plausible))
        n, C = rows.candidates.shape
        told = np.empty((n, C + 1))
        told[:, 1:] = np.bincount(others.at, elsewise, n)[:, None]
        told[:, 0] = np.bincount(others.at, agrees, n)
        named = said.column > 0
        np.add.at(told, (others.at[named], said.column[named]), (np.log(helps) - elsewise)[named])
        return told

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays for a State."""
        return {PREFIX + name: values for name, values in vars(self).items()}

    @classmethod
    def of(cls, arrays: dict[str, NDArray[Any]]) -> Self | None:
        """Undo `arrays`; None where there are none."""
        if f"{PREFIX}keys" not in arrays:
            return None
        return cls(*(arrays[PREFIX + name] for name in cls.__match_args__))


@dataclass(frozen=True, eq=False)
class _Said:
    """What does not change from round to round, of the m answers beside n rows."""

    others: CoAnswers
    same: NDArray[np.bool_]
    """[m] it is the row's own label."""
    column: NDArray[np.intp]
    """[m] candidate that it names; 0 where that is the given label, or none."""
    plausible: Numbers
    """[m] how likely this error is where the row's label is right."""

    @classmethod
    def of(cls, rows: EvidenceChunk) -> Self:
        assert rows.others is not None
        others, given = rows.others, rows.labels[rows.others.at]
        column = (rows.candidates[others.at] == others.labels[:, None]).argmax(axis=1)
        plausible = np.full(len(others.at), 1.0 / max(rows.classes - 1, 1))
        if rows.probabilities is not None:
            own, other = (
                rows.probabilities[others.at, named].astype(np.float64) for named in (given, others.labels)
            )
            plausible = (plausible + other / np.maximum(1.0 - own, 1e-3)) / 2
        return cls(others, others.labels == given, column, plausible.clip(1e-9, 1.0))


def _most_wrong(rows: EvidenceChunk, said: _Said) -> float:
    """Return the share of wrong answers that there may be where others answered, as often as two of them agree.

    If all agree nearly always, all may be right or all may repeat the same errors, and nothing but sense tells which:
    a model of crowds has both solutions. If errors were independent and even among K classes, two would agree with
    probability a² + (1 − a)² / (K − 1); the true share of wrong answers was up to 1.7 times what that says.
    """
    counts, K = said.others.counts, rows.classes
    beside = counts > 0
    if not beside.any() or K < 2:
        return 1.0
    agree = float((np.bincount(said.others.at, said.same, len(rows))[beside] / counts[beside]).mean())
    right = (1.0 + np.sqrt(max(1.0 - K + K * (K - 1) * agree, 0.0))) / K
    return float(min(REPEATED * (1.0 - right) + 1e-3, 1.0))


def _at_most(most: float, joint: Numbers, beside: NDArray[np.bool_]) -> Numbers:
    """Lower the log-odds of being wrong of rows [n, C + 1] `beside` which others answered to this mean at most."""
    odds = np.logaddexp.reduce(joint[beside, 1:], axis=1) - joint[beside, 0]
    if len(odds) and sigmoid(odds).mean() > most:
        joint[beside, 0] -= level_offset(odds, most)
    return joint


def _records(own: NDArray[np.intp], right: Numbers, annotators: int) -> Floats:
    """Return the log-odds [A] of annotators' answers being right, off those of all, drawn to them by empirical Bayes.

    The variance between annotators is that of a random-effects analysis (DerSimonian & Laird 1986).
    """
    count = np.bincount(own, minlength=annotators).astype(np.float64)
    total = np.bincount(own, right, annotators)
    mean, rows = float(right.mean()), len(right)
    spread = float((count * (total / count - mean) ** 2).sum()) - (annotators - 1) * float(right.var())
    between = max(spread / max(rows - float((count**2).sum()) / rows, 1e-9), 1e-9)
    prior = mean * (1.0 - mean) / between  # so many answers of all count beside one's own
    share = ((total + prior * mean) / (count + prior)).clip(1e-3, 1.0 - 1e-3)
    return np.asarray((_odds(share) - _odds(mean)).clip(-MOST, MOST), np.float32)


def _rates(posterior: Numbers, wrong: Numbers, said: _Said, classes: int) -> Floats:
    """Return `Crowd.rates` by the posteriors [n, C + 1]."""
    at = said.others.at
    if not len(at):
        return np.array(RATES, np.float32)
    off = np.maximum(wrong[at].sum(), 1e-9)
    right = 1.0 - wrong.mean()
    helps = np.where(said.column > 0, posterior[at, said.column], 0.0).sum() / off
    if classes == 2:
        helps = max(helps, 1.0 - ALIKE * right)
    repeats = (wrong[at] * said.same).sum() / off / max(1.0 - helps, 1e-6)
    repeats = min(repeats, ALIKE * right / max(1.0 - helps, 1e-6))
    return np.array([_odds(right), _odds(helps), _odds(repeats)], np.float32)


def _line(odds: Numbers, wrong: Numbers, at: Floats) -> Floats:
    """Return offset and slope [2] of logistic regression of posteriors on log-odds [n]: one step from where it was."""
    x = np.stack([np.ones(len(odds)), odds], axis=1)
    p = sigmoid(x @ at)
    hessian = (x * (p * (1 - p))[:, None]).T @ x + np.diag(BELIEVED)
    step = np.linalg.solve(hessian, x.T @ (wrong - p) - BELIEVED * (at - [0.0, 1.0])).clip(-0.5, 0.5)
    offset, slope = at + step
    return np.array([offset, max(slope, LEAST)], np.float32)


def _offset(odds: Numbers, wrong: Numbers) -> float:
    """Return what to add to log-odds [n] for the mean that `wrong` [n] has; little, where hardly any row would move."""
    offset = 0.0
    for _ in range(ROUNDS):
        p = sigmoid(odds + offset)
        step = ((wrong - p).sum() - PINNED * offset) / ((p * (1.0 - p)).sum() + PINNED)
        offset += float(np.clip(step, -1.0, 1.0))
    return offset


def _odds(share: Any) -> Any:
    share = np.clip(share, 0.02, 0.995)
    return np.log(share / (1.0 - share))
