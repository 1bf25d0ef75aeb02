"""Recording: what a model said of every row at each recorded epoch, in memory-mapped files.

A directory with `about.json` and NPY files for n rows, E recorded epochs and K classes. Up to 17 classes `log_p`
[n, E, K] holds the log-probabilities of all, as float16. With more it is [n, E, 18]: the given class, the sixteen
likeliest others in descending order, whose numbers are in `others` [n, E, 16] as int32, and all the rest together.
`entropy` [n, E] is of the whole distribution, over log K, as float16. `last` [n, K] holds all log-probabilities of
the last epoch, as float16, where they were asked for.

A million rows, 1,000 classes and ten epochs are 360 MB of log_p, 640 MB of others and 20 MB of entropy: 1.02 GB on
disk; `last` adds 2 GB. In memory are the pages in use, which the system takes back when it needs them.
"""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.lib.format import open_memmap
from numpy.typing import NDArray

from labelfix.errors import InputError
from labelfix.rundir import output_error, writing
from labelfix.trajectories import FLOOR, Floats, Ints

if TYPE_CHECKING:
    import torch

VERSION = 1
"""Of the files; a reader refuses a newer one."""
LISTED = 16
"""Classes that are named beside the given one."""

Rows = NDArray[np.intp]


class Said(NamedTuple):
    """What a model said of b rows, as it is recorded."""

    log_p: NDArray[np.float16]
    """[b, W], W = K or 18."""
    others: Ints | None
    """[b, 16] None where all classes are listed."""
    entropy: NDArray[np.float16]
    """[b]"""
    whole: NDArray[np.float16] | None
    """[b, K] all log-probabilities, where asked for."""


def condense(log_p: torch.Tensor, labels: torch.Tensor, whole: bool) -> Said:
    """Reduce log-probabilities [b, K] of rows with given labels [b], on whatever device they are."""
    import torch

    classes = log_p.shape[1]
    clipped = log_p.clamp(min=FLOOR)
    entropy = -(clipped.exp() * clipped).sum(dim=1) / np.log(classes)
    listed, numbers = clipped, None
    if classes > LISTED + 1:
        given = labels[:, None]
        wrong = log_p.scatter(1, given, -torch.inf)
        top, named = wrong.topk(LISTED, dim=1)
        rest = wrong.scatter(1, named, -torch.inf).logsumexp(dim=1, keepdim=True)
        listed = torch.cat([clipped.gather(1, given), top, rest], dim=1).clamp(min=FLOOR)
        numbers = named.int().cpu().numpy()
    return Said(
        listed.half().cpu().numpy(),
        numbers,
        entropy.clamp(0.0, 1.0).half().cpu().numpy(),
        clipped.half().cpu().numpy() if whole else None,
    )


@dataclass(frozen=True, eq=False)
class Recording:
    """An open recording; rows are those that were trained on, in their order."""

    files: dict[str, np.memmap[Any, Any]]
    """Memory maps by name: log_p, entropy, and others and last where they are kept."""
    about: dict[str, Any]
    """version, rows, classes, progress [E] (share of training done at each recorded epoch), fitted_on (names the
    rows), training (what the model is and how it was trained)."""

    @classmethod
    def create(
        cls, path: Path, rows: int, classes: int, progress: list[float], whole_last: bool, **about: Any
    ) -> Recording:
        """Make the files in a new directory, at their full size; raises OutputError when the disk is full."""
        E, W = len(progress), LISTED + 2 if classes > LISTED + 1 else classes
        shapes: dict[str, tuple[type, tuple[int, ...]]] = {
            "log_p": (np.float16, (rows, E, W)),
            "entropy": (np.float16, (rows, E)),
        }
        if classes > LISTED + 1:
            shapes["others"] = np.int32, (rows, E, LISTED)
        if whole_last:
            shapes["last"] = np.float16, (rows, classes)
        try:
            path.mkdir(parents=True)
            for name, (kind, shape) in shapes.items():
                open_memmap(path / f"{name}.npy", mode="w+", dtype=kind, shape=shape)
                _allocate(path / f"{name}.npy")
        except OSError as error:
            shutil.rmtree(path, ignore_errors=True)
            raise output_error(path, error) from error
        about = {"version": VERSION, "rows": rows, "classes": classes, "progress": progress} | about
        with writing(path / "about.json") as temporary:
            temporary.write_text(json.dumps(about, indent=2) + "\n")
        return cls.open(path, writable=True)

    @classmethod
    def open(cls, path: Path, writable: bool = False) -> Recording:
        """Open the files; raises InputError when they are damaged or of a newer version."""
        try:
            about = json.loads((path / "about.json").read_text(encoding="utf-8"))
            if about["version"] > VERSION:
                raise InputError(f"{path}: recorded by a newer labelfix; upgrade labelfix")
            mode: Any = "r+" if writable else "r"
            names = ["log_p", "entropy"]
            names += [name for name in ("others", "last") if (path / f"{name}.npy").exists()]
            files = {name: open_memmap(path / f"{name}.npy", mode=mode) for name in names}
        except (OSError, KeyError, ValueError) as error:
            remedy = "delete the run directory and scan again"
            raise InputError(f"{path}: what training recorded cannot be read ({error}); {remedy}") from error
        return cls(files, about)

    @property
    def epochs(self) -> int:
        """E."""
        return len(self.about["progress"])

    def wants_whole(self, epoch: int) -> bool:
        """Whether all log-probabilities are kept of this recorded epoch."""
        return "last" in self.files and epoch == self.epochs - 1

    def write(self, epoch: int, at: Rows, said: Said) -> None:
        """Keep what was said of rows `at` [b] at the recorded epoch 0 … E - 1."""
        self.files["log_p"][at, epoch] = said.log_p
        self.files["entropy"][at, epoch] = said.entropy
        if said.others is not None:
            self.files["others"][at, epoch] = said.others
        if said.whole is not None:
            self.files["last"][at] = said.whole

    def flush(self) -> None:
        """Have everything on disk."""
        for array in self.files.values():
            array.flush()

    def log_p(self, at: Rows, labels: Ints) -> Floats:
        """Return log-probabilities [n, E, K] of rows `at` with given labels [n].

        Classes that an epoch does not list share what was left of its probability alike.
        """
        held = self.files["log_p"][at].astype(np.float32)
        if "others" in self.files:
            spread = np.empty((*held.shape[:2], self.about["classes"]), np.float32)
            spread[:] = held[:, :, -1:] - np.float32(np.log(spread.shape[2] - LISTED - 1))
            given = np.broadcast_to(labels[:, None, None], (*held.shape[:2], 1))
            np.put_along_axis(spread, given.astype(np.intp), held[:, :, :1], axis=2)
            np.put_along_axis(spread, self.files["others"][at].astype(np.intp), held[:, :, 1:-1], axis=2)
            held = spread
        if "last" in self.files:
            held[:, -1] = self.files["last"][at]
        return held

    def entropy(self, at: Rows) -> Floats:
        """Return the entropy [n, E] of rows `at`, in [0, 1]."""
        return np.asarray(self.files["entropy"][at], np.float32)


def _allocate(path: Path) -> None:
    """Reserve a file's room: a memory map that finds the disk full ends the process without a word."""
    if hasattr(os, "posix_fallocate"):
        with path.open("rb+") as file:
            os.posix_fallocate(file.fileno(), 0, path.stat().st_size)
