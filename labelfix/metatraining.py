"""The data flow of `labelfix meta-train`: labelled sets → features → a bank of tasks → weights."""

from __future__ import annotations

import re
import shlex
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from labelfix.errors import InputError, UsageError
from labelfix.learn.cache import default_cache
from labelfix.learn.features import Features, extract
from labelfix.learn.pixels import write_pixels
from labelfix.learn.recipe import Recipe
from labelfix.manifest import Images
from labelfix.progress import Progress, Silent
from labelfix.readers import read
from labelfix.readers.arrays import read_array
from labelfix.readers.storage import leaf
from labelfix.tmlc import metatrain
from labelfix.tmlc.finetuned import SIDE
from labelfix.tmlc.sources import CleanSet

_SPEC = re.compile(
    r"(?P<file>.+?\.(?:parquet|pq|csv|tsv|jsonl))(?:@(?P<features>[^@:/]+))?(?::(?P<label>[^@:/]+))?"
)


class Source(NamedTuple):
    """A labelled set as named on the command line."""

    file: str
    """Whatever a reader reads."""
    features: str | None
    """Column of the file's embeddings; None: they are made from its images."""
    label: str | None
    """Column of the labels; None: found by convention."""

    @classmethod
    def parse(cls, spec: str) -> Source:
        """Read `file`, `file:label_column` or `file@feature_column:label_column`; for tables only."""
        match = _SPEC.fullmatch(spec)
        return cls(match["file"], match["features"], match["label"]) if match else cls(spec, None, None)

    @property
    def name(self) -> str:
        """The file's name without directory and ending."""
        return Path(leaf(self.file)).stem

    @property
    def spec(self) -> str:
        """As it was given, but for directory and ending: for the model card."""
        features = f"@{self.features}" if self.features else ""
        return f"{self.name}{features}{f':{self.label}' if self.label else ''}"


def meta_train(
    sources: Sequence[str],
    out: Path,
    *,
    bank: Path | None = None,
    seed: int = 0,
    tasks: int = 600,
    finetuned: int = 0,
    without: Sequence[str] = (),
    steps: int = metatrain.STEPS,
    cache: Path | None = None,
    progress: Progress | None = None,
) -> dict[str, Any]:
    """Write weights for the tmlc corrector to `out` and return their model card.

    `sources` are labelled sets whose labels are right, as `Source.parse` reads them; generated tasks and
    scikit-learn's digits are always used. Beside `tasks` that heads learn there are `finetuned` ones that a whole
    network learns, from the sets' images. `bank` keeps the tasks, to continue or reuse them; None: they are
    dropped. Tasks of the sources named in `without` are in the bank, but not fitted on. Raises LabelfixError.
    """
    if not out.absolute().parent.is_dir():  # not after hours of work
        raise UsageError(f"{out}: its directory does not exist; make it first, or choose another -o")
    progress = progress or Silent()
    clean = [*clean_sets(sources, Recipe(), cache or default_cache(), progress, finetuned > 0), digits()]
    for name in without:
        if name not in (known := [one.name for one in clean]):
            raise UsageError(f"--without {name!r} is none of the sources: {', '.join(known)}")
    specs = [Source.parse(spec).spec for spec in sources]
    choices = ["-o", out.stem, "--seed", str(seed), "--tasks", str(tasks)]
    choices += ["--finetuned", str(finetuned)] if finetuned else []
    left_out = [part for name in without for part in ("--without", name)]
    command = shlex.join(["labelfix", "meta-train", *specs, *choices, *left_out])
    with tempfile.TemporaryDirectory(prefix="labelfix-") as scratch:
        return metatrain.meta_train(
            clean,
            out,
            bank=bank or Path(scratch),
            seed=seed,
            tasks=tasks,
            finetuned=finetuned,
            without=frozenset(without),
            progress=progress,
            command=command,
            steps=steps,
        )


def clean_sets(
    sources: Sequence[str], recipe: Recipe, cache: Path, progress: Progress, pictured: bool = False
) -> list[CleanSet]:
    """Read labelled sets, with features from their columns or, through the cache, from their images.

    With `pictured` the images are held, too.
    """
    return [_clean_set(Source.parse(spec), recipe, cache, progress, pictured) for spec in sources]


def digits() -> CleanSet:
    """Return the 1,797 handwritten digits that scikit-learn brings along; 64 grey values each."""
    from sklearn.datasets import load_digits

    bundled = load_digits()
    grey = np.round(bundled.images * (255 / 16)).astype(np.uint8)
    large = grey.repeat(SIDE // 8, axis=1).repeat(SIDE // 8, axis=2)
    pixels = np.broadcast_to(large[..., None], (*large.shape, 3))
    return CleanSet("digits", bundled.data.astype(np.float16), bundled.target.astype(np.int32), pixels)


def _clean_set(source: Source, recipe: Recipe, cache: Path, progress: Progress, pictured: bool) -> CleanSet:
    manifest = read(source.file, label_col=source.label, with_images=source.features is None)
    rows, pixels = np.flatnonzero(manifest.labels >= 0), None
    if source.features is not None:
        spec = f"{source.file}:{source.features}"
        features = Features.from_array(read_array(spec, source.file, len(manifest), "features"))
    elif manifest.images is not None:
        found = extract(manifest.images, rows, recipe, cache, progress)
        features, rows = found.features, np.setdiff1d(rows, list(found.unreadable))
        pixels = _pixels(manifest.images, rows, recipe, progress) if pictured else None
    else:
        raise InputError(f"{source.file}: has no images; name a column of embeddings as FILE@COLUMN:LABELS")
    x: Any = features.take(rows)  # half precision: many sets are held, and tasks take rows of few
    return CleanSet(source.name, x, manifest.labels[rows], pixels)


def _pixels(images: Images, rows: NDArray[np.intp], recipe: Recipe, progress: Progress) -> NDArray[np.uint8]:
    """Return the images at `rows` [n] as small ones [n, SIDE, SIDE, 3], for base learners that are whole networks."""
    with tempfile.TemporaryDirectory(prefix="labelfix-") as scratch:
        path = Path(scratch) / "pixels.npy"
        with progress.stage("pixels", len(rows), "images") as advance:
            write_pixels(path, images, rows, SIDE, recipe, advance)
        return np.asarray(np.load(path))
