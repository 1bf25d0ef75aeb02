"""Make the example data: 600 photographs of clothes, 8 % of whose labels are wrong on purpose.

    python make_example.py clothing.parquet

The argument is a Parquet file with the columns `image` (encoded bytes), `label` and `path`, made from
https://github.com/alexeygrigorev/clothing-dataset-small (CC0). Writes images/, manifest.csv and truth.csv
beside this script. Needs numpy, pillow and pyarrow, which labelfix brings along.
"""

from __future__ import annotations

import argparse
import csv
import io
import shutil
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from PIL import Image

SEED = 20
PER_CLASS = 60
LONG_SIDE = 128  # pixels
WRONG = 0.08  # share of rows; half of them confusions of similar classes, half drawn at random

SIMILAR = {  # what people really mix up; hats and shoes have no such neighbour
    "t-shirt": ("shirt", "longsleeve"),
    "shirt": ("longsleeve", "t-shirt", "outwear"),
    "longsleeve": ("t-shirt", "shirt", "outwear"),
    "outwear": ("longsleeve", "shirt"),
    "dress": ("skirt",),
    "skirt": ("dress", "shorts"),
    "shorts": ("pants", "skirt"),
    "pants": ("shorts",),
}


def choose(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return [600] positions, the same number of each class, in an order that says nothing."""
    per_class = [
        rng.choice(np.flatnonzero(labels == name), PER_CLASS, replace=False) for name in np.unique(labels)
    ]
    return rng.permutation(np.concatenate(per_class))


def plant(truth: list[str], rng: np.random.Generator) -> dict[int, tuple[str, str]]:
    """Return position → (wrong label, kind of mistake)."""
    classes = sorted(set(truth))
    wrong = round(WRONG * len(truth))
    confusable = [i for i, name in enumerate(truth) if name in SIMILAR]
    similar = rng.choice(confusable, wrong // 2, replace=False)
    others = np.setdiff1d(np.arange(len(truth)), similar)
    at_random = rng.choice(others, wrong - wrong // 2, replace=False)
    planted = {int(i): (str(rng.choice(SIMILAR[truth[i]])), "similar") for i in similar}
    for i in at_random:
        planted[int(i)] = (str(rng.choice([name for name in classes if name != truth[i]])), "random")
    return planted


def shrink(data: bytes) -> bytes:
    """Return a JPEG whose long side is at most 128 pixels, without metadata."""
    image = Image.open(io.BytesIO(data)).convert("RGB")
    image.thumbnail((LONG_SIDE, LONG_SIDE), Image.Resampling.LANCZOS)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=85, optimize=True)
    return out.getvalue()


def write_csv(path: Path, header: list[str], rows: list[list[str]]) -> None:
    """Write a comma-separated file."""
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


def main() -> None:
    """Write the example beside this script."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", type=Path)
    parser.add_argument("--out", type=Path, default=Path(__file__).parent)
    options = parser.parse_args()

    table = pq.read_table(options.source, columns=["image", "label", "path"]).sort_by("path")
    labels = np.array(table.column("label").to_pylist())
    rng = np.random.default_rng(SEED)
    chosen = choose(labels, rng)
    truth = [str(labels[i]) for i in chosen]
    planted = plant(truth, rng)

    shutil.rmtree(options.out / "images", ignore_errors=True)
    (options.out / "images").mkdir(parents=True)
    manifest, answers = [], []
    for n, (row, name) in enumerate(zip(chosen, truth, strict=True)):
        file_name = f"images/{n:04}.jpg"
        (options.out / file_name).write_bytes(shrink(table.column("image")[int(row)].as_py()))
        given, kind = planted.get(n, (name, ""))
        manifest.append([file_name, given])
        answers.append([file_name, name, kind])
    write_csv(options.out / "manifest.csv", ["file_name", "label"], manifest)
    write_csv(options.out / "truth.csv", ["file_name", "label_true", "planted"], answers)
    print(f"{len(manifest)} images, {len(planted)} wrong labels")


if __name__ == "__main__":
    main()
