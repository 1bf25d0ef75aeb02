"""Features and probabilities from outside: read, checked, and not copied without need."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from labelfix.errors import InputError
from labelfix.readers.arrays import read_array

FEATURES = np.random.default_rng(0).normal(size=(6, 3)).astype(np.float32)
PROBS = np.array([[0.25, 0.75], [1, 0], [0.5, 0.5]], np.float32)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_an_npy_stays_on_disk_and_keeps_its_type(tmp_path: Path, dtype: type) -> None:
    np.save(tmp_path / "f.npy", FEATURES.astype(dtype))
    array = read_array(str(tmp_path / "f.npy"), "m.csv", 6, "features")
    assert isinstance(array, np.memmap)
    assert array.dtype == dtype
    np.testing.assert_array_equal(array, FEATURES.astype(dtype))


def test_an_npz_gives_its_only_array_or_the_one_named(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", FEATURES)
    np.savez(tmp_path / "two.npz", a=FEATURES, b=FEATURES + 1)
    np.testing.assert_array_equal(read_array(f"{tmp_path}/one.npz", "m", 6, "features"), FEATURES)
    np.testing.assert_array_equal(read_array(f"{tmp_path}/two.npz:b", "m", 6, "features"), FEATURES + 1)


@pytest.mark.parametrize(
    "kind",
    [pa.list_(pa.float32()), pa.list_(pa.float32(), 3), pa.large_list(pa.float64()), pa.list_(pa.float16())],
    ids=["list", "fixed-size", "large-list-of-doubles", "half"],
)
def test_a_column_of_lists_is_read_by_name_or_from_the_manifest(tmp_path: Path, kind: pa.DataType) -> None:
    values = FEATURES.astype(np.float16)
    table = pa.table({"emb": pa.array(list(values), kind)})
    pq.write_table(table.slice(0, 4), tmp_path / "m-0.parquet", row_group_size=3)
    pq.write_table(table.slice(4), tmp_path / "m-1.parquet")
    np.testing.assert_array_equal(read_array("emb", str(tmp_path / "*.parquet"), 6, "features"), values)
    np.testing.assert_array_equal(
        read_array(f"{tmp_path}/m-0.parquet:emb", "x.csv", 4, "features"), values[:4]
    )


def test_whole_numbers_become_floats(tmp_path: Path) -> None:
    np.save(tmp_path / "f.npy", np.arange(6).reshape(3, 2))
    assert read_array(f"{tmp_path}/f.npy", "m", 3, "features").dtype == np.float32


def test_probabilities_that_nearly_sum_to_one_are_scaled(tmp_path: Path) -> None:
    np.save(tmp_path / "p.npy", PROBS * 1.0005)
    array = read_array(f"{tmp_path}/p.npy", "m", 3, "pred_probs", 2)
    np.testing.assert_allclose(array.sum(axis=1), 1, atol=1e-6)
    np.save(tmp_path / "p.npy", PROBS)
    assert isinstance(read_array(f"{tmp_path}/p.npy", "m", 3, "pred_probs", 2), np.memmap)


def changed(row: int, column: int, value: float) -> np.ndarray:
    array = PROBS.copy()
    array[row, column] = value
    return array


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (PROBS[:2], r"has 2 rows, but the manifest has 3; give --pred-probs in manifest order"),
        (PROBS[:, 0], r"has shape 3, but --pred-probs needs a row for each image"),
        (np.ones((3, 3)) / 3, r"has 3 columns, but the manifest has 2 classes"),
        (changed(1, 0, np.nan), r"row 1 \(the first is 0\) holds nan"),
        (changed(2, 0, np.inf), r"row 2 \(the first is 0\) holds inf"),
        (
            changed(1, 0, -3.2),
            r"row 1 \(the first is 0\) holds -3\.2, which is no probability; apply softmax",
        ),
        (changed(2, 0, 0.3), r"row 2 \(the first is 0\) sums to 0\.8, not 1; normalise"),
        (np.array([["a", "b"]] * 3), r"holds <U1, not real numbers; save it as float32"),
        (np.array([[None, "b"]] * 3), r"it holds Python objects"),
    ],
    ids=["rows", "one-dimension", "columns", "nan", "inf", "logits", "sum", "text", "objects"],
)
def test_bad_probabilities_name_the_first_bad_row(tmp_path: Path, array: np.ndarray, message: str) -> None:
    np.save(tmp_path / "p.npy", array, allow_pickle=True)
    with pytest.raises(InputError, match=r"p\.npy: .*" + message):
        read_array(f"{tmp_path}/p.npy", "m.csv", 3, "pred_probs", 2)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("g.npy", r"g\.npy: there is no such file .*did you mean 'f\.npy'"),
        ("cut.npy", r"cut\.npy: cannot be read"),
        ("two.npz", r"two\.npz: holds a, b; choose one as .*two\.npz:NAME"),
        ("two.npz:c", r"two\.npz: has no array 'c'; .*known: a, b"),
        ("cut.npz", r"cut\.npz: cannot be read"),
        ("m.parquet", r"m\.parquet: is no .* name its column: .*m\.parquet:COLUMN"),
        ("m.parquet:enb", r"no column 'enb'; did you mean 'emb'"),
        ("m.parquet:label", r"column 'label' holds string, not a list"),
        ("m.parquet:ragged", r"m\.parquet: row 1 .*'ragged' holds 1 numbers where others hold 2"),
        ("m.parquet:gaps", r"m\.parquet: row 1 .*'gaps' is null"),
        ("m.csv", r"m\.csv: is no \.npy, \.npz or Parquet column; save it as \.npy"),
        ("nowhere/f", r"nowhere/f: there is no such file"),
    ],
)
def test_a_bad_source_of_features_says_what_to_do(tmp_path: Path, spec: str, message: str) -> None:
    np.save(tmp_path / "f.npy", FEATURES)
    np.savez(tmp_path / "two.npz", a=FEATURES, b=FEATURES)
    (tmp_path / "cut.npy").write_bytes((tmp_path / "f.npy").read_bytes()[:-8])
    (tmp_path / "cut.npz").write_bytes((tmp_path / "two.npz").read_bytes()[:-30])
    (tmp_path / "m.csv").touch()
    pq.write_table(
        pa.table(
            {"emb": [[1.0], [2.0]], "label": ["a", "b"], "ragged": [[1, 2], [1]], "gaps": [[1.0], None]}
        ),
        tmp_path / "m.parquet",
    )
    with pytest.raises(InputError, match=message):
        read_array(f"{tmp_path}/{spec}", "m.csv", 2, "features")


def test_a_bare_name_without_parquet_says_what_is_possible() -> None:
    with pytest.raises(
        InputError, match=r"emb: is no file, and m\.csv is no Parquet with a column of that name"
    ):
        read_array("emb", "m.csv", 2, "features")
