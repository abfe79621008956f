"""The Makefile: what CI runs, what `make help` lists, and the error on a machine without the right Python."""

import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]
CI = ROOT / ".ci/run"


def make(*arguments: str) -> subprocess.CompletedProcess[str]:
    # A make above this one hands its own flags down.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}
    return subprocess.run(
        ["make", *arguments], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_ci_runs_make_test(tmp_path: Path) -> None:
    """From whatever folder it is called, and with its exit code."""
    called = tmp_path / "make"
    called.write_text('#!/bin/sh\necho "$PWD make $*"\nexit 7\n')
    called.chmod(0o755)
    path = os.pathsep.join([str(tmp_path), os.environ["PATH"]])
    done = subprocess.run([CI], cwd=tmp_path, env={"PATH": path}, capture_output=True, text=True, check=False)
    assert done.stdout == f"{ROOT} make test\n"
    assert done.returncode == 7


def test_make_test_is_everything() -> None:
    """Linter, formatter, types and tests."""
    planned = make("-n", "test").stdout
    for step in ("ruff check .", "ruff format --check .", "bin/mypy", "bin/pytest -m 'not long' --numprocesses 2"):
        assert step in planned


def test_help_lists_every_target() -> None:
    """`make help`, which is also what `make` alone runs, has one line for each target that is not a file."""
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert phony
    listed = [line.split(maxsplit=1) for line in make("help").stdout.splitlines()]
    assert sorted(name for name, _ in listed) == sorted(phony[1].split())
    assert make().stdout == make("help").stdout


def test_an_old_python_is_told_in_one_line(tmp_path: Path) -> None:
    """Before anything is installed, and saying how to name another."""
    old = tmp_path / "python"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    done = make("system", f"PYTHON={old}")
    assert done.returncode != 0
    assert done.stderr.splitlines()[0] == "onnxpress needs Python 3.11 or newer; name one: make PYTHON=python3.11"
