"""Array files come back as they were written, and say what is wrong with them when they do not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from labelfix import arrayfile
from labelfix.arrayfile import load_arrays, save_arrays
from labelfix.errors import InputError


def test_arrays_and_header_come_back(tmp_path: Path) -> None:
    arrays = {"b": np.arange(6, dtype=np.int32).reshape(2, 3).T, "a": np.array([True, False])}
    save_arrays(tmp_path / "x", arrays, {"fitted_on": "rows", "settings": {"k": 1.5}})
    found, header = load_arrays(tmp_path / "x", "things")
    assert header == {"fitted_on": "rows", "settings": {"k": 1.5}, "schema": 1}
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)


def test_the_same_arrays_give_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        save_arrays(tmp_path / name, {"a": np.ones(3), "b": np.zeros(2)}, {"z": 1, "y": {"k": 2}})
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


@pytest.mark.parametrize("damage", ["cut", "other", "lacks"])
def test_a_damaged_file_is_named_with_a_remedy(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "x"
    save_arrays(path, {"a": np.ones(3)}, {})
    if damage != "lacks":
        path.write_bytes(path.read_bytes()[:-4] if damage == "cut" else b"something else")
    with pytest.raises(InputError, match=r"the saved things cannot be read .*scan again"):
        load_arrays(path, "things", ("a", "b") if damage == "lacks" else ())


@pytest.mark.parametrize("names", [(), ("a", "b")])
def test_a_file_in_which_one_byte_is_another_is_damaged(tmp_path: Path, names: tuple[str, ...]) -> None:
    path = tmp_path / "x"
    save_arrays(path, {"a": np.ones(3), "b": np.zeros(2)}, {})
    held = bytearray(path.read_bytes())
    held[-3] ^= 1
    path.write_bytes(held)
    with pytest.raises(InputError, match="the saved things are damaged: they are not what was written"):
        load_arrays(path, "things", names)


def test_a_newer_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(arrayfile, "SCHEMA", 2)
    save_arrays(tmp_path / "x", {"a": np.ones(3)}, {})
    monkeypatch.setattr(arrayfile, "SCHEMA", 1)
    with pytest.raises(InputError, match=r"newer labelfix \(schema 2\); upgrade"):
        load_arrays(tmp_path / "x", "things")
