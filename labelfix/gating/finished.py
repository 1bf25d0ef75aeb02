"""A finished scan as something to judge: its findings, and the scores of its own rows for what is usual."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelfix.arrayfile import load_arrays
from labelfix.errors import InputError, UsageError, nearest
from labelfix.findings import Findings, State
from labelfix.gating.judged import Judged, Usual, numbers, texts
from labelfix.gating.policy import Policy
from labelfix.gating.rates import ALL, AS_SAID
from labelfix.rundir import RunDir
from labelfix.tmlc.calibrate import Doubt
from labelfix.tmlc.level import Level


def is_run(path: Path) -> bool:
    """Say whether a path is a run directory."""
    return path.is_dir() and RunDir(path).run_json.exists()


def as_judged(path: Path, policy: Policy) -> Judged:
    """Return a run directory's findings, to be judged by its own scores; raises InputError."""
    import pyarrow.parquet as pq

    run = RunDir(path)
    record = run.read()
    if not record.get("finished"):
        raise InputError(f"{path}: its scan did not finish; finish it with --resume")
    findings = Findings.read(run.findings)
    with pq.ParquetFile(run.manifest) as file:  # lighter than read_table, which imports the dataset module
        manifest = file.read()
    N = len(findings)
    trusted = np.zeros(N, bool)
    if "trusted" in manifest.column_names:
        trusted = numbers(manifest, "trusted") > 0
    content = np.zeros((N, 16), np.uint8)
    if run.unseen.exists():
        arrays, _ = load_arrays(run.unseen, "unseen scores", ("rows", "keys"))
        content[arrays["rows"]] = arrays["keys"]
    columns = {}
    for name in policy.columns:
        if name not in (
            held := [c for c in manifest.column_names if c not in {"id", "image", "label", "trusted"}]
        ):
            raise UsageError(
                f"{policy.source}: gate.columns: {path} keeps no column {name!r}; {nearest(name, held)}"
            )
        columns[name] = texts(manifest, name)
    scored = texts(findings.table, "status") == "scored"
    suspicion = numbers(findings.table, "suspicion")[scored & ~trusted].astype(np.float32)
    state = run.state(findings.correctors[0])
    fitted = State.load(state) if state.exists() else None
    crowd = fitted is not None and Level.of(fitted.settings).crowd
    by_crowd: dict[str, Any] = {"seen": ALL, "steep": AS_SAID} if crowd else {}
    usual = Usual(suspicion, int((scored & trusted).sum()), doubt_of(suspicion, fitted), **by_crowd)
    return Judged(findings, str(path), usual, trusted, content, columns=columns)


def doubt_of(suspicion: NDArray[np.float32], state: State | None) -> Doubt:
    """Return how far the level of these suspicions [n] may be off, by the state of the corrector that gave them."""
    rate = float(suspicion.mean(dtype=np.float64)) if len(suspicion) else 0.0
    return Level.of({} if state is None else state.settings).doubt(rate)
