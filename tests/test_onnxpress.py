import os
import subprocess
import sys
from pathlib import Path

import pytest

import onnxpress
from onnxpress import __main__ as entry

ROOT = Path(__file__).parents[1]
# A room that says more than a pipe holds, and one whose own pipe breaks while standard output has a reader.
TALKATIVE = "print('a line\\n' * 100_000)"
BROKEN = "raise BrokenPipeError('the room')"
# Buffered, as at a shell: then it is the last flush that fails.
BUFFERED = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


def run(monkeypatch: pytest.MonkeyPatch, module: str, extra: str) -> int:
    monkeypatch.setitem(entry.COMMANDS, "convert", (module, extra, "a line of help"))
    monkeypatch.setattr(sys, "argv", ["onnxpress", "convert"])
    return entry.main()


def test_a_room_that_is_not_in_the_image_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    """The serving image has no converters: `onnxpress convert` there says so, without a trace."""
    assert run(monkeypatch, "no_such_room.cli", "convert") == 2
    said = capsys.readouterr().err
    assert said == "onnxpress: convert needs no_such_room, which is not installed: pip install 'onnxpress[convert]'\n"


def test_a_hole_in_an_installed_room_is_a_fault_of_ours(monkeypatch: pytest.MonkeyPatch):
    """A module that is missing where its room exists would not be cured by an extra; the trace is wanted."""
    with pytest.raises(ModuleNotFoundError, match=r"onnxpress\.no_such_module"):
        run(monkeypatch, "onnxpress.no_such_module", "convert")


@pytest.mark.parametrize("arguments", [[], ["--help"], *([command, "--help"] for command in entry.COMMANDS)])
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
    """`onnxpress status` in a process of its own, with a room whose `main` is `body`."""
    code = (
        "import sys, types\nfrom onnxpress import __main__ as entry\n"
        "room = sys.modules['room'] = types.ModuleType('room')\n"
        f"def main(argv):\n    {body}\n    return 0\n"
        "room.main = main\n"
        "entry.COMMANDS['status'] = ('room', '', '')\n"
        "sys.argv = ['onnxpress', 'status']\n"
        "sys.exit(entry.main())\n"
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


def test_the_public_names_are_there_and_import_nothing_before_they_are_used():
    """`import onnxpress` costs a server none of the converters' dependencies; `onnxpress.convert` is the function."""
    assert {"convert", "ConversionRefused", "Package"} <= set(dir(onnxpress))
    child = "import onnxpress, sys; assert 'pandas' not in sys.modules; print(onnxpress.convert.__name__)"
    said = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True)
    assert said.stdout == "convert\n"
    with pytest.raises(AttributeError, match="no_such_name"):
        onnxpress.no_such_name  # noqa: B018 -- the attribute is the test
