"""NNP, normalised noise perception: evidence → numbers that mean the same in every data set.

Li 2025, §3.2 names category- and global-normalised loss, prediction entropy and NLO; we read the last as the
normalised order of the loss. All statistics are fitted on the training rows once (`Norms`) and used unchanged for
unseen rows. Cost at K = 1,000: quantile grids K × 17 and three K × K tables a block, 24 MB in all.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelfix.evidence import EvidenceChunk
from labelfix.trajectories import Floats, Ints, Trajectories

STEPS = 8
"""Trajectories are resampled to this many steps of relative time, whatever E is."""
CHANNELS = 8
"""Of the sequence, a block: p, log p, margin, preferred; entropy, GNL, CNL, NLO."""
STATIC = 33
"""Summary numbers of a block."""
VOTES = 12
"""Of the neighbours: shares of their labels, what the data set makes of votes, shares that the heads believe."""
CONTEXT = 10
WIDTH = 2 * STATIC + VOTES + CONTEXT
SOME = 0.05
"""Share of votes about which their reliability says half of what it could."""
GRID = 17
MANY = 200.0
"""Rows a class beyond which more make no difference: sizes that source tasks never had must not be extrapolated."""
SHRINK = 10.0
"""Class statistics of n rows are mixed with the global ones as n : 10."""


@dataclass(frozen=True, eq=False)
class BlockNorms:
    """Statistics of one block over the fitted rows; K classes."""

    loss_grid: Floats
    """[STEPS, GRID] quantiles of the loss at each step, for its order (NLO)."""
    loss_centre: Floats
    """[STEPS, K + 1] median of the loss: of each class, shrunk; the last column is of all (CNL, GNL)."""
    loss_scale: Floats
    """[STEPS, K + 1] 1.4826 × median absolute deviation, likewise."""
    mean_loss: Floats
    """[K + 1, GRID] quantiles of the mean loss within the given class, shrunk; last row of all."""
    column: Floats
    """[K, GRID] quantiles of the mean probability of a class over all rows."""
    member: Floats
    """[K + 1, GRID] quantiles of the class's mean margin over the rows that carry it; last row of all."""
    confusion: Floats
    """[K, K] mean probability of a class over the rows of a given class: the soft confident joint."""
    preferred: Floats
    """[K, K] share of the rows of a given class whose likeliest class is another one."""
    convinced: Floats
    """[K, K] of those, the rows whose margin is at least the median of that other class's own rows: the confident
    joint (Northcutt et al. 2021, §3.1) with a margin for a threshold. Confusable classes are preferred often and
    with little conviction; classes whose labels are swapped, with much."""
    level: Floats
    """[8] of the data set: share of rows that prefer another class (on average, first, last epoch), mean probability
    of the preferred class, and four quantiles of the given class's mean margin."""


@dataclass(frozen=True, eq=False)
class Norms:
    """What perception learned from the training rows."""

    blocks: tuple[BlockNorms | None, BlockNorms | None]
    """In-sample, out-of-fold."""
    counts: Floats
    """[K] rows a class."""
    voting: tuple[float, float, float]
    """What the data set makes of votes, 0 without neighbours: the mean share of neighbours that agree with the given
    label; how far belief in a label goes with that share; and with the belief in those that agree. Where the last
    exceeds the second, errors come in groups of neighbours."""
    epochs: int
    """E."""

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Flatten for a State."""
        out: dict[str, NDArray[Any]] = {"counts": self.counts}
        for name, block in zip(("in_sample", "out_of_fold"), self.blocks, strict=True):
            if block is not None:
                out |= {f"{name}.{f.name}": getattr(block, f.name) for f in fields(BlockNorms)}
        return out

    @classmethod
    def from_arrays(
        cls, arrays: dict[str, NDArray[Any]], voting: tuple[float, float, float], epochs: int
    ) -> Norms:
        """Undo `arrays`."""

        def block(name: str) -> BlockNorms | None:
            if f"{name}.column" not in arrays:
                return None
            return BlockNorms(**{f.name: arrays[f"{name}.{f.name}"] for f in fields(BlockNorms)})

        return cls((block("in_sample"), block("out_of_fold")), arrays["counts"], voting, epochs)


def fit(sample: EvidenceChunk, counts: Floats, epochs: int) -> Norms:
    """Fit on a sample of the training rows; `counts` [K] are of all of them."""
    blocks = tuple(_fit_block(block, sample) if block is not None else None for block in sample.blocks)
    return Norms(blocks, counts.astype(np.float32), _voting(sample), epochs)  # type: ignore[arg-type]  # a pair


def _voting(sample: EvidenceChunk) -> tuple[float, float, float]:
    if sample.votes is None or sample.reliable_votes is None:
        return 0.0, 0.0, 0.0
    agreeing, belief = sample.votes[:, 0], sample.belief
    believed = sample.reliable_votes[:, 0] / (agreeing + SOME)
    return (
        float(agreeing.mean()),
        _correlation(belief, agreeing, np.ones_like(agreeing)),
        _correlation(belief, believed, agreeing),
    )


def _correlation(one: Floats, other: Floats, weight: Floats) -> float:
    total = max(float(weight.sum(dtype=np.float64)), 1e-9)
    one, other = (values - (weight * values).sum() / total for values in (one, other))
    square = (weight * one**2).sum() * (weight * other**2).sum()
    return float((weight * one * other).sum() / np.sqrt(max(square, 1e-12)))


def _fit_block(block: Trajectories, sample: EvidenceChunk) -> BlockNorms:
    K, labels, candidates = sample.classes, sample.labels, sample.candidates
    quantiles = np.linspace(0, 1, GRID)
    loss = resample(block.loss)  # [n, STEPS]
    mean_loss, p, margin = (
        block.loss.mean(axis=1),
        np.exp(block.log_p).mean(axis=1),
        block.margin.mean(axis=1),
    )
    members = [np.flatnonzero(labels == k) for k in range(K)]

    centre, scale = np.empty((STEPS, K + 1), np.float32), np.empty((STEPS, K + 1), np.float32)
    centre[:, K] = np.median(loss, axis=0)
    scale[:, K] = 1.4826 * np.median(np.abs(loss - centre[:, K]), axis=0) + 1e-3
    mean_grid, member_grid = np.empty((K + 1, GRID), np.float32), np.empty((K + 1, GRID), np.float32)
    mean_grid[K], member_grid[K] = np.quantile(mean_loss, quantiles), np.quantile(margin[:, 0], quantiles)
    for k, rows in enumerate(members):
        own = len(rows) / (len(rows) + SHRINK)
        centre[:, k], scale[:, k] = centre[:, K], scale[:, K]
        mean_grid[k], member_grid[k] = mean_grid[K], member_grid[K]
        if len(rows) == 0:
            continue
        median = np.median(loss[rows], axis=0)
        spread = 1.4826 * np.median(np.abs(loss[rows] - median), axis=0) + 1e-3
        centre[:, k] += own * (median - centre[:, K])
        scale[:, k] += own * (spread - scale[:, K])
        mean_grid[k] += own * (np.quantile(mean_loss[rows], quantiles) - mean_grid[K])
        member_grid[k] += own * (np.quantile(margin[rows, 0], quantiles) - member_grid[K])

    # A class that is no candidate of a row has next to no probability there.
    dense = np.zeros((len(labels), K), np.float32) if K * len(labels) <= 4_000_000 else None
    column = np.empty((K, GRID), np.float32)
    if dense is not None:
        np.put_along_axis(dense, candidates.astype(np.intp), p, axis=1)
        column[:] = np.quantile(dense, quantiles, axis=0).T
    else:
        flat, value = candidates.ravel(), p.ravel()
        order = np.lexsort((value, flat))
        starts = np.searchsorted(flat[order], np.arange(K + 1))
        for k in range(K):
            listed = value[order[starts[k] : starts[k + 1]]]
            padded = np.zeros(len(labels), np.float32)
            padded[len(labels) - len(listed) :] = listed
            column[k] = padded[np.round(quantiles * (len(labels) - 1)).astype(int)]
    confusion = np.zeros((K, K), np.float32)
    np.add.at(confusion, (labels[:, None], candidates), p)
    prior = confusion.sum(axis=0) / max(len(labels), 1)
    counts = np.array([len(rows) for rows in members], np.float32)[:, None]
    confusion = (confusion + SHRINK / 5 * prior) / (counts + SHRINK / 5)
    prefers = margin > 0
    convinced = prefers & (margin >= member_grid[candidates, GRID // 2])
    preferred = _pair_shares(prefers, labels, candidates, counts)
    convinced_share = _pair_shares(convinced, labels, candidates, counts)
    wrong = [(m < 0).mean() for m in (margin[:, 0], block.margin[:, 0, 0], block.margin[:, -1, 0])]
    low = np.clip(member_grid[K, [1, 2, 4, 8]], -10, 10) / 5
    level = np.array([*wrong, p.max(axis=1).mean(), *low], np.float32)
    loss_order: Floats = np.quantile(loss, quantiles, axis=0).T.astype(np.float32)
    return BlockNorms(
        loss_order,
        centre,
        scale,
        mean_grid,
        column,
        member_grid,
        confusion,
        preferred,
        convinced_share,
        level,
    )


def _pair_shares(held: NDArray[np.bool_], labels: Ints, candidates: Ints, counts: Floats) -> Floats:
    """Return the share [K, K] of rows of a given class for which something holds [n, C] of another; shrunk."""
    K = len(counts)
    shares = np.zeros((K, K), np.float32)
    np.add.at(shares, (labels[:, None], candidates), held.astype(np.float32))
    usual = held[:, 1:].sum() / max(K * len(labels), 1)
    shares += np.float32(SHRINK / 5 * usual)
    shares /= counts + np.float32(SHRINK / 5)
    return shares


def resample(values: Floats, steps: int = STEPS) -> Floats:
    """[n, E, …] → [n, steps, …] by linear interpolation over relative time; E = 1 is repeated."""
    epochs = values.shape[1]
    position = np.linspace(0, epochs - 1, steps)
    low = np.floor(position).astype(np.intp)
    high = np.minimum(low + 1, epochs - 1)
    share = (position - low).astype(np.float32).reshape(1, steps, *([1] * (values.ndim - 2)))
    return values[:, low] * (1 - share) + values[:, high] * share


def percentile(values: Floats, grid: Floats) -> Floats:
    """Position of each value in its own grid of quantiles, in [0, 1]: [...] and [..., GRID] → [...]."""
    above = (values[..., None] >= grid).sum(axis=-1)
    low = np.clip(above - 1, 0, GRID - 2)
    left = np.take_along_axis(grid, low[..., None], axis=-1)[..., 0]
    right = np.take_along_axis(grid, low[..., None] + 1, axis=-1)[..., 0]
    inside = np.clip((values - left) / np.maximum(right - left, 1e-6), 0.0, 1.0)
    return np.where(above == 0, 0.0, (low + inside) / (GRID - 1)).astype(np.float32)


def perceive(rows: EvidenceChunk, norms: Norms) -> tuple[Floats, Floats]:
    """Return the sequence [n, C, STEPS, 2 × CHANNELS] and the summary [n, C, WIDTH]; missing blocks are 0."""
    n, C = rows.candidates.shape
    sequence = np.zeros((n, C, STEPS, 2 * CHANNELS), np.float32)
    static = np.zeros((n, C, WIDTH), np.float32)
    present = [False, False]
    for b, (block, norm) in enumerate(zip(rows.blocks, norms.blocks, strict=True)):
        if block is None or norm is None:
            continue
        present[b] = True
        _sequence(block, rows.labels, norm, sequence[..., b * CHANNELS : (b + 1) * CHANNELS])
        _summary(block, rows, norm, static[..., b * STATIC : (b + 1) * STATIC])
    start = 2 * STATIC
    if rows.votes is not None:
        best_other = rows.votes[:, 1:].max(axis=1, initial=0.0)
        static[..., start] = rows.votes
        static[..., start + 1] = rows.votes[:, :1]
        static[..., start + 2] = best_other[:, None]
        static[..., start + 3 : start + 6] = norms.voting
    if rows.votes is not None and rows.reliable_votes is not None:
        believed = rows.reliable_votes / (rows.votes + SOME)  # of those who say so, how reliable they are
        static[..., start + 6] = rows.reliable_votes
        static[..., start + 7] = rows.reliable_votes[:, :1]
        static[..., start + 8] = rows.reliable_votes[:, 1:].max(axis=1, initial=0.0)[:, None]
        static[..., start + 9] = rows.reliable_votes.sum(axis=1)[:, None]
        static[..., start + 10] = believed
        static[..., start + 11] = believed[:, :1]
    start += VOTES
    K, total = rows.classes, norms.counts.sum()
    counts = norms.counts[rows.candidates]
    static[:, 0, start] = 1.0  # this candidate is the given label
    static[..., start + 1] = np.log(K) / 7
    static[..., start + 2] = np.log1p(np.minimum(counts, MANY)) / 6
    static[..., start + 3] = np.log1p(np.minimum(counts[:, :1], MANY)) / 6
    static[..., start + 4] = np.log((counts + 1) * K / (total + K)) / 3
    static[..., start + 5] = np.log1p(min(total, 10 * MANY)) / 8
    static[..., start + 6] = present[0]
    static[..., start + 7] = present[1]
    static[..., start + 8] = rows.votes is not None
    static[..., start + 9] = norms.epochs > 1
    return sequence, static


def has_both_blocks(static: NDArray[Any]) -> bool:
    """Say whether summaries [n, C, WIDTH] hold both blocks."""
    context = 2 * STATIC + VOTES
    return bool(static[0, 0, context + 6] * static[0, 0, context + 7])


def forget(sequence: Any, static: Any, kinds: set[str]) -> None:
    """Blank kinds of evidence in place, as if never there: of {"in_sample", "out_of_fold", "votes"}.

    Takes arrays or tensors; the practice that makes the net tolerate missing evidence.
    """
    context = 2 * STATIC + VOTES
    for b, name in enumerate(("in_sample", "out_of_fold")):
        if name in kinds:
            sequence[..., b * CHANNELS : (b + 1) * CHANNELS] = 0.0
            static[..., b * STATIC : (b + 1) * STATIC] = 0.0
            static[..., context + 6 + b] = 0.0
    if "votes" in kinds:
        static[..., 2 * STATIC : context] = 0.0
        static[..., context + 8] = 0.0


def _sequence(block: Trajectories, labels: Ints, norm: BlockNorms, out: Floats) -> None:
    log_p, margin = (
        resample(block.log_p).transpose(0, 2, 1),
        resample(block.margin).transpose(0, 2, 1),
    )  # [n, C, STEPS]
    loss = -log_p[:, 0]  # [n, STEPS]
    K = norm.loss_centre.shape[1] - 1
    general = (loss - norm.loss_centre[:, K]) / norm.loss_scale[:, K]
    category = (loss - norm.loss_centre[:, labels].T) / norm.loss_scale[:, labels].T
    order = percentile(loss, np.broadcast_to(norm.loss_grid, (len(loss), *norm.loss_grid.shape)))
    of_row = (
        resample(block.entropy),
        general.clip(-5, 5) / 5,
        category.clip(-5, 5) / 5,
        order,
    )  # [n, STEPS] each
    of_class = np.exp(log_p), log_p / 10, margin.clip(-10, 10) / 5, margin > 0
    for channel, values in enumerate((*of_class, *(v[:, None] for v in of_row))):
        out[..., channel] = values


def _summary(block: Trajectories, rows: EvidenceChunk, norm: BlockNorms, out: Floats) -> None:
    labels, candidates = rows.labels, rows.candidates
    n, C = candidates.shape
    K = rows.classes
    p, margin = np.exp(block.log_p), block.margin.clip(-10, 10) / 5  # [n, E, C]
    bins = resample(margin.astype(np.float32), 4)
    mean_loss, mean_p, mean_margin = block.loss.mean(axis=1), p.mean(axis=1), block.margin.mean(axis=1)
    given = np.zeros((1, C), np.float32)
    given[0, 0] = 1.0
    globally = percentile(mean_loss, np.broadcast_to(norm.mean_loss[K], (n, GRID)))[:, None]
    in_class = percentile(mean_loss, norm.mean_loss[labels])[:, None]
    entropy = block.entropy
    columns = [
        bins[:, 0], bins[:, 1], bins[:, 2], bins[:, 3],
        margin.std(axis=1), margin[:, -1] - margin[:, 0], (margin > 0).mean(axis=1),
        mean_p, p[:, -1], block.log_p.mean(axis=1) / 10,
        entropy.mean(axis=1)[:, None], entropy[:, -1][:, None],
        globally * given, globally * (1 - given), in_class * given, in_class * (1 - given),
        percentile(mean_p, norm.column[candidates]), percentile(mean_margin, norm.member[candidates]),
        norm.confusion[labels[:, None], candidates], norm.confusion[candidates, labels[:, None]],
        norm.confusion[labels, labels][:, None], norm.confusion[candidates, candidates],
        np.sqrt(norm.convinced[labels[:, None], candidates]), np.sqrt(norm.convinced[candidates, labels[:, None]]),
        norm.convinced[labels[:, None], candidates] / norm.preferred[labels[:, None], candidates].clip(1e-4),
        *norm.level,
    ]  # fmt: skip
    for number, values in enumerate(columns):
        out[..., number] = values
