"""`onnxpress serve --log-format json`: whatever is written to standard error is one JSON object a line."""

import json
import socket
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import trustme

from tests.server_process import PATIENCE_S, ROOT, SERVE, ServerProcess


def records(lines: Sequence[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines]


def test_why_it_cannot_start_is_a_record(tmp_path: Path) -> None:
    """A taken port and a missing repository end the log as JSON, with the exit code that they have as text."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = ("--host", "127.0.0.1", "--http-port", str(taken.getsockname()[1]))
        for words, told in (((str(tmp_path), *port), "cannot listen"), (("nowhere",), "'nowhere' is not a folder")):
            done = subprocess.run(
                [*SERVE, *words, "--grpc-port", "0", "--admin-address", "127.0.0.1:0", "--log-format", "json"],
                cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False,
            )  # fmt: skip
            last = records(done.stderr.splitlines())[-1]
            assert (done.returncode, last["level"], last["logger"]) == (2, "CRITICAL", "onnxpress.server.cli.serve")
            assert told in last["message"]


def test_libraries_in_c_write_no_text(start: Callable[..., ServerProcess], tmp_path: Path) -> None:
    """A stranger who speaks plain text to a TLS port makes gRPC's core complain, in text, unless it is told not to."""
    issued = trustme.CA().issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "cert"))
    issued.private_key_pem.write_to_path(str(tmp_path / "key"))
    tls = ("--admin-tls-cert-file", str(tmp_path / "cert"), "--admin-tls-key-file", str(tmp_path / "key"))
    server = start("price", flags=(*tls, "--log-format", "json"))
    host, port = server.admin.split(":")
    with socket.create_connection((host, int(port)), PATIENCE_S) as stranger:
        stranger.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert stranger.recv(100) == b"", "the server hangs up"
    assert server.stop() == 0
    told = [record["message"] for record in records(server.lines)]
    assert sum(message.startswith("settings: ") for message in told) == 1
    assert told[-1] == "stopped"
