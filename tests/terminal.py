"""A command on a real pseudo terminal: what it writes there, and how it looks."""

import fcntl
import os
import re
import struct
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.server_process import PATIENCE_S, ROOT

ESCAPE = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
COLOUR = re.compile(r"\x1b\[(?:\d+;)*(?:3[0-7]|9[0-7])(?:;\d+)*m")


@dataclass(frozen=True)
class Shown:
    """What was written to the terminal."""

    code: int
    raw: str

    @property
    def text(self) -> str:
        return ESCAPE.sub("", self.raw)

    @property
    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.text.splitlines()]

    @property
    def coloured(self) -> bool:
        return COLOUR.search(self.raw) is not None


def open_terminal(columns: int) -> tuple[int, int]:
    """Our end and the command's end of a terminal that is `columns` wide."""
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
    return ours, theirs


def terminal_environment(extra: Mapping[str, str]) -> dict[str, str]:
    """The environment of a person's shell, without what CI or a test run says about colours and widths."""
    ignored = ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TERM")
    kept = {name: value for name, value in os.environ.items() if name not in ignored}
    return {**kept, "TERM": "xterm-256color", "OMP_NUM_THREADS": "1", **extra}


def on_terminal(command: Sequence[str], columns: int = 80, environment: Mapping[str, str] | None = None) -> Shown:
    """Runs `command` with all three streams on a terminal until it ends."""
    ours, theirs = open_terminal(columns)
    child = subprocess.Popen(
        command, cwd=ROOT, env=terminal_environment(environment or {}), stdin=theirs, stdout=theirs, stderr=theirs
    )
    os.close(theirs)
    raw = b"".join(iter(lambda: read(ours), b""))
    os.close(ours)
    return Shown(child.wait(PATIENCE_S), raw.decode())


def read(ours: int) -> bytes:
    """What the command wrote next; nothing when its end is closed."""
    try:
        return os.read(ours, 65536)
    except OSError:  # EIO: Linux says so when the other end is gone
        return b""


def onnxpress(*words: str) -> list[str]:
    return [sys.executable, "-m", "onnxpress", *words]
