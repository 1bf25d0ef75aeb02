"""The gate's data flow: a batch meets a reference, or a finished scan is taken as it is; then a verdict.

reference + batch → features → the reference's heads and neighbours → its states → findings → checks → verdict.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from labelfix.errors import InconclusiveError, InputError, UsageError
from labelfix.evidence import in_question
from labelfix.gating.baseline import Baseline
from labelfix.gating.finished import as_judged, doubt_of, is_run
from labelfix.gating.judged import SEEN_BY_CROWD, Compared, Judged, Usual
from labelfix.gating.judging import findings as findings_of
from labelfix.gating.judging import judge
from labelfix.gating.lines import lines_of
from labelfix.gating.policy import Policy
from labelfix.gating.rates import AS_SAID, Audited
from labelfix.gating.verdict import Verdict
from labelfix.manifest import Manifest
from labelfix.progress import Progress, Silent
from labelfix.readers.interface import Columns
from labelfix.tmlc.crowd import MOSTLY
from labelfix.tmlc.level import Level

if TYPE_CHECKING:
    from labelfix.learn.known import Met
    from labelfix.reference import Reference


@dataclass(frozen=True)
class Setting:
    """How a batch is read and seen; none of it changes what a row's score means."""

    columns: Columns = field(default_factory=Columns)
    """The user's choice of columns."""
    features: str | None = None
    """File or column of embeddings, where the reference has such."""
    pred_probs: str | None = None
    """File or column of probabilities, likewise."""
    audited: Path | None = None
    """Table with the columns id and label: true labels of rows of the reference that somebody looked up."""
    cache: Path | None = None
    """Directory of features; None: the user's."""
    device: str = "auto"
    """As in a recipe."""
    workers: int | None = None
    """As in a recipe."""


def gate(
    source: Manifest | str | Path,
    reference: str | Path | None = None,
    policy: Policy | str | Path | None = None,
    *,
    baseline: str | Path | None = None,
    update_baseline: bool = False,
    setting: Setting | None = None,
    findings: str | Path | None = None,
    progress: Progress | None = None,
) -> Verdict:
    """Judge a batch by a reference, a finished scan by itself, or a batch on its own.

    `source` is a manifest or a run directory, `reference` a run directory or a portable file, `policy` a Policy, a
    labelfix.toml, or None for the default one. With `update_baseline` the baseline is written before the verdict, so
    that no finding is new. `findings` is where findings.parquet of the batch goes, if anywhere. Raises LabelfixError.
    """
    policy = (
        policy if isinstance(policy, Policy) else Policy() if policy is None else Policy.read(Path(policy))
    )
    setting, progress = setting or Setting(), progress or Silent()
    known = _baseline(baseline, update_baseline)
    scanned = not isinstance(source, Manifest) and is_run(Path(source))
    if scanned and reference is not None:
        remedy = "leave --reference out, or name the manifest that was scanned"
        raise UsageError(f"{source}: is a finished scan, which is judged by itself; {remedy}")
    if setting.audited is not None and reference is None:
        raise UsageError("--audited tells the truth of rows of a reference; name one with --reference")
    if scanned:
        with _whole(Path(str(source)), "scan again"):
            judged = as_judged(Path(str(source)), policy)
    elif reference is None:
        judged = _alone(source, policy, setting, progress)
    else:
        judged = _by_reference(source, Path(reference), policy, setting, progress)
    if findings is not None:
        judged.findings.write(Path(findings))
    if known is not None and update_baseline:
        from datetime import date

        known = known.updated(findings_of(judged, policy.suspicion), date.today())  # noqa: DTZ011 (the user's day)
        known.write()
    return judge(judged, policy, known)


@contextmanager
def _whole(path: Path, remedy: str) -> Iterator[None]:
    """Raise InputError for whatever is missing or strange in what was saved."""
    try:
        yield
    except (
        ArithmeticError,
        AssertionError,
        AttributeError,
        LookupError,
        OSError,
        TypeError,
        ValueError,
    ) as error:
        what = f"{type(error).__name__}: {error}"
        raise InputError(f"{path}: is damaged, or of another version ({what}); {remedy}") from error


def _baseline(path: str | Path | None, update: bool) -> Baseline | None:
    if path is None:
        if update:
            raise UsageError("--update-baseline writes the file that --baseline names; name one")
        return None
    return Baseline(str(path)) if update and not Path(path).exists() else Baseline.read(Path(path))


def _read(source: Manifest | str | Path, setting: Setting, classes: int) -> Manifest:
    if isinstance(source, Manifest):
        return source
    from labelfix.readers import read

    roles = ("image", "label", "id", "group", "trusted", "annotator", "split")
    columns, brings = setting.columns, setting.features is not None or setting.pred_probs is not None
    chosen = {f"{role}_col": getattr(columns, role) for role in roles}
    looks = columns.with_images and not brings
    return read(source, images=columns.root, with_images=looks, min_classes=classes, **chosen)


def _alone(source: Manifest | str | Path, policy: Policy, setting: Setting, progress: Progress) -> Judged:
    """Cross-validate a batch within itself: a scan of which only the findings are kept."""
    manifest = _read(source, setting, 1)
    name = manifest.source or "the batch"
    if len(manifest) < policy.min_rows_alone:
        raise InconclusiveError(
            f"{name}: without a reference the policy wants {policy.min_rows_alone} rows (min_rows_alone), and these "
            f"are {len(manifest)}; name a run directory with --reference"
        )
    if len(manifest.classes) < 2:
        raise InputError(
            f"{name}: all rows are labelled {manifest.classes[0]!r}, so that there is nothing to tell apart; "
            "name a run directory with --reference"
        )
    from labelfix.learn.recipe import Recipe
    from labelfix.pipeline import scan

    with tempfile.TemporaryDirectory(prefix="labelfix-") as scratch:
        out = Path(scratch) / "run"
        scan(
            manifest, Recipe(device=setting.device, workers=setting.workers), out=out, features=setting.features,
            pred_probs=setting.pred_probs, cache=setting.cache, progress=progress,
        )  # fmt: skip
        judged = as_judged(out, replace(policy, columns=()))
    note = "without a reference, the batch was cross-validated within itself"
    return replace(
        judged, source=name, alone=True, notes=(note, *manifest.notes), columns=_columns(manifest, policy),
        lines=lines_of(manifest.source, len(manifest)),
    )  # fmt: skip


def _by_reference(
    source: Manifest | str | Path, path: Path, policy: Policy, setting: Setting, progress: Progress
) -> Judged:
    """Score a batch by what a reference keeps: nothing is trained, and nothing normalised by the batch."""
    from labelfix.reference import Reference

    with _whole(path, "scan again, or export it again"):
        reference = Reference.load(path)
    manifest = _read(source, setting, 1)
    columns = _columns(manifest, policy)
    audited = None if setting.audited is None else _audited(setting.audited, reference)
    for role, name in manifest.columns.items():
        progress.note(f"{role} column: {name}")

    from labelfix import meeting
    from labelfix.learn.cache import default_cache

    batch = meeting.renumbered(manifest, reference.classes)
    with _whole(path, "scan again, or export it again"):
        recipe = meeting.recipe_of(reference, setting.device, setting.workers)
    brought = setting.features, setting.pred_probs
    view = meeting.view_of(batch, reference, *brought, recipe, setting.cache or default_cache(), progress)
    rows, facts = meeting.select(batch, view, len(reference.classes))
    evidence, met = meeting.evidence_of(batch, view, reference, rows, facts)
    found = meeting.score_batch(batch, evidence, facts, reference, recipe, progress)
    usual = reference.behaviour
    left = in_question(usual.trusted, len(usual.trusted))
    asked = usual.suspicion[left]
    state = next(iter(reference.states.values()))
    doubt = doubt_of(asked, state)
    crowd = (
        Level.of(state.settings).crowd and evidence.items is not None and evidence.items.shared(rows) > MOSTLY
    )
    trusted = np.zeros(len(batch), bool) if batch.trusted is None else batch.trusted
    return Judged(
        found, manifest.source or "the batch",
        Usual(asked, len(usual.trusted) - len(left), doubt, audited, *((SEEN_BY_CROWD, AS_SAID) if crowd else ())),
        trusted, view.keys, _compared(reference, rows, met, view.keys),
        columns=columns, notes=manifest.notes + _versions(reference), lines=lines_of(manifest.source, len(manifest)),
    )  # fmt: skip


def _versions(reference: Reference) -> tuple[str, ...]:
    """Say so when another labelfix made the reference: its correctors may read evidence in another way."""
    then, now = (reference.about["versions"] or {}).get("labelfix"), version("labelfix")
    remedy = "scan again, so that both sides are scored alike"
    return () if then == now else (f"the reference was made by labelfix {then}, and this is {now}; {remedy}",)


def _compared(
    reference: Reference, rows: NDArray[np.intp], met: Met | None, keys: NDArray[np.uint8]
) -> Compared:
    """Say where rows with these content hashes [N, 16] stand beside the reference; judged ones are `rows` [n]."""
    usual = reference.behaviour
    copy_of, copy_label = np.full(len(keys), "", object), np.full(len(keys), "", object)
    views = {}
    if met is not None and reference.known is not None:
        from labelfix.learn.known import equal

        names, twin = np.array([*reference.classes], object), np.full(len(keys), -1, np.int64)
        same, training = equal(
            keys, reference.known.keys
        )  # also of rows without a label or of an unknown class
        twin[same] = training
        twin[rows] = met.copy_of
        found = np.flatnonzero(twin >= 0)
        copy_of[found] = reference.ids[twin[found]]
        copy_label[found] = names[reference.known.labels[twin[found]]]
        vectors = met.neighbours.vectors.astype(np.float32)
        for at, quantiles in enumerate(usual.directions):
            views[f"direction {at + 1}"] = vectors[:, at], quantiles
    counts = np.bincount(usual.labels, minlength=len(reference.classes))
    return Compared(
        reference.source,
        reference.classes,
        counts / max(counts.sum(), 1),
        int(counts.sum()),
        copy_of,
        copy_label,
        views,
    )


def _columns(manifest: Manifest, policy: Policy) -> dict[str, NDArray[np.object_]]:
    """Return the values of the columns that the policy names; raises InputError where the batch has none."""
    if not policy.columns:
        return {}
    from labelfix.readers.fields import filled, texts
    from labelfix.readers.table import TableReader, open_rows

    if not TableReader().recognises(manifest.source):
        raise UsageError(f"{policy.source}: gate.columns needs a table, but {manifest.source} is none")
    rows = open_rows(manifest.source)
    return {name: filled(texts(rows, name)) for name in policy.columns}


def _audited(path: Path, reference: Reference) -> Audited:
    """Read true labels of the reference's rows, and find those rows' scores; raises InputError."""
    from labelfix.readers.fields import filled, texts
    from labelfix.readers.table import open_rows

    table = open_rows(str(path))
    ids, truth = (filled(texts(table, name)) for name in ("id", "label"))
    usual = reference.behaviour
    at = {str(reference.ids[row]): i for i, row in enumerate(usual.rows)}
    pairs = [(at[i], t) for i, t in zip(map(str, ids), map(str, truth), strict=True) if i in at and t]
    if not pairs:
        raise InputError(
            f"{path}: none of its {len(ids)} ids is a row that {reference.source} keeps scores of"
        )
    rows = np.array([row for row, _ in pairs], np.intp)
    given = np.array(reference.classes, object)[usual.labels[rows]]
    return Audited(usual.suspicion[rows], given != np.array([t for _, t in pairs], object))
