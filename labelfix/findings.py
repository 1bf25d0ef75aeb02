"""Correction (one corrector's opinion, sparse), State (what it learned), Findings (the table of opinions)."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from labelfix.arrayfile import load_arrays, save_arrays
from labelfix.errors import InputError, NewerError
from labelfix.rundir import writing

if TYPE_CHECKING:
    import pandas as pd

SCHEMA = 1
"""Version of findings.parquet; a reader refuses a newer one."""

SOFT = 16
"""At most this many classes of a soft label are written; the rest is `soft_label_other`."""

LISTED_FROM = 5e-4
"""Smaller probabilities of a soft label go to "other"."""
SOFT_LABEL = pa.list_(pa.struct([("label", pa.string()), ("p", pa.float32())]))


@dataclass(frozen=True, eq=False)
class State:
    """What a corrector learned from training rows: small, saved in the run, enough to score unseen rows."""

    corrector: str
    """Name."""
    fitted_on: str
    """Digest and count of the rows every array here was fitted on."""
    arrays: dict[str, NDArray[Any]]
    """Percentiles, confusions, thresholds, priors."""
    settings: dict[str, Any] = field(default_factory=dict)
    """Scalars and names; JSON."""

    def save(self, path: Path) -> None:
        """Write one safetensors file; the settings are in its header."""
        header = {"corrector": self.corrector, "fitted_on": self.fitted_on, "settings": self.settings}
        save_arrays(path, self.arrays, header)

    @classmethod
    def load(cls, path: Path) -> State:
        """Read what `save` wrote; raises InputError when the file is damaged."""
        arrays, header = load_arrays(path, "state")
        return cls(header["corrector"], header["fitted_on"], arrays, header["settings"])


@dataclass(frozen=True, eq=False)
class Correction:
    """One corrector's opinion of n rows."""

    corrector: str
    """Name."""
    score: NDArray[np.float32]
    """[n] higher is more suspicious; only its order is meant."""
    classes: NDArray[np.int32]
    """[n, S] classes of the soft label, likeliest first, S ≤ 16."""
    p: NDArray[np.float32]
    """[n, S] their probabilities; what is missing to 1 belongs to the other classes."""
    suspicion: NDArray[np.float32] | None = None
    """[n] probability that the given label is wrong, where the corrector claims to know it."""
    is_issue: NDArray[np.bool_] | None = None
    """[n] the method's own verdict, where it has one."""

    def suggested(self, given: NDArray[np.int32]) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
        """Return the likeliest class other than the given one [n], and its probability [n]."""
        p = np.where(self.classes == given[:, None], -1.0, self.p)
        best = p.argmax(axis=1)
        rows = np.arange(len(given))
        return self.classes[rows, best], p[rows, best].clip(0.0, 1.0).astype(np.float32)

    def p_of(self, labels: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return the probability given to one class a row [n]; 0 where it is not among those listed."""
        return np.asarray(np.where(self.classes == labels[:, None], self.p, 0.0).sum(axis=1), np.float32)

    @staticmethod
    def concatenate(parts: list[Correction]) -> Correction:
        """Join the corrections of consecutive chunks."""
        first = parts[0]

        def join(name: str) -> Any:
            return None if getattr(first, name) is None else np.concatenate([getattr(p, name) for p in parts])

        fields = ("score", "classes", "p", "suspicion", "is_issue")
        return Correction(first.corrector, *(join(name) for name in fields))


def conflicting(copies: NDArray[np.integer], labels: NDArray[np.integer]) -> NDArray[np.bool_]:
    """Return which rows [N] have a copy with another label.

    `copies` numbers each row's set of copies, `labels` its class [N]; -1 = none.
    """
    found = np.zeros(len(copies), bool)
    rows = np.flatnonzero((copies >= 0) & (labels >= 0))
    if len(rows):
        _, group = np.unique(copies[rows], return_inverse=True)
        width = int(labels[rows].max()) + 1
        carried = np.unique(group * width + labels[rows]) // width
        found[rows] = (np.bincount(carried) > 1)[group]
    return found


@dataclass(frozen=True, eq=False)
class Findings:
    """findings.parquet: one row per manifest row, in manifest order, none dropped."""

    table: pa.Table
    """Columns: id, image, label, suggested, suspicion, confidence, soft_label, soft_label_other, rank,
    is_label_error, auto_fix, is_ambiguous, is_outlier, duplicate_group, status, reason, then
    <corrector>.score, <corrector>.suggested and cleanlab.is_issue."""
    meta: dict[str, Any]
    """schema, classes, correctors, recipe, manifest (digest), versions, estimated_errors."""
    run: Path | None = None
    """Run directory it lies in; None for a lone file."""

    def __len__(self) -> int:
        return int(self.table.num_rows)

    @property
    def classes(self) -> tuple[str, ...]:
        """[K] class names."""
        return tuple(self.meta["classes"])

    @property
    def correctors(self) -> tuple[str, ...]:
        """Names, the primary one first."""
        return tuple(self.meta["correctors"])

    def column(self, name: str) -> NDArray[Any]:
        """Return one column as a numpy array [N]; nulls become NaN or None."""
        return self.table.column(name).to_numpy()  # type: ignore[no-any-return]  # pyarrow is untyped

    def to_pandas(self) -> pd.DataFrame:
        """Return the whole table as a data frame."""
        return self.table.to_pandas()  # type: ignore[no-any-return]  # pyarrow is untyped

    def most_suspicious(self, count: int = 20) -> pd.DataFrame:
        """Return the rows to look at first, by rank."""
        order = self.order()[:count]
        return self.table.take(pa.array(order)).to_pandas()  # type: ignore[no-any-return]  # pyarrow is untyped

    def order(self) -> NDArray[np.intp]:
        """[M] positions of the ranked rows, the most suspicious first."""
        rank = self.table.column("rank").to_numpy()
        ranked = np.flatnonzero(~np.isnan(rank.astype(float)))
        return ranked[np.argsort(rank[ranked], kind="stable")]

    def copies(self) -> NDArray[np.int64]:
        """Return the number [N] of each row's set of copies; -1 = none."""
        return np.asarray(self.table.column("duplicate_group").fill_null(-1).to_numpy(), np.int64)

    def conflicting(self) -> NDArray[np.bool_]:
        """Return which rows [N] have a copy with another label."""
        labels = self.table.column("label").combine_chunks().dictionary_encode().indices.fill_null(-1)
        return conflicting(self.copies(), labels.to_numpy(zero_copy_only=False))

    def soft_labels(self) -> NDArray[np.float32]:
        """[N, K] corrected label distributions; rows that were not scored keep their given label, or are zeros.

        What is not listed (`soft_label_other`) is spread evenly over the classes that are not listed.
        """
        dense = np.zeros((len(self), len(self.classes)), np.float32)
        row, number, p = self.listed()
        dense[row, number] = p
        other = self.table.column("soft_label_other").to_numpy()
        unlisted = dense == 0
        spread = np.where(np.isnan(other), 0.0, other) / np.maximum(unlisted.sum(axis=1), 1)
        np.add(dense, spread[:, None].astype(np.float32), out=dense, where=unlisted)
        dense /= np.maximum(dense.sum(axis=1, keepdims=True), 1e-9)  # what was too small to list and rounding
        given = self.numbers("label")
        kept = np.flatnonzero((np.bincount(row, minlength=len(self)) == 0) & (given >= 0))
        dense[kept] = 0.0
        dense[kept, given[kept]] = 1.0
        return dense

    def listed(self) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
        """Return row, class number and probability [m] of all that soft labels list, row by row."""
        lists = self.table.column("soft_label").combine_chunks()
        lengths = lists.value_lengths().fill_null(0).to_numpy()
        flat = lists.flatten()
        row = np.repeat(np.arange(len(self)), lengths)
        return row, self._encoded(flat.field("label")), np.asarray(flat.field("p").to_numpy(), np.float32)

    def numbers(self, name: str) -> NDArray[np.intp]:
        """Return a column of class names as numbers [N]; -1 where it is empty."""
        return self._encoded(self.table.column(name).combine_chunks())

    def _encoded(self, names: pa.Array) -> NDArray[np.intp]:
        found = pc.index_in(names, value_set=pa.array(self.classes, pa.string())).fill_null(-1)
        return np.asarray(found.to_numpy(zero_copy_only=False), np.intp)

    def write(self, path: Path) -> None:
        """Write Parquet to a temporary name and rename it."""
        text = {b"labelfix": json.dumps(self.meta, sort_keys=True).encode()}
        with writing(path) as temporary:
            pq.write_table(self.table.replace_schema_metadata(text), temporary, compression="zstd")

    @classmethod
    def read(cls, path: Path | str) -> Findings:
        """Read findings.parquet, or that of a run directory; raises InputError."""
        path = Path(path)
        run = path if path.is_dir() else None
        path = path if run is None else path / "findings.parquet"
        try:
            with pq.ParquetFile(path) as file:  # lighter than read_table, which imports the dataset module
                table = file.read()
            meta = json.loads((table.schema.metadata or {})[b"labelfix"])
        except FileNotFoundError as error:
            raise InputError(f"{path}: no findings there; run `labelfix scan` first") from error
        except (KeyError, OSError, ValueError, pa.ArrowException) as error:
            raise InputError(
                f"{path}: not a findings file, or a damaged one ({error}); scan again"
            ) from error
        if meta["schema"] > SCHEMA:
            raise NewerError(
                f"{path}: written by a newer labelfix (schema {meta['schema']}, "
                f"this one reads up to {SCHEMA}); upgrade labelfix"
            )
        return cls(table, meta, run)
