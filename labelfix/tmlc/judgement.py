"""Judgement: what the net's verdicts on one target rest on, fitted on its training rows; then any row's posterior.

Unseen rows have no in-sample block: they are judged as training rows are when it is withheld.
"""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, NamedTuple, Self
from weakref import WeakKeyDictionary

import numpy as np
from numpy.typing import NDArray

from labelfix.coanswers import CoAnswers
from labelfix.evidence import Evidence, EvidenceChunk
from labelfix.learn.spacing import evenly
from labelfix.tmlc import known_wrong, perception
from labelfix.tmlc.blend import Blend, weight_of_whole
from labelfix.tmlc.calibrate import confident_share, sigmoid, worth
from labelfix.tmlc.crowd import MOSTLY, Crowd
from labelfix.tmlc.feedback import Feedback
from labelfix.tmlc.known_wrong import KnownWrong
from labelfix.tmlc.level import Level, contradicted
from labelfix.tmlc.net import TMLCNet
from labelfix.tmlc.parting import part
from labelfix.tmlc.scored import Scored
from labelfix.tmlc.transitions import Transitions
from labelfix.trajectories import Floats

SAMPLE = 60_000
"""Rows that percentiles are taken from and pairs of classes counted in; other counts are of all rows."""
BLENDED = 4_096
"""Rows of these that the blend is fitted on, and that are judged with labels known to be wrong."""

HEARD, ANSWERS = 500, 1.5
"""Rows whose items others answered, and other answers a row, from which on disagreement tells the level, if most rows
are such: with one other answer and images that say little it cannot be told, and items asked about twice may be
chosen."""

LEAST = -60.0
"""Stands for the logarithm of nothing."""
NET, SECOND, UNLIKELY = 0.75, 0.5, 0.02
"""Which other class is likeliest: weights of the net's log-posterior and of the logarithm of what kernel regression
expects, at least `UNLIKELY`."""


class Posteriors(NamedTuple):
    """What the net says of n rows: log-posteriors [n, C + 1]."""

    withheld: Floats
    """Of rows as unseen ones."""
    whole: Floats | None
    """With the in-sample block; None where the blend does not hear it, or there is none."""

    @classmethod
    def joined(cls, parts: Sequence[Posteriors]) -> Posteriors:
        """Put those of several chunks one after the other."""
        withheld, whole = zip(*parts, strict=True)
        return cls(np.concatenate(withheld), None if whole[0] is None else np.concatenate(whole))


@dataclass(frozen=True, eq=False)
class Judgement:
    """Statistics of training rows, as small as perception's."""

    norms: perception.Norms
    blend: Blend
    known: KnownWrong | None
    """None where nothing was learnt out of fold."""
    level: Level
    """What the mean suspicion rests on."""
    transitions: Transitions | None
    """Which classes are given for which."""
    line: tuple[float, float] = (0.0, 1.0)
    """Offset and slope with which the blend's log-odds say what they are worth."""
    feedback: Feedback | None = None
    """What annotators' answers change, the slope too; None where nobody was asked."""
    crowd: Crowd | None = None
    """What is known of those who gave the labels; None where they are not."""
    heard: MutableMapping[EvidenceChunk, Posteriors] = field(default_factory=WeakKeyDictionary, repr=False)
    """What the net said of chunks that the fit saw, as long as the evidence keeps them: it is the costly part."""

    @classmethod
    def fit(cls, net: TMLCNet, evidence: Evidence) -> Self:
        """Fit norms and blend; the level joins two estimates of the error rate where both can be made, and an audit.

        Pairs of classes and answers move rows apart, and leave their mean suspicion.
        """
        counts = np.bincount(evidence.labels, minlength=evidence.classes).astype(np.float32)
        parts = list(evidence.chunks()) if len(evidence) <= SAMPLE else [evidence.sample(SAMPLE)]
        sample = EvidenceChunk.joined(parts)
        norms = perception.fit(sample, counts, evidence.epochs)
        if sample.trusted is not None:
            parts = [evidence.sample(SAMPLE, asked=True)]
        left = sample if sample.trusted is None else parts[0]
        blend, known, level = _levelled(net, norms, left, evidence)
        heard = [_posteriors(net, norms, blend, part) for part in parts]
        remembered = WeakKeyDictionary(zip(parts, heard, strict=True))
        del parts  # where the evidence does not keep them, they take as much as the sample
        usual, log_q = _scored(blend, left, Posteriors.joined(heard))
        answered = evidence.answered() if known is not None else None
        asked = None
        if answered is not None and len(answered[0]):
            rows, wrong = answered
            scored, _ = _scored(blend, rows, _posteriors(net, norms, blend, rows))
            asked = scored, wrong
        transitions = Transitions.fit(usual, *([] if asked is None else [asked]))
        usual = usual.moved(transitions(usual))
        line = (0.0, 1.0) if known is None else worth(usual.score)
        usual, feedback = usual.stretched(line), None
        if asked is not None:
            asked_about = scored.moved(transitions(scored)).stretched(line)
            feedback = Feedback.fit(asked_about, wrong, usual, line[1])
            usual = usual.moved(feedback(usual))
        crowd = Crowd.fit(usual.rows, usual.score, log_q, keeps_level=level.audit is not None)
        if crowd is not None and known is not None and _tells_level(usual.rows.others):
            level = replace(level, crowd=True)
            # Scores that hear other annotators cannot be compared with those of labels known to be wrong.
            score, _ = crowd(usual.rows, usual.score, log_q)
            known = replace(known, flag_share=known_wrong.precise_share(sigmoid(score)))
        return cls(norms, blend, known, level, transitions, line, feedback, crowd, remembered)

    def __call__(self, net: TMLCNet, rows: EvidenceChunk) -> tuple[Floats, Floats]:
        """Return the log-odds [n] that the given label is wrong, and the probability [n, C] of each candidate."""
        heard = self.heard.get(rows) or _posteriors(net, self.norms, self.blend, rows)
        scored, log_q = _scored(self.blend, rows, heard)
        if self.transitions is not None:
            scored = scored.moved(self.transitions(scored)).stretched(self.line)
        if self.feedback is not None:
            scored = scored.moved(self.feedback(scored))
        score = scored.score
        if self.crowd is not None:
            score, log_q = self.crowd(rows, score, log_q)
        right = -np.logaddexp(0.0, score)  # log of the posterior of the given label
        others = log_q[:, 1:-1] - np.logaddexp.reduce(log_q[:, 1:], axis=1)[:, None]
        return score, np.exp(np.concatenate([right[:, None], others + (right + score)[:, None]], axis=1))

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Arrays for a State."""
        arrays = self.norms.arrays()
        for effects in (self.transitions, self.feedback, self.crowd):
            arrays |= {} if effects is None else effects.arrays()
        return arrays

    def settings(self) -> dict[str, Any]:
        """Plain values for a State."""
        return {
            "voting": self.norms.voting,
            "epochs": self.norms.epochs,
            "blend": self.blend.to_dict(),
            "known_wrong": None if self.known is None else asdict(self.known),
            "line": list(self.line),
            "answers": 0 if self.feedback is None else int(self.feedback.answers[0]),
        } | self.level.settings()

    @classmethod
    def of(cls, arrays: dict[str, NDArray[Any]], settings: dict[str, Any]) -> Self:
        """Undo `arrays` and `settings`, for scoring."""
        norms = perception.Norms.from_arrays(arrays, tuple(settings["voting"]), settings["epochs"])
        known = KnownWrong(**settings["known_wrong"]) if settings["known_wrong"] else None
        blend, transitions = Blend.from_dict(settings["blend"]), Transitions.of(arrays)
        effects = transitions, tuple(settings.get("line", (0.0, 1.0))), Feedback.of(arrays), Crowd.of(arrays)
        return cls(norms, blend, known, Level.of(settings), *effects)


def _tells_level(others: CoAnswers | None) -> bool:
    """Say whether enough others answered about the same items to know the level by them."""
    if others is None or not len(others.own):
        return False
    heard = int((others.counts > 0).sum())
    return heard >= max(HEARD, MOSTLY * len(others.own)) and others.counts.mean() >= ANSWERS


def _levelled(
    net: TMLCNet, norms: perception.Norms, sample: EvidenceChunk, evidence: Evidence
) -> tuple[Blend, KnownWrong | None, Level]:
    """Fit the blend at the level that two estimates of the error rate agree on, where both can be made.

    The sample is of rows whose labels are in question.
    """
    left = sample.take(evenly(len(sample), BLENDED))
    withheld = _log_odds(net.posterior(left.as_unseen(), norms))
    weight = weight_of_whole(left, norms.voting)
    whole = _log_odds(net.posterior(left, norms)) if weight else None
    # Labels known to be wrong are drawn as heads err: a second learner would know them too readily.
    alone = replace(left, kernel=None)
    blend = Blend.fit(withheld, whole, alone, weight)
    known = known_wrong.compare(
        lambda rows: blend(_log_odds(net.posterior(rows, norms)), None, rows), alone, evidence.told.mended
    )
    level = Level(readers_differ=_readers_differ(left))
    if known is None or sample.probabilities is None:
        return blend, known, level
    gap = part(blend(withheld, None, alone.as_unseen()))
    views = confident_share(sample.probabilities, sample.labels, sample.trusted), known.share
    learnt = contradicted(left)
    learnt = None if learnt is None else gap.moved(learnt)
    level = replace(level, views=tuple(map(gap.moved, views)), audit=evidence.told.audit, contradicted=learnt)
    _, rate, _ = level.interval()
    blend = Blend.fit(withheld, whole, left, weight, rate, 1.0 + gap.depth, level.is_unswayed)
    return blend, known, level


def _posteriors(net: TMLCNet, norms: perception.Norms, blend: Blend, rows: EvidenceChunk) -> Posteriors:
    hears_both = blend.whole and rows.in_sample is not None
    return Posteriors(
        net.posterior(rows.as_unseen(), norms), net.posterior(rows, norms) if hears_both else None
    )


def _scored(blend: Blend, rows: EvidenceChunk, heard: Posteriors) -> tuple[Scored, Floats]:
    """Return rows as the blend scores them, and the log-posteriors [n, C + 1] of their candidates."""
    withheld, whole = heard
    if whole is None:
        score, log_q = blend(_log_odds(withheld), None, rows), withheld
    else:
        part = np.float32(blend.whole)
        score = blend(_log_odds(withheld), _log_odds(whole), rows)
        log_q = np.asarray(
            (1 - part) * np.maximum(withheld, LEAST) + part * np.maximum(whole, LEAST), np.float32
        )
    log_q = _told_by_both(log_q, rows)
    return Scored.of(rows, score, log_q), log_q


def _told_by_both(log_q: Floats, rows: EvidenceChunk) -> Floats:
    """Return log-posteriors [n, C + 1] in which the second learner has its say among the classes not given."""
    if rows.kernel is None or rows.candidates.shape[1] < 3:
        return log_q
    by_net = np.maximum(log_q[:, 1:-1], LEAST)
    others = NET * by_net + SECOND * np.log(np.maximum(rows.kernel[:, 1:], UNLIKELY))
    others += (np.logaddexp.reduce(by_net, axis=1) - np.logaddexp.reduce(others, axis=1))[:, None]
    return np.concatenate([log_q[:, :1], others, log_q[:, -1:]], axis=1)


def _readers_differ(rows: EvidenceChunk) -> float:
    """Return on which share of rows the class that most neighbours carry is not the heads' likeliest, out of fold."""
    if rows.votes is None or rows.out_of_fold is None:
        return 0.0
    heads = rows.out_of_fold.log_p[:, -1].argmax(axis=1)
    return float((rows.votes.argmax(axis=1) != heads).mean())


def _log_odds(log_q: Floats) -> Floats:
    """Of the given label being wrong [n], from log-posteriors [n, C + 1] of which it is the first."""
    return np.asarray(np.logaddexp.reduce(log_q[:, 1:], axis=1) - log_q[:, 0])
