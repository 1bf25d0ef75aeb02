"""The command line, run as a user runs it."""

from __future__ import annotations

import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest

from labelfix import __version__
from labelfix.cli import cli, run
from labelfix.errors import InconclusiveError, InputError, UsageError

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
COMMANDS = sorted(cli.commands)


def labelfix(*arguments: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "from labelfix.cli import main; main()", *map(str, arguments)],
        capture_output=True,
        text=True,
        encoding="utf-8",
        env={**os.environ, "COLUMNS": "80", "PYTHONIOENCODING": "utf-8", **environment},
        cwd=ROOT,
        check=False,
    )


@pytest.fixture(scope="session")
def readme_scan(tmp_path_factory, cache) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """README's first command, with its results in a temporary directory."""
    (line,) = re.findall(r"^pip install \. && labelfix (scan .*)$", README, re.MULTILINE)
    out = tmp_path_factory.mktemp("scan") / "run"
    words = [str(out) if word == "run" else word for word in shlex.split(line)]
    return out, labelfix(*words, "--cache", cache)


def test_help_imports_nothing_heavy():
    heavy = [
        "torch",
        "pandas",
        "timm",
        "cleanlab",
        "pyarrow",
        "numpy",
        "sklearn",
        "faiss",
        "PIL",
        "fsspec",
        "rich",
    ]
    code = "import sys; from labelfix.cli import run; run(['--help'])"
    code += f"; sys.exit(str([name for name in {heavy} if name in sys.modules]))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "Usage" in done.stdout
    assert done.stderr.strip() == "[]"


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_with_an_example(command, capsys):
    assert run([command, "--help"]) == 0
    shown = capsys.readouterr().out
    assert "Example:" in shown
    assert f"labelfix {command}" in shown.split("Example:")[1]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_says_what_it_does(command):
    for parameter in cli.commands[command].params:
        if isinstance(parameter, click.Option):
            assert parameter.help


@pytest.mark.parametrize("arguments", [["--help"], ["scan", "--help"], ["train", "--help"]])
def test_help_in_the_readme_is_the_real_help(arguments):
    assert f"$ labelfix {' '.join(arguments)}\n{labelfix(*arguments).stdout}```" in README


def test_the_readme_names_every_column_of_findings(readme_scan):
    from labelfix.findings import Findings

    out, _ = readme_scan
    for name in Findings.read(out).table.column_names:
        general = re.sub(r"^(?!cleanlab\.is_issue).*\.", "<name>.", name)
        assert f"`{general}`" in README, f"{name} is not in the README"


def test_version_is_printed(capsys):
    assert run(["--version"]) == 0
    assert capsys.readouterr().out == f"labelfix {__version__}\n"


def test_plugins_lists_what_is_installed_with_its_package(capsys):
    assert run(["plugins"]) == 0
    shown = capsys.readouterr().out
    for name in ("table", "folder", "tmlc", "cleanlab", "aum"):
        assert re.search(rf"^  {name} +labelfix {re.escape(__version__)}$", shown, re.MULTILINE)


@pytest.mark.parametrize(
    "arguments",
    [["scan"], ["scan", "m.csv", "--nonsense"], ["nonsense"], ["scan", "m.csv", "--top", "-1"],
     ["scan", "m.csv", "--precision", "float8"], ["report", "x", "--format", "pdf"], ["meta-train"]],
)  # fmt: skip
def test_bad_usage_exits_2_and_says_what_is_expected(arguments, capsys):
    assert run(arguments) == 2
    assert "Error: " in capsys.readouterr().err


def test_no_command_shows_the_help(capsys):
    run([])
    captured = capsys.readouterr()
    assert "Usage: labelfix" in captured.out + captured.err


def test_a_missing_manifest_exits_3_with_one_line(tmp_path):
    done = labelfix("scan", "no-such-manifest.csv", "-q", "-o", tmp_path / "run")
    assert done.returncode == 3
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith("error: ")
    assert "no-such-manifest.csv" in done.stderr
    assert not (tmp_path / "run" / "findings.parquet").exists()


def test_an_unknown_corrector_exits_2_and_names_the_nearest(tmp_path):
    done = labelfix("scan", "examples/clothing/manifest.csv", "-q", "-c", "tmcl", "-o", tmp_path / "run")
    assert done.returncode == 2
    assert "did you mean 'tmlc'?" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_report_of_no_run_exits_3(tmp_path, capsys):
    assert run(["report", str(tmp_path)]) == 3
    assert capsys.readouterr().err.startswith("error: ")


@pytest.fixture
def failing():
    """Add a command that raises what a test asks for."""

    def add(error: BaseException) -> None:
        def fail() -> None:
            raise error

        cli.add_command(click.Command("fail", callback=fail))

    yield add
    cli.commands.pop("fail", None)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (UsageError("the option is wrong"), 2, "error: the option is wrong\n"),
        (InputError("m.csv: line 3\nis odd"), 3, "error: m.csv: line 3 is odd\n"),
        (InputError("\x1b[2Jm.csv: odd"), 3, "error: \\x1b[2Jm.csv: odd\n"),
        (InconclusiveError("too few rows"), 5, "error: too few rows\n"),
        (MemoryError(), 4, "error: out of memory; try fewer --workers or a smaller --image-size\n"),
        (RuntimeError("CUDA out of memory. Tried"), 4, "error: out of memory; "),
        (ValueError("oops"), 4, "internal error: ValueError: oops (this is a bug: please report it"),
        (SystemError("oops"), 4, "internal error: SystemError"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
        (OSError(28, "No space left on device"), 4, "error: the disk is full\n"),
    ],
)
def test_every_failure_is_one_line_with_its_exit_code(error, code, said, failing, capsys, monkeypatch):
    monkeypatch.delenv("LABELFIX_DEBUG", raising=False)
    failing(error)
    assert run(["fail"]) == code
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith(said)
    assert captured.err.count("\n") == 1


def test_a_traceback_is_shown_only_when_asked_for(failing, capsys, monkeypatch):
    failing(ValueError("oops"))
    monkeypatch.setenv("LABELFIX_DEBUG", "1")
    assert run(["fail"]) == 4
    assert "Traceback" in capsys.readouterr().err
    monkeypatch.setenv("LABELFIX_DEBUG", "0")
    assert run(["fail"]) == 4
    assert "Traceback" not in capsys.readouterr().err


def test_the_readme_scan_finds_most_planted_errors_on_the_first_screen(readme_scan):
    out, done = readme_scan
    assert done.returncode == 0, done.stderr
    truth = (ROOT / "examples/clothing/truth.csv").read_text(encoding="utf-8").splitlines()[1:]
    planted = {line.split(",")[0] for line in truth if line.split(",")[2]}
    suspects = re.findall(r"^ +\d+ +[01]\.\d\d .*?(images/\d+\.jpg)", done.stdout, re.MULTILINE)
    assert len(suspects) == 20
    assert sum(name in planted for name in suspects) >= 14
    assert str(out) in done.stdout.replace("\n", "")


def test_the_scan_says_what_the_reader_chose_and_fits_80_columns(readme_scan):
    _, done = readme_scan
    assert "image column: file_name, label column: label" in done.stdout
    assert "600 rows, 10 classes: all scored" in done.stdout
    assert all(len(line) <= 80 for line in done.stdout.splitlines())


def test_the_scan_is_quiet_about_other_libraries(readme_scan):
    _, done = readme_scan
    assert "Warning" not in done.stderr
    assert "Traceback" not in done.stderr
    assert "\x1b" not in done.stdout + done.stderr  # neither is a terminal here


def test_json_on_standard_output_is_one_document_and_nothing_else(readme_scan, cache, tmp_path):
    out, _ = readme_scan
    done = labelfix(
        "scan", "examples/clothing/manifest.csv", "-o", tmp_path / "run", "--cache", cache, "--json"
    )
    assert done.returncode == 0, done.stderr
    document = json.loads(done.stdout)
    assert document["scored"] == 600
    again = json.loads(labelfix("report", out, "--format", "json").stdout)
    assert again["suspects"] == document["suspects"]


def test_quiet_prints_nothing(readme_scan, cache, tmp_path):
    done = labelfix("scan", "examples/clothing/manifest.csv", "-o", tmp_path / "run", "--cache", cache, "-q")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (tmp_path / "run" / "findings.parquet").exists()


def test_a_report_lists_as_many_as_asked_for_in_every_format(readme_scan):
    out, _ = readme_scan
    assert len(json.loads(labelfix("report", out, "--top", "3", "--format", "json").stdout)["suspects"]) == 3
    assert "## Most suspicious labels" in labelfix("report", out, "--format", "markdown").stdout
    assert "Most suspicious labels" in labelfix("report", out / "findings.parquet").stdout


@pytest.mark.parametrize("more", [[], ["--html", "page.html"]])
def test_a_report_needs_no_torch(readme_scan, tmp_path, more):
    out, _ = readme_scan
    code = f"import sys; from labelfix.cli import run; run(['report', {str(out)!r}, *{more!r}])"
    code += "; sys.exit('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_page_is_made_anew_and_says_how_large_it_is(readme_scan, tmp_path):
    out, _ = readme_scan
    done = labelfix("report", out, "--html", tmp_path / "page.html", "--top", "7")
    assert (done.returncode, done.stdout) == (0, "")
    assert re.search(r"page\.html: 7 of \d+ suspects, 0\.\d MB\n$", done.stderr)
    assert (tmp_path / "page.html").read_text(encoding="utf-8").count('class="card"') == 7
    both = labelfix("report", out, "--html", tmp_path / "page.html", "--top", "2", "--format", "json")
    assert len(json.loads(both.stdout)["suspects"]) == 2


def test_a_page_without_its_images_keeps_the_rows_and_says_so(readme_scan, tmp_path):
    out, _ = readme_scan
    done = labelfix("report", out, "--html", tmp_path / "page.html", "--top", "7", "--images", tmp_path)
    assert done.returncode == 0
    assert done.stderr.endswith("; 7 without an image\n")
    page = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert page.count('class="card"') == 7
    assert page.count("file not found") >= 7
    assert "data:image/" not in page
    lone = labelfix("report", out / "findings.parquet", "--html", tmp_path / "lone.html", "--top", "7")
    assert "7 without an image (the run does not say where its images are; pass --images" in lone.stderr


def test_findings_of_a_newer_version_get_a_page_that_says_so(readme_scan, tmp_path):
    import pyarrow.parquet as pq

    table = pq.read_table(readme_scan[0] / "findings.parquet")
    meta = json.loads(table.schema.metadata[b"labelfix"]) | {"schema": 99}
    path = tmp_path / "findings.parquet"
    pq.write_table(table.replace_schema_metadata({b"labelfix": json.dumps(meta).encode()}), path)
    done = labelfix("report", path, "--html", tmp_path / "page.html")
    assert done.returncode == 3
    assert "written by a newer labelfix (schema 99" in done.stderr
    assert "written by a newer labelfix (schema 99" in (tmp_path / "page.html").read_text(encoding="utf-8")


def test_a_page_for_a_directory_that_is_not_there_exits_2(readme_scan, tmp_path):
    done = labelfix("report", readme_scan[0], "--html", tmp_path / "none" / "page.html")
    assert done.returncode == 2
    assert f"there is no directory {tmp_path / 'none'}" in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_reader_that_goes_away_is_no_error(readme_scan):
    out, _ = readme_scan
    process = subprocess.Popen(
        [sys.executable, "-c", "from labelfix.cli import main; main()", "report", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert process.stderr.read() == b""
    assert process.wait() == 141


@pytest.mark.parametrize(
    ("number", "code", "said"), [(signal.SIGINT, 130, "interrupted"), (signal.SIGTERM, 143, "terminated")]
)
def test_a_stopped_scan_says_how_to_go_on_and_then_does(number, code, said, tmp_path):
    out = tmp_path / "run"
    words = [
        "scan",
        "examples/clothing/manifest.csv",
        "-o",
        str(out),
        "--cache",
        str(tmp_path / "cache"),
        "-q",
    ]
    process = subprocess.Popen(
        [sys.executable, "-c", "from labelfix.cli import main; main()", *words],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    while not (out / "run.json").exists() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(number)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == code, stderr
    assert stderr.startswith(said)
    assert "--resume" in stderr
    assert stderr.count("\n") == 1
    assert not (out / "findings.parquet").exists()
    assert labelfix(*words, "--resume").returncode == 0
    assert (out / "findings.parquet").exists()
