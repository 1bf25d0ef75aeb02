"""Reference: what a scan leaves behind to judge later batches by, in a run directory or in one portable file.

A run directory keeps most of it anyway; `unseen.safetensors` adds what only training rows can tell: how they score when
they are treated as a batch would be. The portable file holds all of it, with vectors in a byte a number.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from labelfix.arrayfile import load_arrays, save_arrays
from labelfix.errors import InputError, UsageError
from labelfix.findings import State
from labelfix.learn.kernel import HELD as KERNEL
from labelfix.learn.kernel import Kernel
from labelfix.learn.known import Known
from labelfix.learn.neighbours import Neighbours, Projection
from labelfix.learn.probe import HELD as HEADS
from labelfix.learn.probe import Heads
from labelfix.rundir import RunDir
from labelfix.trajectories import Floats, Ints

SCHEMA = 4
"""Version of what a gate reads; another one is refused."""
KNOWN = ("keys", "groups", "folds", "labels", "component", "reliability", "around", "vectors", "step")
BEHAVIOUR = ("suspicion", "labels", "rows", "trusted", "directions")


@dataclass(frozen=True, eq=False)
class Behaviour:
    """How m of the reference's rows score when they are treated as rows that no head has seen."""

    suspicion: Floats
    """[m] of the primary corrector."""
    labels: Ints
    """[m] given class."""
    rows: NDArray[np.int64]
    """[m] position among the reference's rows."""
    trusted: NDArray[np.bool_]
    """[m] the label is known to be right."""
    directions: Floats
    """[D, Q] quantiles of the first projected directions; [0, 0] without features."""
    fence: float
    """Distance beyond which a row is an outlier."""


@dataclass(frozen=True, eq=False)
class Reference:
    """Everything that a batch is judged by; nothing in it is changed by the batch."""

    source: str
    """Run directory or file."""
    classes: tuple[str, ...]
    """[K]"""
    ids: NDArray[np.object_]
    """[n] ids of the rows in canonical order; rows are named by them."""
    known: Known | None
    """None where the reference was given probabilities only."""
    keys: NDArray[np.uint8]
    """[n, 16] content hashes."""
    states: dict[str, State]
    """Of the correctors, the primary one first."""
    behaviour: Behaviour
    """Of its own rows, scored as unseen ones."""
    progress: list[float]
    """[E] share of training done at each checkpoint."""
    about: dict[str, Any]
    """recipe, backbone, features, pred_probs, versions, manifest (digest), counts."""

    @classmethod
    def load(cls, path: Path) -> Reference:
        """Read a run directory or what `save` wrote; raises InputError, or UsageError for a run that cannot serve."""
        return _of_run(RunDir(path)) if path.is_dir() else _of_file(path)

    def save(self, path: Path) -> None:
        """Write the portable file."""
        arrays: dict[str, NDArray[Any]] = {"keys": self.keys, "ids": _packed(self.ids)}
        if self.known is not None:
            arrays |= {f"known.{name}": getattr(self.known, name) for name in KNOWN if name != "keys"}
            arrays |= {f"heads.{name}": getattr(self.known.heads, name) for name in HEADS}
            if self.known.kernel is not None:
                arrays |= {f"kernel.{name}": getattr(self.known.kernel, name) for name in KERNEL}
            arrays |= {"projection.mean": self.known.projection.mean}
            arrays |= {"projection.basis": self.known.projection.basis.astype(np.float16)}
        arrays |= {f"behaviour.{name}": getattr(self.behaviour, name) for name in BEHAVIOUR}
        states = {}
        for name, state in self.states.items():
            arrays |= {f"state.{name}/{key}": values for key, values in state.arrays.items()}
            states[name] = {"fitted_on": state.fitted_on, "settings": state.settings}
        header = {
            "reference": SCHEMA,
            "classes": list(self.classes),
            "states": states,
            "order": list(self.states),
            "fence": self.behaviour.fence,
            "neighbours": None if self.known is None else self.known.k,
            "second_learner": self.known is not None and self.known.kernel is not None,
            "progress": self.progress,
            "about": self.about,
        }
        save_arrays(path, arrays, header)


def save_unseen(
    path: Path, rows: NDArray[np.int64], keys: NDArray[np.uint8], folds: Ints | None, reliability: Floats,
    behaviour: Behaviour, groups: NDArray[np.uint8], second_learner: bool,
) -> None:  # fmt: skip
    """Write what only the scan itself can tell of its n rows, in canonical order, to the run directory."""
    folds = np.zeros(len(rows), np.int32) if folds is None else folds
    arrays: dict[str, NDArray[Any]] = {"rows": rows, "keys": keys, "groups": groups, "folds": folds}
    arrays["reliability"] = reliability.astype(np.float16)
    arrays |= {f"behaviour.{name}": getattr(behaviour, name) for name in BEHAVIOUR}
    save_arrays(
        path, arrays, {"reference": SCHEMA, "fence": behaviour.fence, "second_learner": second_learner}
    )


def keep(
    found: Neighbours, heads: Heads, kernel: Kernel | None, rows: dict[str, NDArray[Any]], labels: Ints,
    fence: float, k: int,
) -> Known:  # fmt: skip
    """Condense what a scan knows; `rows` has keys, groups, folds and reliability of its n rows."""
    near = np.where(found.index >= 0, found.similarity.astype(np.float32), np.inf)
    filled = np.isfinite(near)
    fifth = 1.0 - near[:, min(4, near.shape[1] - 1)]
    typical = min(float(np.median(np.where(np.isfinite(fifth), fifth, 1.0))), 1.0)
    # `neighbours.find` takes the farthest of more neighbours, and then cuts at what is typical too.
    farthest = np.where(filled, 1.0 - np.where(filled, near, 1.0), 0.0).max(axis=1)
    around = farthest.clip(typical / 4, typical).astype(np.float32)
    step = np.maximum(np.abs(found.vectors.astype(np.float32)).max(axis=0, initial=0.0), 1e-6) / 127
    vectors = np.rint(found.vectors / step).astype(np.int8)
    reliability = rows["reliability"].astype(np.float32)
    return Known(
        rows["keys"], rows["groups"], rows["folds"], labels, found.component, reliability, around, vectors,
        step.astype(np.float32), found.projection, heads, kernel, fence, k,
    )  # fmt: skip


def _of_run(run: RunDir) -> Reference:
    from labelfix.findings import Findings

    record = run.read()
    if not record.get("finished"):
        raise InputError(f"{run.path}: its scan did not finish; finish it with --resume")
    remedy = "scan again with this version"
    if record["chosen"]["mode"] == "finetune" and record["recipe"]["finetune"]["by_fold"]:
        raise UsageError(
            f"{run.path}: was scanned with --finetune-folds, whose models are not kept, so that no new row can be "
            f"judged by them; scan again without it"
        )
    if not run.unseen.exists():
        raise InputError(
            f"{run.path}: was scanned by an older labelfix and cannot serve as a reference; {remedy}"
        )
    arrays, header = load_arrays(run.unseen, "unseen scores")
    _check(run.unseen, header)
    findings = Findings.read(run.findings)
    rows = arrays["rows"]
    number = {name: k for k, name in enumerate(findings.classes)}
    labels = np.array([number.get(name, -1) for name in findings.column("label")[rows]], np.int32)
    states = {name: State.load(run.state(name)) for name in findings.correctors}
    known, progress = None, [1.0]
    if run.heads.exists():
        heads, found = Heads.load(run.heads), Neighbours.load(run.neighbours)
        second = Kernel.load(run.kernel) if header["second_learner"] else None
        of_other = second is not None and second.fitted_on != heads.fitted_on
        if not len(rows) == len(found.index) or heads.fitted_on != found.fitted_on or of_other:
            raise InputError(f"{run.path}: its files are of different scans; scan again")
        choice = header["fence"], record["recipe"]["neighbours"]
        known = keep(found, heads, second, arrays, labels, *choice)
        progress = heads.progress.tolist()
    about = {name: record.get(name) for name in ("recipe", "features", "pred_probs", "versions", "manifest")}
    about |= {"backbone": record.get("chosen", {}).get("backbone"), "rows": len(rows)}
    return Reference(
        str(run.path), findings.classes, findings.column("id")[rows], known, arrays["keys"], states,
        _behaviour(arrays, header), progress, about,
    )  # fmt: skip


def _of_file(path: Path) -> Reference:
    if not path.exists():
        raise InputError(f"{path}: there is no such reference; name a run directory or an exported file")
    arrays, header = load_arrays(path, "reference")
    _check(path, header)
    try:
        states: dict[str, State] = {}
        for name in header["order"]:
            prefix, saved = f"state.{name}/", header["states"][name]
            held = {key.removeprefix(prefix): a for key, a in arrays.items() if key.startswith(prefix)}
            states[name] = State(name, saved["fitted_on"], held, saved["settings"])
        known = None
        if header["neighbours"] is not None:
            projection = Projection(
                arrays["projection.mean"], np.ascontiguousarray(arrays["projection.basis"], np.float32)
            )
            fitted_on = next(iter(states.values())).fitted_on
            heads = Heads(**{name: arrays[f"heads.{name}"] for name in HEADS}, fitted_on=fitted_on)
            held = {name: arrays["keys" if name == "keys" else f"known.{name}"] for name in KNOWN}
            second = None
            if header["second_learner"]:
                second = Kernel(**{name: arrays[f"kernel.{name}"] for name in KERNEL}, fitted_on=fitted_on)
            known = Known(
                **held, projection=projection, heads=heads, kernel=second, fence=header["fence"],
                k=header["neighbours"],
            )  # fmt: skip
        return Reference(
            str(path), tuple(header["classes"]), _unpacked(arrays["ids"]), known, arrays["keys"], states,
            _behaviour(arrays, header), header["progress"], header["about"],
        )  # fmt: skip
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{path}: is no labelfix reference, or a damaged one ({error}); export it again"
        ) from error


def _behaviour(arrays: dict[str, NDArray[Any]], header: dict[str, Any]) -> Behaviour:
    return Behaviour(**{name: arrays[f"behaviour.{name}"] for name in BEHAVIOUR}, fence=header["fence"])


def _check(path: Path, header: dict[str, Any]) -> None:
    if "reference" not in header:
        raise InputError(f"{path}: is a labelfix file, but no reference; export one with --to reference")
    if header["reference"] != SCHEMA:
        raise InputError(
            f"{path}: is a reference of another labelfix (schema {header['reference']}, this one reads {SCHEMA}); "
            f"scan again with this version"
        )


def _packed(ids: NDArray[np.object_]) -> NDArray[np.uint8]:
    return np.frombuffer("\0".join(map(str, ids)).encode(), np.uint8)


def _unpacked(packed: NDArray[np.uint8]) -> NDArray[np.object_]:
    return np.array(packed.tobytes().decode().split("\0"), object)
