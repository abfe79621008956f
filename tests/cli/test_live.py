"""The live line on a real terminal, and on none."""

import re
import sys

import pytest

from onnxpress.cli.live import LiveLine
from tests.terminal import on_terminal

SCRIPT = """
from onnxpress.cli.live import LiveLine
with LiveLine() as line:
    line.show("one [bold]step\\x1b[2J")
    line.above("a result")
    line.show("another step")
    line.clear()
    line.show("a third")
    raise SystemExit(7)
"""


def test_nothing_is_shown_where_no_terminal_is(capsys: pytest.CaptureFixture[str]) -> None:
    """Files and pipes get neither the line nor what stands above it."""
    with LiveLine() as line:
        assert not line.alive
        line.show("a step")
        line.above("a result")
    assert capsys.readouterr() == ("", "")


def test_a_terminal_gets_its_cursor_back() -> None:
    """Steps are shown as they are, results stay, and the cursor is there again even when the command fails."""
    shown = on_terminal([sys.executable, "-c", SCRIPT])
    assert shown.code == 7
    for part in ("one [bold]step\\x1b[2J", "a result", "another step", "a third"):
        assert part in shown.text
    assert shown.raw.count("\x1b[?25l") == shown.raw.count("\x1b[?25h") == 2


def test_a_narrow_terminal_cuts_off_the_text_and_keeps_the_time() -> None:
    """The line never takes two lines, and its clock can be read."""
    script = f"from onnxpress.cli.live import LiveLine\nwith LiveLine() as line:\n    line.show({'word ' * 20!r})"
    shown = on_terminal([sys.executable, "-c", script], columns=40)
    frames = [frame for frame in re.split(r"[\r\n]+", shown.text) if "word" in frame]
    assert frames
    for frame in frames:
        assert len(frame) <= 40
        assert re.search(r"word ?… 0:00:0\d$", frame.rstrip()), frame
