"""`onnxpress serve`: which repository, and what a terminal shows while it starts."""

import os
import signal
import subprocess
from pathlib import Path

import pytest

from onnxpress.__main__ import main
from tests.model_repository import Models
from tests.server_process import PATIENCE_S, ROOT
from tests.terminal import ESCAPE, onnxpress, open_terminal, read, terminal_environment

PORTS = ("--host", "127.0.0.1", "--grpc-port", "0", "--http-port", "0", "--admin-address", "127.0.0.1:0")


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ((), "no repository: give --repository, the folder of all models"),
        (("nowhere",), "repository 'nowhere' is not a folder"),
        (("--repository", "nowhere"), "repository 'nowhere' is not a folder"),
        (("a", "--repository", "b"), "two repositories: a and --repository b"),
        (("a", "b"), "Got unexpected extra argument (b)"),
    ],
)
def test_the_repository_is_an_argument_or_a_flag(
    words: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """`serve models/` and `serve --repository models/` are the same; two different ones are refused."""
    assert main(["serve", *words]) == 2
    assert capsys.readouterr().err == f"onnxpress serve: {told}\n"


def test_a_terminal_shows_which_version_loads(models: Models, tmp_path: Path) -> None:
    """On a terminal the log stands above a line that names what loads; when all is loaded the line is gone."""
    repository = models.copy(tmp_path / "repository", "numbers/1", "price/1")
    ours, theirs = open_terminal(columns=100)
    child = subprocess.Popen(
        onnxpress("serve", str(repository), *PORTS),
        cwd=ROOT, env=terminal_environment({}), stdin=subprocess.DEVNULL, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    raw = b""
    while b"ready: numbers, price" not in raw:
        more = read(ours)
        assert more, raw.decode()
        raw += more
    child.send_signal(signal.SIGTERM)
    raw += b"".join(iter(lambda: read(ours), b""))
    os.close(ours)
    assert child.wait(PATIENCE_S) == 0
    text = ESCAPE.sub("", raw.decode())
    assert "loading numbers version 1" in text
    assert "loading price version 1" in text
    assert "model 'numbers' version 1 is ready" in text
    after = raw[raw.index(b"ready: numbers, price") :]
    assert b"loading" not in after
    assert raw.count(b"\x1b[?25l") == raw.count(b"\x1b[?25h") > 0, "the cursor is given back each time"
