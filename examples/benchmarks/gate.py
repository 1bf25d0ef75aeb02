"""How often a gate fails batches that are as good as the reference, and how often it catches worse ones.

    python examples/benchmarks/gate.py cifar10n.parquet:label_clean --label label_aggre --noise symmetric:0.1

Half of a set's rows are scanned and become the reference; the others, which no head has seen, are scored by it. From
these, batches are drawn whose share of wrong labels is the reference's, and that plus 5 and plus 8 points. Every gate
is asked the same: is the batch's error rate more than 3 points above the reference's?
"""

from __future__ import annotations

import argparse
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sklearn.isotonic import IsotonicRegression

import labelfix
from labelfix import meeting
from labelfix.benchmarking.trials import DataSet, Noise, load
from labelfix.findings import Findings
from labelfix.gating.finished import doubt_of
from labelfix.gating.judged import Compared, Judged, Usual
from labelfix.gating.judging import judge
from labelfix.gating.rates import ALL
from labelfix.learn.cache import default_cache
from labelfix.learn.noise import FAMILIES
from labelfix.learn.recipe import Recipe
from labelfix.manifest import Manifest
from labelfix.progress import Silent
from labelfix.readers.interface import Columns
from labelfix.reference import Reference
from labelfix.tmlc.calibrate import Doubt

ABOVE = (0.0, 0.05, 0.08)
"""Shares of wrong labels of the batches, above the reference's."""
LIMIT = 0.03
OFF = {
    name: "off"
    for name in labelfix.Policy.__dataclass_fields__
    if name.endswith(("rate", "drift", "overlap"))
}
POLICY = labelfix.Policy(error_rate_above_reference=LIMIT, levels=OFF, min_model_quality=0.0)  # type: ignore[arg-type]

Wrong = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Split:
    """One reference, and rows that it never saw."""

    usual: Usual
    """What the gate knows of the reference."""
    true: Usual
    """The same with true posteriors: the share of wrong labels among all rows with such a score."""
    posterior: NDArray[np.float32]
    """[n] true posteriors of the unseen rows."""
    flags: float
    """Share of the reference's rows that cleanlab flags."""
    rate: float
    """Of the reference's wrong labels."""
    judged: Judged
    """All unseen rows."""
    wrong: Wrong
    """[n] which of them are."""
    fresh: Wrong
    """[n] the reference has no copy of them, so that they may be drawn."""


def main() -> None:
    """Print one row for each column of labels or noise, and level of badness."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("manifest")
    parser.add_argument("--label", action="append", default=[])
    parser.add_argument("--noise", action="append", default=[])
    parser.add_argument("--rows", type=int, default=1000)
    parser.add_argument("--batches", type=int, default=200)
    parser.add_argument("--splits", type=int, default=4)
    parser.add_argument("--cache", type=Path, default=default_cache())
    given = parser.parse_args()
    data = load(
        given.manifest, None, given.label, Columns(), None, None, False, Recipe(), given.cache, Silent()
    )
    print(
        "| labels (wrong) | quality | above | gate | true posteriors | raw mean | cleanlab's flags |\n"
        + "|---" * 7
        + "|"
    )
    for column in [*given.label, *given.noise]:
        found: dict[float, list[tuple[float, ...]]] = {above: [] for above in ABOVE}
        qualities, rates = [], []
        for seed in range(given.splits):
            split = make(data, column, seed)
            rates.append(split.rate)
            for above in ABOVE:
                for batch in draw(split, above, given.rows, given.batches // given.splits, seed):
                    found[above].append(ask(split, batch))
            qualities.append(quality(split))
        for above, answers in found.items():
            shares = " | ".join(f"{share:.3f}" for share in np.mean(answers, axis=0))
            name = f"{column} ({np.mean(rates):.1%})" if above == 0 else ""
            told = f"{np.mean(qualities):.2f}" if above == 0 else ""
            print(f"| {name} | {told} | +{100 * above:g} | {shares} |", flush=True)


def make(data: DataSet, column: str, seed: int) -> Split:
    """Scan half of the rows, and score the other half by what that leaves behind."""
    manifest, truth = labels_of(data, column, seed)
    rng = np.random.default_rng([seed, 77])
    rows = rng.permutation(np.flatnonzero((manifest.labels >= 0) & (truth >= 0)))
    half, rest = np.sort(rows[: len(rows) // 2]), np.sort(rows[len(rows) // 2 :])
    assert data.view.features is not None
    with tempfile.TemporaryDirectory(prefix="labelfix-") as scratch:
        for name, some in (("half", half), ("rest", rest)):
            np.save(f"{scratch}/{name}.npy", data.view.features.take(some))
        findings = labelfix.scan(
            some_of(manifest, half), Recipe(seed=seed), features=f"{scratch}/half.npy", out=f"{scratch}/run"
        )
        reference = Reference.load(Path(scratch) / "run")
        judged, lost = score(some_of(manifest, rest), reference, f"{scratch}/rest.npy")
    wrong = (manifest.labels != truth)[rest]
    usual = reference.behaviour
    place = {name: at for at, name in enumerate(findings.column("id"))}
    of_half = np.array([place[name] for name in reference.ids[usual.rows]], np.intp)
    known = (manifest.labels != truth)[half]
    flags = float(findings.column("cleanlab.is_issue").mean())
    curve = IsotonicRegression(y_min=1e-4, y_max=1 - 1e-4, out_of_bounds="clip")
    curve.fit(np.r_[usual.suspicion, judged.suspicion[~lost]], np.r_[known[of_half], wrong[~lost]])
    exact = curve.predict(usual.suspicion).astype(np.float32)
    true = replace(judged.usual, suspicion=exact, doubt=Doubt(0.0, 0.0), seen=ALL)
    posterior = curve.predict(judged.suspicion).astype(np.float32)
    return Split(judged.usual, true, posterior, flags, float(known.mean()), judged, wrong, ~lost)


def labels_of(data: DataSet, column: str, seed: int) -> tuple[Manifest, NDArray[np.int32]]:
    """Return a manifest with the given labels of a column or of injected noise, and the truth [N]."""
    if ":" not in column:
        manifest = data.given[column]
        return manifest, data.truth(manifest.classes)[0]
    noise, truth = Noise.parse(column), data.manifest.labels
    assert data.view.features is not None
    x = data.view.features.take(np.arange(len(truth))).astype(np.float32)
    rng = np.random.default_rng([seed, 5])
    given = FAMILIES[noise.family](x, truth, len(data.manifest.classes), noise.rate, rng)
    return replace(data.manifest, labels=given.astype(np.int32)), truth


def some_of(manifest: Manifest, rows: NDArray[np.intp]) -> Manifest:
    """Return some rows, without images."""
    return Manifest(manifest.ids[rows], manifest.labels[rows], manifest.classes, None, source="rows")


def score(batch: Manifest, reference: Reference, features: str) -> tuple[Judged, Wrong]:
    """Score rows that the reference never saw, as the gate does; rows that it has copies of are marked as lost."""
    recipe = meeting.recipe_of(reference, "auto", None)
    view = meeting.view_of(batch, reference, features, None, recipe, Path(), Silent())
    rows, facts = meeting.select(batch, view, len(reference.classes))
    evidence, met = meeting.evidence_of(batch, view, reference, rows, facts)
    assert met is not None
    lost = (met.copy_of >= 0) | (facts.status != "scored")
    found = meeting.score_batch(batch, evidence, facts, reference, recipe, Silent())
    usual = reference.behaviour
    doubt = doubt_of(usual.suspicion, next(iter(reference.states.values())))
    N = len(batch)
    empty = np.full(N, "", object)
    compared = Compared(
        reference.source,
        reference.classes,
        np.zeros(len(reference.classes)),
        len(usual.rows),
        empty,
        empty,
        {},
    )
    known = Usual(usual.suspicion, 0, doubt)
    return Judged(found, "batch", known, np.zeros(N, bool), view.keys, compared), lost


def draw(split: Split, above: float, rows: int, batches: int, seed: int) -> Iterator[NDArray[np.intp]]:
    """Yield positions of batches with exactly the wanted share of wrong labels; repeated only where rows run out."""
    rng = np.random.default_rng([seed, round(1000 * above)])
    count = round((split.rate + above) * rows)
    bad, good = np.flatnonzero(split.wrong & split.fresh), np.flatnonzero(~split.wrong & split.fresh)
    for _ in range(batches):
        yield np.concatenate([
            rng.choice(bad, count, replace=count > len(bad)),
            rng.choice(good, rows - count, replace=rows - count > len(good)),
        ])  # fmt: skip


def ask(split: Split, rows: NDArray[np.intp]) -> tuple[bool, ...]:
    """Say whether each gate fails a batch."""
    suspicion = split.judged.suspicion[rows].astype(np.float32)
    usual, flags = split.usual, split.judged.findings.column("cleanlab.is_issue")[rows].mean()
    return (
        fails(split, rows, suspicion, usual),
        fails(split, rows, split.posterior[rows], split.true),
        bool(suspicion.mean() - usual.suspicion.mean() > LIMIT),
        bool(flags - split.flags > LIMIT),
    )


def fails(split: Split, rows: NDArray[np.intp], suspicion: NDArray[np.float32], usual: Usual) -> bool:
    """Let the gate itself judge rows with these suspicions."""
    table: Any = split.judged.findings.table.take(pa.array(rows))
    table = table.set_column(table.column_names.index("suspicion"), "suspicion", pa.array(suspicion))
    assert split.judged.compared is not None
    empty = np.full(len(rows), "", object)
    judged = Judged(
        Findings(table, split.judged.findings.meta), "batch", usual, np.zeros(len(rows), bool),
        split.judged.content[rows], replace(split.judged.compared, copy_of=empty, copy_label=empty),
    )  # fmt: skip
    return judge(judged, POLICY).outcome == "fail"


def quality(split: Split) -> float:
    """Return what a score says about the error rate, as a share of what the truth would say."""
    from labelfix.gating.rates import Scale, binned

    rows = split.usual.suspicion
    return Scale.fit(binned(rows, np.zeros(len(rows), np.intp), 1)[0], 0, split.usual.doubt).quality


if __name__ == "__main__":
    main()
