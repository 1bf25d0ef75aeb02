"""The data flow of `labelfix bench`, readable in a minute.

manifest → features → (labels × seeds) → evidence → opinions of all methods → metrics against the truth → tables.
"""

from __future__ import annotations

import os
import platform
import shlex
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from labelfix.benchmarking import ceiling as oracle
from labelfix.benchmarking import markdown
from labelfix.benchmarking.downstream import accuracies
from labelfix.benchmarking.measuring import tabulate
from labelfix.benchmarking.opponents import Opinion, able, judge, opponents
from labelfix.benchmarking.results import CEILING, Results, Row
from labelfix.benchmarking.trials import DataSet, Noise, Trial, load, sniffed
from labelfix.correctors.interface import Corrector
from labelfix.errors import UsageError
from labelfix.intake import check_machine
from labelfix.learn.backbone import choose_device
from labelfix.learn.cache import default_cache
from labelfix.learn.recipe import Recipe
from labelfix.learn.replay import Replay
from labelfix.learn.targets import Targets
from labelfix.metatraining import Source
from labelfix.pipeline import VERSIONS
from labelfix.plugins import names
from labelfix.progress import Progress, Silent
from labelfix.readers.interface import Columns
from labelfix.readers.storage import leaf
from labelfix.rundir import output_error, writing
from labelfix.tmlc.net import load_net
from labelfix.trajectories import Ints


def bench(
    sources: Sequence[str],
    *,
    truth: str | None = None,
    labels: Sequence[str] = (),
    noises: Sequence[str] = (),
    seeds: int = 3,
    methods: Sequence[str] = (),
    features: str | None = None,
    pred_probs: str | None = None,
    columns: Columns | None = None,
    recipe: Recipe | None = None,
    cache: Path | None = None,
    weights: Path | None = None,
    with_ceiling: bool = True,
    ceiling_steps: int = oracle.STEPS,
    with_downstream: bool = True,
    out: Path = Path("labelfix-bench"),
    progress: Progress | None = None,
) -> Results:
    """Judge every label of every trial by every method, and write results.parquet and results.md to `out`.

    A trial is a manifest × a column of given `labels`, or a noise `family:rate` injected into the `truth` column,
    × a seed. Files are written after each trial. Raises LabelfixError.
    """
    recipe, progress, columns = recipe or Recipe(), progress or Silent(), columns or Columns()
    check_machine(recipe)
    injected = [Noise.parse(spec) for spec in noises]
    _check_probabilities(sources, labels, injected, pred_probs)
    correctors = opponents(methods, weights)
    if weights is not None:
        load_net(weights)  # says what is wrong with the file before hours of work
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise output_error(out, error) from error
    began, seconds, rows = time.perf_counter(), dict[str, float](), list[Row]()
    results = Results(
        (), next(iter(correctors)),
        _command(sources, truth, labels, noises, seeds, methods, features, pred_probs, weights, with_ceiling,
                 with_downstream),
        {name: version(name) for name in VERSIONS}, _host(recipe), seconds,
    )  # fmt: skip
    for source in sources:
        judged = list(labels) or ([] if injected else [sniffed(source, truth, columns)])
        data = load(
            source, truth, judged, columns, features, pred_probs, with_downstream, recipe,
            cache or default_cache(), progress,
        )  # fmt: skip
        total = (len(judged) + len(injected)) * seeds
        with progress.stage(f"{data.name}", total, "trials") as advance:
            for trial in _trials(data, judged, injected, seeds):
                rows += _run(
                    data, trial, correctors, methods, recipe,
                    with_downstream, ceiling_steps if with_ceiling else 0,
                )  # fmt: skip
                seconds |= {f"{data.name}, {stage}": spent for stage, spent in data.seconds.items()}
                seconds["in all"] = time.perf_counter() - began
                results = replace(results, rows=tuple(rows))
                _write(results, out)
                advance(1)
    return results


def _trials(data: DataSet, labels: Sequence[str], noises: Sequence[Noise], seeds: int) -> Iterator[Trial]:
    for column in labels:
        for seed in range(seeds):
            yield data.labelled(column, seed)
    for noise in noises:
        for seed in range(seeds):
            yield data.corrupted(noise, seed)


def _run(
    data: DataSet, trial: Trial, correctors: Mapping[str, Corrector], chosen: Sequence[str], recipe: Recipe,
    with_downstream: bool, ceiling_steps: int,
) -> list[Row]:  # fmt: skip
    """Run one trial: evidence once, then every method on it; the truth comes last."""
    began = time.perf_counter()
    evidence = data.evidence(trial, recipe, Silent())
    for _ in evidence.chunks():
        pass  # replayed once before the clock of the first method runs: small sets are then held
    spent = time.perf_counter() - began
    alone = trial.manifest(data.manifest)
    some = able(dict(correctors), evidence.present, chosen)
    opinions = [judge(name, corrector, evidence, alone) for name, corrector in some.items()]

    truth, classes = data.truth(trial.classes)
    if ceiling_steps:
        opinions.append(oracle.ceiling(evidence, alone, truth[trial.rows], trial.seed, ceiling_steps))
    held = np.flatnonzero(data.held & (truth >= 0))
    held = np.setdiff1d(held, list(data.view.unreadable))
    worth = dict[str, float]()
    if with_downstream and len(held):
        worth = _downstream(trial, evidence, opinions, truth, held, classes, recipe)
    shared = {
        "data": trial.data,
        "noise": trial.noise,
        "wanted_rate": trial.wanted,
        "seed": trial.seed,
        "rows": len(trial.rows),
        "classes": len(trial.classes),
        "held_out": len(held),
        "evidence_seconds": spent,
    }
    return tabulate(shared, opinions, trial.given, truth[trial.rows], worth)


def _downstream(
    trial: Trial, evidence: Replay, opinions: Sequence[Opinion], truth: Ints, held: NDArray[np.intp],
    classes: int, recipe: Recipe,
) -> dict[str, float]:  # fmt: skip
    """Train a probe on the given labels, on the truth, and on what each corrector makes of the labels."""
    assert evidence.features is not None  # nothing is held out of probabilities
    given = trial.given
    variants = {"given": Targets.hard(given), "truth": Targets.hard(truth[trial.rows])}
    for opinion in opinions:
        if opinion.method in names("correctors") or opinion.method == CEILING:
            name = opinion.method
            variants[f"{name}.pruned"] = Targets.hard(given, ~opinion.flagged)
            variants[f"{name}.fixed"] = Targets.hard(np.where(opinion.fix, opinion.suggested, given))
            variants[f"{name}.soft"] = Targets.soft(opinion.classes, opinion.p, 1.0 - opinion.p.sum(axis=1))
    recipe = replace(recipe, seed=trial.seed)
    return accuracies(evidence.features, trial.rows, variants, held, truth[held], classes, recipe)


def _check_probabilities(
    sources: Sequence[str], labels: Sequence[str], noises: Sequence[Noise], pred_probs: str | None
) -> None:
    """Raise UsageError where one array of probabilities cannot belong to all that is asked for."""
    if pred_probs is None:
        return
    if noises:
        raise UsageError(
            "--pred-probs were made from the given labels, so no --noise can be injected: a model would have to be "
            "trained on the noisy labels; give --features, or images"
        )
    if len(labels) > 1 or len(sources) > 1:
        raise UsageError(
            "--pred-probs were made from one column of labels of one manifest; run the command once for each --label"
        )


def _command(
    sources: Sequence[str], truth: str | None, labels: Sequence[str], noises: Sequence[str], seeds: int,
    methods: Sequence[str], features: str | None, pred_probs: str | None, weights: Path | None,
    with_ceiling: bool, with_downstream: bool,
) -> str:  # fmt: skip
    """Return the command line; files without directories."""
    words = ["labelfix", "bench"]
    for source in sources:
        file = Source.parse(source).file
        words.append(leaf(file) + source[len(file) :])
    words += ["--truth", truth] if truth else []
    for option, values in (("--label", labels), ("--noise", noises), ("--method", methods)):
        for value in values:
            words += [option, value]
    words += ["--seeds", str(seeds)]
    for option, file_or_column in (
        ("--features", features),
        ("--pred-probs", pred_probs),
        ("--weights", weights),
    ):
        words += [option, leaf(str(file_or_column))] if file_or_column is not None else []
    words += [] if with_ceiling else ["--no-ceiling"]
    words += [] if with_downstream else ["--no-downstream"]
    return shlex.join(words)


def _host(recipe: Recipe) -> str:
    return f"{platform.system()} {platform.machine()}, {os.cpu_count()} cores, {choose_device(recipe)}"


def _write(results: Results, out: Path) -> None:
    results.write_parquet(out / "results.parquet")
    with writing(out / "results.md") as temporary:
        temporary.write_text(markdown.render(results), encoding="utf-8")
