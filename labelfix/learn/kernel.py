"""Kernel ridge regression on frozen features, out of fold: a second learner, which sees what no linear head can.

Gaussian kernel on the leading principal components of standardised features, as wide as two rows are usually apart, by
the Nyström method on m evenly spaced landmarks (Williams & Seeger 2001); targets are the given classes as 0 or 1
(Rifkin & Klautau 2004). Every row is judged by the regression that saw no row of its fold. The moments of a fold are
taken out of the sum of all, so that all regressions together cost one pass. How far they are shrunk is chosen by their
squared error on given labels, out of fold.

Work for n rows of width d, c components, K classes and F folds: n × (d × c + m × (c + m + K)) multiply-adds to fit, of
at most `TAUGHT` rows, and m² × (m / 3 + 3 K) for each fold and, of as many folds as hold `ASKED` rows, each penalty
tried; n × (d × c + m × (c + K)) to score. Memory: F × m × (m + 8 K) floats. What is kept takes m × (c / 2 + F·K) +
d × c floats: 3 MB for 10 classes, 62 MB for 1,000.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelfix.arrayfile import load_arrays, save_arrays
from labelfix.learn.spacing import evenly
from labelfix.progress import Progress
from labelfix.trajectories import Floats, Ints

if TYPE_CHECKING:
    from labelfix.learn.features import Features
    from labelfix.learn.probe import Heads

LANDMARKS, OF_ROOT, MOST_LANDMARKS = 2_000, 13.5, 3_000
"""Of few rows; of many, so many times the square root of their number, and no more than `MOST_LANDMARKS`."""
TAUGHT = 65_536
"""Rows that are learnt from; of more, as many, evenly spaced."""
COMPONENTS, SAMPLED = 256, 8_192
"""Principal components, and rows, evenly spaced, that they are found in."""
SHRINKAGE = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2)
"""Ridge penalties to choose from, for each row learnt from: the first whose successor errs more."""
ASKED = 16_384
"""Rows, at least, whose error chooses the penalty: the first folds that hold as many, or all."""
JITTER = 1e-4
"""Added to the kernel of a landmark with itself, which is 1."""
PIECE = 2_048
"""Rows at a time."""
HELD = ("landmarks", "weight", "bias", "mean", "directions")
"""Arrays in the file of a kernel regression."""

Numbers = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Kernel:
    """Regressions by fold: the one of fold f saw no row of it."""

    landmarks: NDArray[np.float16]
    """[m, c] rows as `seen` by the kernel."""
    weight: Floats
    """[F, m, K]"""
    bias: Floats
    """[F, K] share of each class."""
    mean: Floats
    """[d] of the features."""
    directions: Floats
    """[d, c] from centred features to components."""
    fitted_on: str
    """Digest and count of the training rows."""

    def scores(self, features: Floats, fold: int, candidates: Ints) -> Floats:
        """Return what the regression that saw no row of the fold expects of candidate classes [n, C], about 0 … 1."""
        landmarks, out = self.landmarks.astype(np.float32), np.empty(candidates.shape, np.float32)
        for start in range(0, len(features), PIECE):
            at = slice(start, start + PIECE)
            near = similarity(seen(features[at], self.mean, self.directions), landmarks)
            expected = near @ self.weight[fold] + self.bias[fold]
            out[at] = np.take_along_axis(expected, candidates[at], axis=1)
        return out

    def save(self, path: Path) -> None:
        """Write one safetensors file."""
        save_arrays(path, {name: getattr(self, name) for name in HELD}, {"fitted_on": self.fitted_on})

    @classmethod
    def load(cls, path: Path) -> Kernel:
        """Read what `save` wrote; raises InputError when the file is damaged."""
        arrays, header = load_arrays(path, "kernel regression", HELD)
        return cls(**arrays, fitted_on=header["fitted_on"])


class _Moments(NamedTuple):
    """Sums over rows whose kernels were whitened by the landmarks."""

    gram: NDArray[np.floating[Any]]
    """[m, m]"""
    by_class: Numbers
    """[m, K]"""
    rows: Numbers
    """[K] of each class."""

    def without(self, other: _Moments) -> _Moments:
        """Return the sums over the rows that are not among the others."""
        return _Moments(*(all_ - some for all_, some in zip(self, other, strict=True)))

    def centred(self, share: Numbers) -> Numbers:
        """Return `by_class` had each target been less by its class's share [K]."""
        return self.by_class - np.outer(self.by_class.sum(axis=1), share)


def fit(
    features: Features, rows: NDArray[np.intp], labels: Ints, folds: Ints, heads: Heads, progress: Progress
) -> Kernel:
    """Fit on feature rows [n], labels [n] and folds [n], all in canonical order, standardised as for `heads`."""
    from scipy.linalg import solve_triangular
    from scipy.linalg.blas import strsm

    directions = _principal(features.single(rows[evenly(len(rows), SAMPLED)]), heads)

    def components(at: NDArray[np.intp]) -> Floats:
        return seen(features.single(rows[at]), heads.mean, directions)

    def whiten(values: Floats) -> Floats:
        return np.asarray(strsm(1.0, root, values, lower=True, overwrite_b=True))

    m = int(np.clip(OF_ROOT * np.sqrt(len(rows)), LANDMARKS, MOST_LANDMARKS))
    landmarks = components(evenly(len(rows), m)).clip(-6e4, 6e4).astype(np.float16)
    near = landmarks.astype(np.float32)
    exact = landmarks.astype(np.float64)  # in single precision equal outliers may be more than alike
    within = similarity(exact, exact)
    within[np.diag_indices(len(within))] += JITTER
    root = np.asfortranarray(np.linalg.cholesky(within), np.float32)
    taught = evenly(len(rows), TAUGHT)
    moments = []
    with progress.stage("second learner", len(taught), "rows") as advance:
        for fold in range(heads.folds):
            members = taught[folds[taught] == fold]
            pieces = (members[start : start + PIECE] for start in range(0, len(members), PIECE))
            whitened = ((labels[at], whiten(similarity(components(at), near).T)) for at in pieces)
            moments.append(_summed(whitened, len(near), heads.classes))
            advance(len(members))
        weight, bias = _least_squares(moments)
    unwhitened = [
        solve_triangular(root, each, lower=True, trans="T", check_finite=False).astype(np.float32)
        for each in weight
    ]
    return Kernel(landmarks, np.stack(unwhitened), np.stack(bias), heads.mean, directions, heads.fitted_on)


def _principal(some: Floats, heads: Heads) -> Floats:
    """Return directions [d, c]; in all d of them two of the rows [s, d] are √(2 c) apart, root mean square."""
    from scipy.linalg import eigh

    standardised = (some - heads.mean) / heads.scale
    d = standardised.shape[1]
    c = min(d, COMPONENTS)
    scatter = standardised.T @ standardised
    _, found = eigh(scatter, subset_by_index=(d - c, d - 1), driver="evx", check_finite=False)
    squared = float(np.trace(scatter)) / len(some)
    return np.ascontiguousarray(found * np.sqrt(c / max(squared, 1e-9)) / heads.scale[:, None], np.float32)


def seen(features: Floats, mean: Floats, directions: Floats) -> Floats:
    """Return the components [n, c] of features [n, d]."""
    return np.asarray((features - mean) @ directions)


def similarity(one: NDArray[Any], other: NDArray[Any]) -> NDArray[Any]:
    """Return the kernel [n, m] of components [n, c] and [m, c], in their precision: 1 where they are equal.

    The square of its width is the mean squared distance of two rows, 2 c.
    """
    distance = one @ other.T
    distance *= -2.0
    distance += np.einsum("nd,nd->n", one, one)[:, None]
    distance += np.einsum("md,md->m", other, other)
    np.maximum(distance, 0.0, out=distance)
    distance *= -1.0 / (4.0 * one.shape[1])
    return np.asarray(np.exp(distance, out=distance))


def _summed(pieces: Iterable[tuple[Ints, Floats]], m: int, K: int) -> _Moments:
    """Sum up pieces of labels [b] and whitened kernels [m, b]."""
    from scipy.linalg.blas import ssyrk

    gram = np.zeros((m, m), np.float32, order="F")
    by_class, rows = np.zeros((m, K)), np.zeros(K)
    for labels, z in pieces:
        gram = ssyrk(1.0, z, beta=1.0, c=gram, lower=True, overwrite_c=True)
        given = np.zeros((len(labels), K), np.float32)
        given[np.arange(len(labels)), labels] = 1.0
        by_class += z @ given
        rows += given.sum(axis=0)
    diagonal = gram.diagonal().copy()
    gram = gram + gram.T  # above the diagonal were zeros
    gram[np.diag_indices(m)] = diagonal
    return _Moments(gram, by_class, rows)


def _least_squares(moments: Sequence[_Moments]) -> tuple[list[Numbers], list[Floats]]:
    """Return whitened weights [m, K] and class shares [K] of the regression without each fold."""
    from scipy.linalg import cho_factor, cho_solve

    m, K = moments[0].by_class.shape
    total = _Moments(np.zeros((m, m)), np.zeros((m, K)), np.zeros(K))
    for own in moments:
        for whole, part in zip(total, own, strict=True):
            np.add(whole, part, out=whole)
    shares = [(total.rows - own.rows) / max((total.rows - own.rows).sum(), 1.0) for own in moments]

    def without(fold: int, shrinkage: float) -> Numbers:
        rest = total.without(moments[fold])
        rest.gram[np.diag_indices(m)] += shrinkage * max(rest.rows.sum(), 1.0)
        factor = cho_factor(rest.gram, lower=True, overwrite_a=True, check_finite=False)
        return np.asarray(cho_solve(factor, rest.centred(shares[fold]), check_finite=False))

    def error(fold: int, weight: Numbers) -> float:
        own = moments[fold]
        return float((weight * (own.gram @ weight - 2.0 * own.centred(shares[fold]))).sum())

    so_far = np.cumsum([own.rows.sum() for own in moments])
    asked = min(int(np.searchsorted(so_far, ASKED)) + 1, len(moments))
    best: list[Numbers] = []
    least, chosen = np.inf, SHRINKAGE[0]
    for shrinkage in SHRINKAGE:
        weights = [without(fold, shrinkage) for fold in range(asked)]
        errors = sum(map(error, range(asked), weights))
        if errors >= least:
            break
        best, least, chosen = weights, errors, shrinkage
    best += [without(fold, chosen) for fold in range(asked, len(moments))]
    return best, [share.astype(np.float32) for share in shares]
