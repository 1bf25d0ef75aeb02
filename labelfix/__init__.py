"""labelfix finds and fixes wrong labels in image-classification data.

>>> import labelfix
>>> manifest = labelfix.read("manifest.parquet")            # doctest: +SKIP
>>> findings = labelfix.scan(manifest, out="run/")          # doctest: +SKIP
>>> findings.most_suspicious(20)                            # doctest: +SKIP

Names are loaded when first used, so that `import labelfix` costs nothing.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from labelfix.applying import apply
    from labelfix.errors import InconclusiveError, InputError, LabelfixError, UsageError
    from labelfix.exporting import export
    from labelfix.findings import Correction, Findings
    from labelfix.gatekeeping import gate
    from labelfix.gating.policy import Policy
    from labelfix.gating.verdict import Check, Verdict
    from labelfix.learn.recipe import Recipe
    from labelfix.learn.saved import load_classifier
    from labelfix.manifest import Manifest
    from labelfix.merging import merge
    from labelfix.pipeline import scan
    from labelfix.readers import read
    from labelfix.retraining.running import train

__version__ = "0.1.0"

_HOME = {
    "read": "readers",
    "scan": "pipeline",
    "train": "retraining.running",
    "load_classifier": "learn.saved",
    "gate": "gatekeeping",
    "Policy": "gating.policy",
    "Verdict": "gating.verdict",
    "Check": "gating.verdict",
    "export": "exporting",
    "merge": "merging",
    "apply": "applying",
    "Recipe": "learn.recipe",
    "Manifest": "manifest",
    "Findings": "findings",
    "Correction": "findings",
    "LabelfixError": "errors",
    "UsageError": "errors",
    "InputError": "errors",
    "InconclusiveError": "errors",
}

__all__ = [
    "Check",
    "Correction",
    "Findings",
    "InconclusiveError",
    "InputError",
    "LabelfixError",
    "Manifest",
    "Policy",
    "Recipe",
    "UsageError",
    "Verdict",
    "__version__",
    "apply",
    "export",
    "gate",
    "load_classifier",
    "merge",
    "read",
    "scan",
    "train",
]


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'labelfix' has no attribute {name!r}")
    return getattr(import_module(f"labelfix.{_HOME[name]}"), name)


def __dir__() -> list[str]:
    return __all__
