"""Evaluating: held-out rows whose labels are believed, and how well probabilities say them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelfix.errors import InputError
from labelfix.manifest import Manifest
from labelfix.tmlc.calibrate import calibration_error
from labelfix.trajectories import Floats

Rows = NDArray[np.intp]


@dataclass(frozen=True)
class Evaluation:
    """How well a classifier does on m held-out rows."""

    accuracy: float
    """Share of rows whose likeliest class is the label."""
    accuracy_error: float
    """Standard error of it, by the number of rows."""
    balanced_accuracy: float
    """Mean over the classes that occur of the share of their rows that are right."""
    calibration_error: float
    """Mean |probability − frequency| of the likeliest class over 15 equal bins (Naeini et al. 2015)."""
    log_loss: float
    """Mean −log probability of the label, in nats; probabilities below 1e-7 count as that."""


@dataclass(frozen=True, eq=False)
class HeldOut:
    """The rows of a held-out manifest that can be judged, and why others cannot."""

    manifest: Manifest
    """All N of them."""
    rows: Rows
    """[m] positions that have a label which the classifiers know."""
    labels: NDArray[np.intp]
    """[m] in the classifiers' numbering."""
    unlabelled: int
    """Rows without a label."""
    unknown: dict[str, int]
    """Class that the classifiers were never taught → rows."""

    @classmethod
    def of(cls, manifest: Manifest, classes: tuple[str, ...]) -> HeldOut:
        """Match labels by the names of classes [K]; raises InputError when none is known."""
        numbers = {name: k for k, name in enumerate(classes)}
        known = np.array([numbers.get(name, -1) for name in manifest.classes], np.intp)
        labelled = manifest.labels >= 0
        label = np.where(labelled, known[np.maximum(manifest.labels, 0)], -1)
        counts = np.bincount(manifest.labels[labelled], minlength=len(manifest.classes))
        strange = {manifest.classes[k]: int(counts[k]) for k in np.flatnonzero((known < 0) & (counts > 0))}
        rows = np.flatnonzero(label >= 0)
        if not len(rows):
            theirs, ours = (", ".join(map(repr, names[:3])) for names in (manifest.classes, classes))
            raise InputError(
                f"{manifest.source or 'the held-out manifest'}: no row has a label of the run's "
                f"{len(classes)} classes ({ours}, …), but {theirs}; choose the column with --truth"
            )
        return cls(manifest, rows, label[rows], int((~labelled).sum()), strange)

    def judge(self, p: Floats) -> Evaluation:
        """Evaluate probabilities [m, K], those of rows that cannot be read NaN; raises InputError when none can."""
        readable = ~np.isnan(p[:, 0])
        if not readable.any():
            raise InputError(f"{self.manifest.source}: none of {len(p)} held-out images can be read")
        return evaluate(p[readable], self.labels[readable])

    def counts(self, unreadable: int, taught_too: int) -> dict[str, Any]:
        """Say what became of all rows."""
        return {
            "rows": len(self.manifest),
            "evaluated": len(self.rows) - unreadable,
            "unreadable": unreadable,
            "unlabelled": self.unlabelled,
            "unknown_class": sum(self.unknown.values()),
            "unknown_classes": self.unknown,
            "also_trained_on": taught_too,
        }


def evaluate(p: Floats, labels: NDArray[np.intp]) -> Evaluation:
    """Evaluate probabilities [m, K] against labels [m]."""
    right = p.argmax(axis=1) == labels
    accuracy = float(right.mean())
    seen = np.bincount(labels, minlength=p.shape[1])
    recall = np.bincount(labels, right, minlength=p.shape[1])[seen > 0] / seen[seen > 0]
    own = p[np.arange(len(labels)), labels].astype(np.float64)
    return Evaluation(
        accuracy,
        float(np.sqrt(accuracy * (1 - accuracy) / len(labels))),
        float(recall.mean()),
        calibration_error(p.max(axis=1), right),
        float(-np.log(np.maximum(own, 1e-7)).mean()),
    )
