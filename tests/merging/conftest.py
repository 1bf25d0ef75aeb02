"""Runs of small manifests: findings made by hand, so that any manifest can be one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

import labelfix
from labelfix.findings import SOFT_LABEL, Findings
from labelfix.rundir import RunDir


def made(source: Path | str, run: Path, seed: int = 0, **columns: Any) -> Findings:
    """Write a run directory for a manifest, as a scan would, with suspicions drawn at random."""
    manifest = labelfix.read(source, with_images=False, min_classes=1, **columns)
    rng = np.random.default_rng(seed)
    N, K = len(manifest), len(manifest.classes)
    suspicion = np.where(manifest.labels >= 0, rng.beta(0.5, 3, N), np.nan)
    classes = pa.array(manifest.classes, pa.string())
    given = pa.array(manifest.labels.astype(np.int64), mask=manifest.labels < 0)
    suggested = pa.array((manifest.labels.astype(np.int64) + 1) % K, mask=manifest.labels < 0)
    rank = np.full(N, np.nan)
    rank[np.argsort(-np.nan_to_num(suspicion, nan=-1), kind="stable")] = np.arange(1, N + 1)
    scored = ~np.isnan(suspicion)
    names = classes.take(suggested)
    soft = [
        None if not ok else [{"label": name, "p": s}]
        for ok, name, s in zip(scored, names.to_pylist(), suspicion, strict=True)
    ]
    table = pa.table({
        "id": pa.array(manifest.ids, pa.string()),
        "image": pa.array(manifest.image_names or [None] * N, pa.string()),
        "label": classes.take(given),
        "suggested": names,
        "suspicion": pa.array(suspicion, pa.float32()),
        "confidence": pa.array(suspicion, pa.float32()),
        "soft_label": pa.array(soft, SOFT_LABEL),
        "soft_label_other": pa.array(1 - suspicion, pa.float32()),
        "rank": pa.array(rank, pa.int32(), mask=~scored),
        "is_label_error": pa.array(np.nan_to_num(suspicion) > 0.5),
        "auto_fix": pa.array(np.nan_to_num(suspicion) > 0.5),
        "is_ambiguous": pa.array(np.zeros(N, bool)),
        "is_outlier": pa.array(np.zeros(N, bool)),
        "duplicate_group": pa.nulls(N, pa.int32()),
        "status": pa.array(np.where(scored, "scored", "unlabelled"), pa.string()),
    })  # fmt: skip
    if manifest.annotators is not None:
        table = table.append_column("annotator", pa.array(manifest.annotators, pa.string()))
    meta = {
        "schema": 1,
        "classes": list(manifest.classes),
        "correctors": ["tmlc"],
        "manifest": manifest.digest,
    }
    directory = RunDir(run)
    record = directory.begin({"manifest": manifest.digest, "recipe": {}, "correctors": ["tmlc"]}, False)
    record |= {
        "source": manifest.source,
        "columns": manifest.columns,
        "images": manifest.root,
        "finished": True,
    }
    directory.write(record | {"directory": str(Path.cwd())})
    manifest.write(directory.manifest)
    Findings(table, meta).write(directory.findings)
    return Findings.read(run)


@pytest.fixture(scope="session")
def make_run() -> Callable[..., Findings]:
    """The function that makes a run of any manifest."""
    return made


@pytest.fixture
def letters(tmp_path: Path) -> Callable[..., Findings]:
    """A manifest `m.csv` of rows r0, r1, … whose labels go round a, b, c, and its run."""

    def write(rows: int = 12, seed: int = 0) -> Findings:
        lines = "".join(f"r{i},{'abc'[i % 3]},note {i}\n" for i in range(rows))
        (tmp_path / "m.csv").write_text("id,label,note\n" + lines, encoding="utf-8")
        return made(tmp_path / "m.csv", tmp_path / "run", seed)

    return write
