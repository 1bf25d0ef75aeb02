"""The run directory: whole files only, one run a directory, and nothing of the user's is touched."""

from __future__ import annotations

import errno
import json
from pathlib import Path

import pytest

from labelfix.errors import InputError, UsageError
from labelfix.rundir import SCHEMA, OutputError, RunDir, writing

IDENTITY = {"manifest": "abc", "recipe": {"seed": 0}, "correctors": ["tmlc"]}


def test_a_file_appears_whole_or_not_at_all(tmp_path):
    with writing(tmp_path / "a.txt") as temporary:
        temporary.write_text("whole")
        assert not (tmp_path / "a.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_while_writing_leaves_the_old_file_and_no_other(error, tmp_path):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(error), writing(tmp_path / "a.txt") as temporary:
        temporary.write_text("half")
        raise error
    assert [path.read_text() for path in tmp_path.iterdir()] == ["old"]


def test_a_place_that_cannot_be_written_is_named_with_the_remedy(tmp_path):
    with (
        pytest.raises(OutputError, match=r"missing/a\.txt: cannot be written \(No such file"),
        writing(tmp_path / "missing" / "a.txt") as temporary,
    ):
        temporary.write_text("x")


def test_a_run_begun_is_found_again_by_the_same_run_only(tmp_path):
    run = RunDir(tmp_path / "run")
    assert run.begin(IDENTITY, resume=False)["finished"] is False
    assert run.begin(IDENTITY, resume=True)["manifest"] == "abc"
    with pytest.raises(UsageError, match=r"holds an unfinished run of the same data; add --resume"):
        run.begin(IDENTITY, resume=False)
    with pytest.raises(UsageError, match=r"holds another run \(different recipe\)"):
        run.begin({**IDENTITY, "recipe": {"seed": 1}}, resume=True)


def test_what_a_kill_before_the_first_file_leaves_is_no_obstacle(tmp_path):
    (tmp_path / "state").mkdir()
    (tmp_path / ".run.json.7.tmp").write_text("{")
    run = RunDir(tmp_path)
    run.begin(IDENTITY, resume=False)
    run.sweep()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.json", "state"]


def test_a_directory_of_the_users_is_refused_and_left_alone(tmp_path):
    (tmp_path / "thesis.tex").write_text("years")
    with pytest.raises(UsageError, match="is not empty and holds no labelfix run"):
        RunDir(tmp_path).begin(IDENTITY, resume=True)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.tex"]


def test_an_input_error_before_the_first_result_gives_the_directory_up(tmp_path):
    run = RunDir(tmp_path / "run")
    run.begin(IDENTITY, resume=False)
    with pytest.raises(InputError), run.withdrawn_on_error():
        raise InputError("mend this")
    assert not run.path.exists()


@pytest.mark.parametrize("result", ["neighbours.safetensors", "state/tmlc.safetensors", "notes.txt"])
def test_a_directory_with_results_or_foreign_files_is_never_given_up(result, tmp_path):
    run = RunDir(tmp_path / "run")
    run.begin(IDENTITY, resume=False)
    (run.path / result).write_text("work")
    with pytest.raises(InputError), run.withdrawn_on_error():
        raise InputError("mend this")
    assert (run.path / result).read_text() == "work"


def test_an_interrupt_keeps_the_directory_for_resuming(tmp_path):
    run = RunDir(tmp_path / "run")
    run.begin(IDENTITY, resume=False)
    with pytest.raises(KeyboardInterrupt), run.withdrawn_on_error():
        raise KeyboardInterrupt
    assert run.begin(IDENTITY, resume=True)["finished"] is False


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{", "damaged"),
        (json.dumps({"schema": SCHEMA + 1}), "written by a newer labelfix"),
        (None, "no labelfix run"),
    ],
)
def test_a_record_that_cannot_be_used_says_why(text, said, tmp_path):
    if text is not None:
        (tmp_path / "run.json").write_text(text)
    with pytest.raises(InputError, match=said):
        RunDir(Path(tmp_path)).read()


def test_a_read_only_file_system_is_named_and_no_bug(tmp_path, monkeypatch):
    """There nothing can be removed either."""

    def refuse(self, *_, **__):
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(Path, "write_text", refuse)
    monkeypatch.setattr(Path, "unlink", refuse)
    said = r"f\.csv: cannot be written \(Read-only file system\); make it writable"
    with pytest.raises(OutputError, match=said), writing(tmp_path / "f.csv") as temporary:
        temporary.write_text("x")
