"""`onnxpress convert` on a terminal and in a pipe."""

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier
from xgboost import XGBRegressor

from onnxpress.__main__ import main
from onnxpress.converters import cli, convert, loading
from tests.documented import check_documented
from tests.terminal import on_terminal

ROWS = pd.DataFrame(np.random.default_rng(0).normal(size=(80, 2)), columns=["größe ü", "alter"])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    model = XGBRegressor(n_estimators=3).fit(ROWS, ROWS["alter"] * 2)
    model.save_model(tmp_path / "model.ubj")
    ROWS.assign(target=1).to_csv(tmp_path / "rows.csv", index=False)
    return tmp_path


def arguments(folder: Path, *more: str) -> list[str]:
    paths = ["convert", str(folder / "model.ubj"), "--sample", str(folder / "rows.csv")]
    return [*paths, "--name", "churn", "--repository", str(folder / "models"), *more]


def test_converts_and_ends_with_a_table(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit code 0, a package on disk, the table on stdout, and nothing on a stderr that is not a terminal."""
    assert main(arguments(folder)) == 0
    said = capsys.readouterr()
    manifest = json.loads((folder / "models" / "churn" / "1" / "manifest.json").read_text())
    assert [feature["name"] for feature in manifest["features"]] == ["größe ü", "alter"]
    assert len(manifest["source"]["digest"]) == 64
    for label in ("package", "size", "trees", "inputs", "outputs", "parity", "1 row", "128 rows"):
        assert any(line.startswith(label) for line in said.out.splitlines())
    assert "exact on" in said.out
    assert said.err == ""


@pytest.mark.parametrize(
    "more",
    [
        ["--version", "0"],
        ["--version", "x"],
        ["--layout", "rows"],
        ["--no-such-flag"],
    ],
)
def test_wrong_usage_exits_with_2(folder: Path, more: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Unknown flags and values are usage errors of one line that names the flag."""
    assert main(arguments(folder, *more)) == 2
    said = capsys.readouterr().err
    assert said.startswith("onnxpress convert: ")
    assert said.count("\n") == 1
    assert more[0] in said


@pytest.mark.parametrize("gone", ["model.ubj", "rows.csv"])
def test_missing_files_exit_with_2(folder: Path, gone: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The error is one line that names the file."""
    (folder / gone).unlink()
    assert main(arguments(folder)) == 2
    assert f"{gone}: no such file" in capsys.readouterr().err


def test_refusals_exit_with_3_and_write_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A sample that lacks a feature is refused with the reason in one line, and no version is written."""
    ROWS[["alter"]].to_csv(folder / "rows.csv", index=False)
    assert main(arguments(folder)) == 3
    refusal = [line for line in capsys.readouterr().err.splitlines() if "refused" in line]
    assert len(refusal) == 1
    assert "größe ü" in refusal[0]
    assert not (folder / "models").exists()


def test_an_existing_version_exits_with_3(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An existing version is refused, since versions are immutable."""
    assert main(arguments(folder, "--version", "4")) == 0
    assert main(arguments(folder, "--version", "4")) == 3
    assert "version 4 of churn exists already" in capsys.readouterr().err


def test_a_repository_that_cannot_be_written_exits_with_3(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The message names the path, and there is no traceback."""
    (folder / "models").write_text("a file where the folder should be")
    assert main(arguments(folder)) == 3
    assert "models" in capsys.readouterr().err


def test_help_of_the_installed_command() -> None:
    """`onnxpress convert --help` explains every flag and exits 0."""
    command = [sys.executable, "-m", "onnxpress", "convert", "--help"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True)
    for flag in ("--sample", "--name", "--repository", "--version", "--trust-pickle", "--trust-type", "--layout"):
        assert flag in shown.stdout
    assert [suffix for suffix in loading.READERS if suffix not in shown.stdout] == []
    assert cli.LAYOUTS == convert.LAYOUTS


def test_json_has_the_documented_keys(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`--output json` prints one object with the keys of docs/cli.md, and numbers as numbers."""
    assert main(arguments(folder, "--output", "json")) == 0
    told = json.loads(capsys.readouterr().out)
    check_documented(told)
    assert told["schema"] == "onnxpress.convert/v1"
    assert told["version"] == 1
    assert told["inputs"] == [{"name": "input", "datatype": "FP32", "shape": [-1, 2]}]
    assert told["package"] == str(folder / "models" / "churn" / "1")
    assert sum(one["rows"] for one in told["generators"]) > 80
    manifest = json.loads((folder / "models" / "churn" / "1" / "manifest.json").read_text())
    assert told["digest"] == manifest["files"]["model.onnx"]["sha256"]


def test_a_terminal_shows_each_step(folder: Path) -> None:
    """On a terminal the stage and each generator's rows and time are shown; the table is on stdout all the same."""
    shown = on_terminal([sys.executable, "-m", "onnxpress", *arguments(folder)], columns=100)
    assert shown.code == 0
    assert "proving" in shown.text
    assert re.search(r"R +80 rows, 0 outside: .* \d+\.\d s", shown.text)
    assert "\x1b[?25h" in shown.raw[shown.raw.rindex("\x1b[?25l") :], "the cursor is given back"
    assert "128 rows" in shown.text


def test_a_narrow_terminal_shows_generator_rows_and_time(folder: Path) -> None:
    """Only the generator's description is cut off."""
    shown = on_terminal([sys.executable, "-m", "onnxpress", *arguments(folder)], columns=40)
    assert shown.code == 0
    assert re.search(r"R  80 of 80 rows, \d\.\d s: .*… 0:00:00", shown.text)


# What runs in the child: a whole conversion, under an audit hook that notes sockets and files opened to write.
CHILD = """
import os, sys
noted = []
def hook(event, arguments):
    if event.startswith("socket.") and event not in ("socket.__new__",):
        noted.append(f"{event} {arguments}")
    named = event == "open" and isinstance(arguments[0], (str, bytes)) and isinstance(arguments[1], str)
    if named and set(arguments[1]) & set("wax+"):
        noted.append(f"write {arguments[0]}")
    if event in ("os.mkdir", "os.rename"):
        noted.append(f"{event} {arguments}")
sys.addaudithook(hook)
from onnxpress.__main__ import main
code = main(sys.argv[1:])
allowed = os.environ["ALLOWED"]
sys.stderr.write("".join(f"NOTED {line}\\n" for line in noted if allowed not in line))
sys.exit(code)
"""


def test_opens_no_connection_and_writes_nothing_but_the_package(folder: Path) -> None:
    """A conversion in an empty home with an audit hook: no socket, no file outside the repository.

    ONNX Runtime's native code raises no audit events: its telemetry is seen by the device id it would leave at home.
    """
    home = folder / "home"
    home.mkdir()
    before = {path for path in folder.rglob("*") if "models" not in path.parts}
    environment = {
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / "cache"),
        "TMPDIR": str(home),
        "ALLOWED": str(folder / "models"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "PATH": "/usr/bin:/bin",
    }
    command = [sys.executable, "-c", CHILD, *arguments(folder)]
    child = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert child.returncode == 0, child.stderr
    assert "NOTED" not in child.stderr
    after = {path for path in folder.rglob("*") if "models" not in path.parts}
    assert after == before


def test_the_child_s_hook_would_see_a_connection() -> None:
    """The hook of the test above records a socket and a file."""
    script = CHILD.replace("from onnxpress.__main__ import main", "main = lambda argv: 0").replace(
        "code = main(sys.argv[1:])",
        "import socket; s = socket.socket(); s.connect_ex(('127.0.0.1', 9)); code = 0; open(os.devnull, 'w').close()",
    )
    child = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, env={"ALLOWED": "nowhere at all"}, check=True
    )
    assert "NOTED socket.connect" in child.stderr
    assert "NOTED write" in child.stderr


def test_models_that_answer_at_random_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A classifier with random answers, from a trusted pickle, is refused with a reason."""
    import joblib

    model = DummyClassifier(strategy="uniform").fit(ROWS, np.arange(80) % 2)
    joblib.dump(model, folder / "model.joblib")
    paths = ["convert", str(folder / "model.joblib"), "--sample", str(folder / "rows.csv"), "--trust-pickle"]
    assert main([*paths, "--name", "dice", "--repository", str(folder / "models")]) == 3
    assert "refused" in capsys.readouterr().err
