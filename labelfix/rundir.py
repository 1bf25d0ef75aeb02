"""The run directory: what is where, writing whole files only, and resuming."""

from __future__ import annotations

import errno
import json
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from labelfix.errors import InputError, LabelfixError, NewerError, UsageError

SCHEMA = 1
"""Version of the run directory's layout."""


class OutputError(LabelfixError):
    """A result cannot be written: disk full, or no permission."""

    exit_code = 4


@contextmanager
def writing(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside `path`; rename it onto `path` when all is written and on disk.

    Of a link, what it points to is replaced. Raises OutputError when the disk is full or not writable, and where
    something other than a file is in the way; nothing half-written is left.
    """
    path = path.resolve() if path.is_symlink() else path
    if path.exists() and not path.is_file():
        raise OutputError(f"{path}: is no file that could be replaced; choose another place")
    # Processes in containers that share a directory may have one number.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    try:
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        with suppress(OSError):  # on a read-only file system there is none, and it cannot be removed
            temporary.unlink(missing_ok=True)
        raise output_error(path, error) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def output_error(path: Path, error: OSError) -> OutputError:
    """Say why a path cannot be written and what to do."""
    if error.errno in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
        free = "free some space there, or choose another place with -o or --cache, then --resume"
        return OutputError(f"{path}: cannot be written, the disk is full; {free}")
    why = error.strerror or error
    remedy = "make it writable, or choose another place with -o or --cache"
    return OutputError(f"{path}: cannot be written ({why}); {remedy}")


def check_spared(outputs: Iterable[Path], inputs: Iterable[str | Path]) -> None:
    """Raise UsageError for an output that would replace one of the inputs, or a file of any run."""
    read = {Path(one).resolve() for one in inputs}
    for out in outputs:
        place = out.resolve()
        if place in read:
            raise UsageError(f"{out}: is read by this very command; choose another file to write")
        for directory in place.parents[:2]:
            if (run := RunDir(directory)).run_json.is_file() and run.keeps(place):
                raise UsageError(f"{out}: belongs to the run {directory}; choose another file to write")


@dataclass(frozen=True)
class RunDir:
    """Paths of one run; `run.json` is written first, `findings.parquet` last."""

    path: Path

    @property
    def run_json(self) -> Path:
        """Recipe, versions, digests, timings, estimated errors."""
        return self.path / "run.json"

    @property
    def manifest(self) -> Path:
        """The manifest as it was read."""
        return self.path / "manifest.parquet"

    @property
    def neighbours(self) -> Path:
        """Neighbours, duplicates and outliers of the training rows."""
        return self.path / "neighbours.safetensors"

    @property
    def heads(self) -> Path:
        """Head checkpoints: with the features they are the trajectories."""
        return self.path / "heads.safetensors"

    @property
    def kernel(self) -> Path:
        """The second learner, where a corrector asked for it."""
        return self.path / "kernel.safetensors"

    @property
    def finetune(self) -> Path:
        """Pixels, checkpoint and recordings while a model is fine-tuned; gone afterwards."""
        return self.path / "finetune"

    @property
    def recorded(self) -> Path:
        """What fine-tuned models said of every row at each recorded epoch."""
        return self.path / "recorded"

    @property
    def trajectories(self) -> Path:
        """Loss, entropy, margin per row and recorded epoch."""
        return self.path / "trajectories.parquet"

    @property
    def unseen(self) -> Path:
        """How the training rows score as unseen ones, and what names them: for a gate."""
        return self.path / "unseen.safetensors"

    @property
    def findings(self) -> Path:
        """The table of opinions."""
        return self.path / "findings.parquet"

    @property
    def items(self) -> Path:
        """One label for each item, where rows are annotators' answers."""
        return self.path / "items.parquet"

    @property
    def report(self) -> Path:
        """The page that shows it all."""
        return self.path / "report.html"

    @property
    def queues(self) -> Path:
        """What was sent to annotators: a file for each queue."""
        return self.path / "queues"

    def state(self, corrector: str) -> Path:
        """Where a corrector's state is."""
        return self.path / "state" / f"{corrector}.safetensors"

    def begin(self, identity: dict[str, Any], resume: bool) -> dict[str, Any]:
        """Claim the directory for a run and return what run.json says so far.

        `identity` says what makes two runs the same: manifest digest, recipe, correctors. Raises UsageError
        when the directory holds another run, or holds this one and `resume` was not asked for.
        """
        if self.path.is_file():
            raise UsageError(f"{self.path}: is a file, but the output must be a directory; choose another -o")
        if self.run_json.exists():
            held = self.read()
            differing = [name for name in identity if held.get(name) != identity[name]]
            if differing:
                what = ", ".join(differing)
                remedy = "choose another -o or delete it"
                raise UsageError(f"{self.path}: holds another run (different {what}); {remedy}")
            if not resume:
                state = "a finished" if held.get("finished") else "an unfinished"
                remedy = "add --resume to continue it, or choose another -o"
                raise UsageError(f"{self.path}: holds {state} run of the same data; {remedy}")
            return held
        if self.path.exists() and any(self.path.iterdir()) and not self._only_leftovers():
            raise UsageError(f"{self.path}: is not empty and holds no labelfix run; choose another -o")
        try:
            (self.path / "state").mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise output_error(self.path, error) from error
        begun = {"schema": SCHEMA, **identity, "finished": False, "timings": {}}
        self.write(begun)
        return begun

    @contextmanager
    def withdrawn_on_error(self) -> Iterator[None]:
        """Give the directory up when the user has something to mend before there is any result in it."""
        try:
            yield
        except LabelfixError:
            if {p.name for p in self.path.iterdir()} <= {"run.json", "manifest.parquet", "state"}:
                self.manifest.unlink(missing_ok=True)
                self.run_json.unlink(missing_ok=True)
                with suppress(OSError):  # not empty: never ours to remove
                    (self.path / "state").rmdir()
                    self.path.rmdir()
            raise

    def _only_leftovers(self) -> bool:
        # A run killed before its run.json was renamed leaves these.
        return all(p.name == "state" or p.name.endswith(".tmp") for p in self.path.iterdir())

    def keeps(self, file: Path) -> bool:
        """Say whether a file is one of this run's own."""
        if not self.path.is_dir() or not file.is_relative_to(self.path):
            return False
        first = file.relative_to(self.path).parts[0]
        return first in {"state", "trained"} or first in {
            one.name for one in (
                self.run_json, self.manifest, self.findings, self.trajectories, self.heads, self.neighbours,
                self.kernel, self.unseen, self.items, self.report, self.queues, self.recorded, self.finetune
            )
        }  # fmt: skip

    def read(self) -> dict[str, Any]:
        """Return run.json; raises InputError."""
        try:
            found: dict[str, Any] = json.loads(self.run_json.read_text())
            newer = found.get("schema", 0) > SCHEMA
        except FileNotFoundError as error:
            raise InputError(f"{self.path}: no labelfix run there (run.json is missing)") from error
        except (AttributeError, OSError, TypeError, ValueError) as error:
            remedy = "delete the directory and scan again"
            raise InputError(f"{self.run_json}: damaged ({error}); {remedy}") from error
        if newer:
            raise NewerError(f"{self.run_json}: written by a newer labelfix; upgrade labelfix")
        return found

    def write(self, record: dict[str, Any]) -> None:
        """Replace run.json."""
        with writing(self.run_json) as temporary:
            temporary.write_text(json.dumps(record, indent=2, default=str) + "\n")

    def sweep(self) -> None:
        """Remove temporary files that a killed run left behind."""
        for leftover in [
            found for place in ("", "state/", "finetune/") for found in self.path.glob(f"{place}.*.tmp")
        ]:
            if leftover.is_dir():
                shutil.rmtree(leftover, ignore_errors=True)
            else:
                leftover.unlink(missing_ok=True)
