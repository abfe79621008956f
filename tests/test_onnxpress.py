"""The command `onnxpress` itself, and the names that `import onnxpress` offers."""

import os
import subprocess
import sys
from pathlib import Path

import click
import pytest

import onnxpress
from onnxpress import __main__ as command
from tests.server_process import PATIENCE_S, ROOT

# A room that says more than a pipe holds, and one whose own pipe breaks while standard output has a reader.
TALKATIVE = "print('a line\\n' * 100_000)"
BROKEN = "raise BrokenPipeError('the room')"
# Buffered, as at a shell: then it is the last flush that fails.
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
# What takes longer to import than --help may take.
HEAVY = ("grpc", "google", "numpy", "pandas", "onnx", "onnxruntime", "rich", "locust", "uvloop", "asyncio", "argparse")
HELP_ONLY = ("onnxpress.converters", "onnxpress.server", "onnxpress.loadtests", "argparse", "asyncio")


def run(monkeypatch: pytest.MonkeyPatch, module: str, extra: str) -> int:
    monkeypatch.setitem(command.COMMANDS, "convert", (module, extra, "a line of help"))
    return command.main(["convert"])


def test_a_room_that_is_not_in_the_image_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """The serving image has no converters: `onnxpress convert` there says so, without a trace."""
    assert run(monkeypatch, "no_such_room.cli", "convert") == 2
    said = capsys.readouterr().err
    assert said == "onnxpress: convert needs no_such_room, which is not installed: pip install 'onnxpress[convert]'\n"
    assert run(monkeypatch, "onnxpress.no_such_room.cli", "convert") == 2
    assert "convert needs onnxpress.no_such_room, which is not installed" in capsys.readouterr().err


@pytest.mark.parametrize("module", ["onnxpress.no_such_module", "onnxpress.converters.no_such_module"])
def test_a_hole_in_an_installed_room_is_a_fault_of_ours(monkeypatch: pytest.MonkeyPatch, module: str):
    """A module that is missing where its room exists would not be cured by an extra; the trace is wanted."""
    with pytest.raises(ModuleNotFoundError, match="no_such_module"):
        run(monkeypatch, module, "convert")


def test_a_framework_that_a_command_needs_when_it_runs_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """A room imports its libraries late; what is missing then is told as what is missing at once."""

    class Room:
        @click.command
        @staticmethod
        def convert() -> None:
            raise ModuleNotFoundError("No module named 'pandas'", name="pandas")

    monkeypatch.setitem(sys.modules, "room", Room)
    assert run(monkeypatch, "room", "convert") == 2
    told = "onnxpress: convert needs pandas, which is not installed: pip install 'onnxpress[convert]'\n"
    assert capsys.readouterr().err == told


def test_the_public_names_are_there_and_import_nothing_before_they_are_used():
    """`import onnxpress` costs a server none of the converters' dependencies; `onnxpress.convert` is the function."""
    assert set(onnxpress.__all__) <= set(dir(onnxpress))
    assert [name for name in onnxpress.__all__ if getattr(onnxpress, name).__name__ != name] == []
    child = "import onnxpress, sys; assert 'pandas' not in sys.modules; print(onnxpress.convert.__name__)"
    said = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True)
    assert said.stdout == "convert\n"
    with pytest.raises(AttributeError, match="no_such_name"):
        onnxpress.no_such_name  # noqa: B018 -- the attribute is the test


def test_the_client_imports_neither_server_nor_frameworks():
    """A caller's process, and a machine without ONNX Runtime or scikit-learn, has the client alone."""
    child = "import onnxpress, sys; onnxpress.Client, onnxpress.AsyncClient, onnxpress.RowsError; print(*sys.modules)"
    modules = subprocess.run([sys.executable, "-c", child], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert "onnxpress.client.sync" in modules.split()
    heavy = ("onnxruntime", "sklearn", "pandas", "onnx", "uvloop", "pygrpc_native", "starlette", "click", "scipy")
    rooms = ("onnxpress.server", "onnxpress.converters", "onnxpress.loadtests", "onnxpress.packages.runtime")
    assert [name for name in modules.split() if name.split(".")[0] in heavy or name.startswith(rooms)] == []


def imported(*words: str) -> set[str]:
    """What `onnxpress WORDS` has imported when it ends."""
    child = f"import sys; from onnxpress.__main__ import main; code = main({list(words)!r}); "
    child += "print(code, *sys.modules, file=sys.stderr)"
    done = subprocess.run([sys.executable, "-c", child], cwd=ROOT, capture_output=True, text=True, check=True)
    code, *modules = done.stderr.split()
    assert code == "0"
    return set(modules)


def test_help_imports_nothing_that_is_heavy():
    """`onnxpress --help` answers within its time because it imports click and nothing else."""
    modules = imported("--help")
    found = {name for name in modules if name.split(".")[0] in HEAVY or name.startswith(HELP_ONLY)}
    assert found == set()


@pytest.mark.parametrize("name", [name for name in command.COMMANDS if name != "loadtest"])
def test_help_of_a_command_imports_no_framework(name: str):
    """So that help and completion of options are quick. `loadtest` checks packages, and needs numpy for it."""
    frameworks = set(HEAVY) - {"google", "argparse", "asyncio"}
    assert {module for module in imported(name, "--help") if module.split(".")[0] in frameworks} == set()


def test_the_version_is_told(capsys: pytest.CaptureFixture[str]):
    """`onnxpress --version` prints the name and the version."""
    assert command.main(["--version"]) == 0
    assert capsys.readouterr().out == "onnxpress 0.1.0\n"


def test_no_command_and_an_unknown_one_are_usage(capsys: pytest.CaptureFixture[str]):
    """Without a command the help is printed; an unknown one is one line; both are exit 2."""
    assert command.main([]) == 2
    assert set(command.COMMANDS) <= set(capsys.readouterr().out.split())
    assert command.main(["staus"]) == 2
    said = capsys.readouterr().err
    assert said.startswith("onnxpress: No such command 'staus'.")
    assert said.count("\n") == 1


def test_an_interrupt_is_no_fault(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """Ctrl-C ends a command with a shell's exit code and without a trace."""

    class Room:
        @click.command
        @staticmethod
        def convert() -> None:
            raise KeyboardInterrupt

    monkeypatch.setitem(sys.modules, "room", Room)
    assert run(monkeypatch, "room", "") == 130
    assert capsys.readouterr().err == ""


def complete(shell: str, *words: str) -> list[str]:
    """What `onnxpress` offers for the last of `words`, a line each, as the shell's function asks."""
    line = " ".join(["onnxpress", *words])
    environment = {
        **os.environ, "_ONNXPRESS_COMPLETE": f"{shell}_complete", "COMP_WORDS": line,
        "COMP_CWORD": words[-1] if shell == "fish" else str(len(words)),
    }  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-m", "onnxpress"], cwd=ROOT, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stderr == ""
    return done.stdout.split("\n")


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        (("sta",), "status"),
        (("convert", "--tr"), "--trust-pickle"),
        (("convert", "--layout", "mat"), "matrix"),
        (("serve", "--grpc"), "--grpc-port"),
        (("serve", "--front", "gr"), "grpcio"),
        (("deploy", "--exp"), "--expected-epoch"),
        (("status", "--output", "j"), "json"),
        (("loadtest", "ste"), "steady"),
        (("loadtest", "steady", "--rps-"), "--rps-max"),
    ],
)
@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_complete_commands_options_and_choices(shell: str, words: tuple[str, ...], offered: str):
    """The three completion functions offer what fits, from rooms that are imported for it."""
    assert any(offered in line.replace(",", "\t").split("\t") for line in complete(shell, *words))


def test_completion_of_commands_imports_no_room(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]):
    """The list of commands is offered without their rooms, and a room that is not installed offers nothing."""
    monkeypatch.setenv("_ONNXPRESS_COMPLETE", "bash_complete")
    monkeypatch.setenv("COMP_WORDS", "onnxpress ")
    monkeypatch.setenv("COMP_CWORD", "1")
    monkeypatch.setitem(command.COMMANDS, "convert", ("no_such_room.cli", "convert", "a line of help"))
    assert command.main([]) == 0
    assert [line.split(",")[1] for line in capsys.readouterr().out.split()] == list(command.COMMANDS)
    monkeypatch.setenv("COMP_WORDS", "onnxpress convert --")
    monkeypatch.setenv("COMP_CWORD", "2")
    assert command.main([]) == 0
    assert "--trust-pickle" not in capsys.readouterr().out


def test_bash_completes_with_the_script(tmp_path: Path):
    """A real bash that has read the script offers the commands by the function that it registered."""
    (tmp_path / "onnxpress").write_text(f'#!/bin/sh\nexec "{sys.executable}" -m onnxpress "$@"\n')
    (tmp_path / "onnxpress").chmod(0o755)
    script = (
        'eval "$(_ONNXPRESS_COMPLETE=bash_source onnxpress)"; complete -p onnxpress >/dev/null || exit 9; '
        'COMP_WORDS=(onnxpress rollb); COMP_CWORD=1; _onnxpress_completion onnxpress; echo "${COMPREPLY[@]}"'
    )
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", script], env=environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "rollback\n", "")


@pytest.mark.parametrize("arguments", [[], ["--help"], *([name, "--help"] for name in command.COMMANDS)])
def test_a_reader_that_has_left_is_no_error(arguments: list[str]):
    """Every command ends without a word on standard error, exit code 141, when nobody reads its output any more."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "onnxpress", *arguments],
            cwd=ROOT,
            env=BUFFERED,
            stdout=writer,
            stderr=subprocess.PIPE,
            check=False,
        )
    finally:
        os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")


def child(body: str, **streams: int) -> "subprocess.Popen[bytes]":
    """`onnxpress status` in a process of its own, with a room whose command is `body`."""
    code = (
        "import sys, types, click\n"
        "from onnxpress import __main__ as command\n"
        "room = sys.modules['room'] = types.ModuleType('room')\n"
        f"def status():\n    {body}\n"
        "room.status = click.command(status)\n"
        "command.COMMANDS['status'] = ('room', '', '')\n"
        "sys.exit(command.main(['status']))\n"
    )
    return subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=BUFFERED, stdout=subprocess.PIPE, **streams)


def test_a_reader_that_leaves_in_the_middle_is_no_error():
    """`onnxpress status | head -1`: the line is there, nothing is on standard error, the exit code is SIGPIPE's."""
    with child(TALKATIVE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline() == b"a line\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


def test_both_streams_may_lose_their_reader():
    """`onnxpress status 2>&1 | head -1` ends with the same exit code."""
    with child(TALKATIVE + "; print('too late', file=sys.stderr)", stderr=subprocess.STDOUT) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.stdout.close()
    assert process.returncode == 141


def test_a_broken_pipe_of_a_room_is_a_fault():
    """A pipe that breaks inside a room, while standard output has a reader, is not passed over in silence."""
    with child(BROKEN, stderr=subprocess.PIPE) as process:
        said = process.communicate()[1]
    assert b"BrokenPipeError: the room" in said
    assert process.returncode == 1
