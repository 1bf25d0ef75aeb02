"""A policy says what it means, and a mistake in it is named."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest

from labelfix.errors import UsageError
from labelfix.gating.policy import Limits, Policy


def written(tmp_path, text):
    (tmp_path / "labelfix.toml").write_text(text, encoding="utf-8")
    return tmp_path / "labelfix.toml"


def test_every_table_is_read(tmp_path):
    policy = Policy.read(
        written(
            tmp_path,
            '[limits]\nerror_rate = 0.1\n[levels]\nerror_rate = "fail"\nunreadable_rate = "off"\n'
            '[gate]\nconfidence = "strict"\nmin_rows = 10\ncolumns = ["camera"]\n',
        )
    )
    assert (policy.error_rate, policy.error_rate_above_reference) == (0.1, 0.03)
    assert policy.level("error_rate", compares=True) == "fail"
    assert policy.level("unreadable_rate", compares=True) == "off"
    assert (policy.confidence, policy.min_rows, policy.columns) == (0.2, 10, ("camera",))


def test_the_rate_itself_fails_only_where_no_reference_says_what_is_usual():
    assert Policy().level("error_rate", compares=False) == "fail"
    assert Policy().level("error_rate", compares=True) == "warn"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("[limits]\nerror_rat = 0.1", "'error_rat'; did you mean 'error_rate'"),
        ("[limit]\nerror_rate = 0.1", "'limit'; did you mean 'limits'"),
        ("[gate]\nconfidence = 2", "gate.confidence is 2"),
        ("[gate]\nconfidence = 0", "between 0 and 1"),
        ('[gate]\nconfidence = "strikt"', "did you mean 'strict'"),
        ('[limits]\nerror_rate = "5 %"', "limits.error_rate is '5 %'"),
        ("[limits]\nerror_rate = true", "limits.error_rate is True"),
        ("[limits]\nerror_rate = 1.5", "limits.error_rate is 1.5"),
        ('[levels]\nerror_rate = "error"', "must be fail, warn or off"),
        ("[levels]\nerror_rate = []", "must be fail, warn or off"),
        ("[gate]\nmin_rows = 0.5", "whole number"),
        ('[gate]\ncolumns = "camera"', "list of names"),
        ("limits = 3", "must be a table"),
        ("[limits\n", "is no TOML"),
    ],
)
def test_a_mistake_is_one_sentence_that_names_the_file_and_the_key(tmp_path, text, says):
    path = written(tmp_path, text)
    with pytest.raises(UsageError) as raised:
        Policy.read(path)
    assert says in str(raised.value)
    assert str(path) in str(raised.value)
    assert "\n" not in str(raised.value).split("is no TOML")[0]


def test_a_policy_in_python_has_the_same_names():
    assert Policy(error_rate=0.02, min_rows=5).error_rate == 0.02
    with pytest.raises(UsageError, match=r"limits\.error_rate is 3"):
        Policy(error_rate=3)


def test_the_example_policy_has_every_key_with_its_default():
    path = Path(__file__).parent.parent.parent / "examples" / "ci" / "labelfix.toml"
    example, default = Policy.read(path), Policy()
    text = path.read_text(encoding="utf-8")
    for one in fields(Policy):
        if one.name not in {"levels", "source"}:
            assert getattr(example, one.name) == getattr(default, one.name)
            assert f"\n{one.name} = " in text
    assert {name: default.level(name, compares=True) for name in example.levels} == example.levels
    assert set(example.levels) == {one.name for one in fields(Limits)}
