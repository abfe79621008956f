"""The gate's server, with a script in the place of `onnxpress serve`: it prints what a server logs."""

import sys
from pathlib import Path

import pytest

from onnxpress.ci.served import NotServedError, Served

LISTENING = "2026-01-01 00:00:00,000 INFO x: listening: grpc 4321, http 4322, admin 4323 (front native, 2 run slots)"
READY = "2026-01-01 00:00:00,000 INFO x: ready: churn, tiny"
TIMEOUT_S = 30.0
STAY = "import signal; signal.sigwait([signal.SIGTERM])"


def served(folder: Path, *lines: str, then: str = STAY) -> Served:
    """A server that logs `lines` and goes on with `then`, which by default waits for its end."""
    script = f"for line in {lines!r}: print(line, flush=True)\n{then}"
    block = "import signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"
    return Served([sys.executable, "-c", block + script], folder / "server.log")


def test_a_ready_server_has_a_port(tmp_path):
    """The port is that of the line `listening`, and every line is in the log."""
    with served(tmp_path, LISTENING, READY) as server:
        assert server.port("tiny", TIMEOUT_S) == 4321
        assert server.port("churn", TIMEOUT_S) == 4321
    assert (tmp_path / "server.log").read_text().splitlines() == [LISTENING, READY]


def test_lines_in_json_are_read_too(tmp_path):
    """`--serve-flags '--log-format json'` changes nothing."""
    lines = ('{"level": "INFO", "message": "listening: grpc 7, http 8"}', '{"message": "ready: tiny", "logger": "x"}')
    with served(tmp_path, *lines) as server:
        assert server.port("tiny", TIMEOUT_S) == 7


@pytest.mark.parametrize(
    "error",
    ["2026-01-01 00:00:00,000 ERROR x: model 'tiny' is not served: digest", '{"level": "ERROR", "message": "digest"}'],
)
def test_a_logged_error_is_the_reason(tmp_path, error):
    """A server that logs an error before it is ready does not serve what it should, although it lives on."""
    with served(tmp_path, LISTENING, error, READY) as server, pytest.raises(NotServedError) as failed:
        server.port("tiny", TIMEOUT_S)
    assert str(failed.value) == error


def test_a_server_without_the_model_is_not_ready_for_it(tmp_path):
    """A model whose name another one begins with is not served by that one."""
    with served(tmp_path, LISTENING, READY) as server, pytest.raises(NotServedError, match="without model 'tin'"):
        server.port("tin", TIMEOUT_S)


def test_a_server_that_ends_says_why(tmp_path):
    """The last line is the reason, and nobody waits for the time limit."""
    with served(tmp_path, "onnxpress serve: port in use", then="") as server, pytest.raises(NotServedError) as failed:
        server.port("tiny", TIMEOUT_S)
    assert str(failed.value) == "onnxpress serve: port in use"


def test_a_server_that_is_never_ready_is_given_up(tmp_path):
    """After the time limit the last line is told."""
    with served(tmp_path, LISTENING) as server, pytest.raises(NotServedError, match=r"not ready after 0\.01 s"):
        server.port("tiny", 0.01)
