"""Nothing leaves the machine, and nothing is written outside the state folder, of the server's own accord."""

from collections.abc import Iterator
from pathlib import Path
from urllib.request import urlopen

import psutil
import pytest

from onnxpress.protos import admin_pb2
from tests.answers import churn_rows, number_rows
from tests.conftest import FRONTS
from tests.inference_calls import DEADLINE_S, administered, connected, request
from tests.model_repository import Models
from tests.server_process import ServerProcess

# Loaded by every Python of the child's process tree before anything else: says what it hears, refuses what leaves.
GUARD = """
import os, sys

LOG = os.open({log!r}, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
LOCAL = ("127.0.0.1", "::1", "localhost", "0.0.0.0", "")


def guard(event, arguments):
    if event == "socket.connect" and isinstance(arguments[1], tuple) and arguments[1][0] not in LOCAL:
        os.write(LOG, ("connect " + repr(arguments[1]) + "\\\\n").encode())
        raise PermissionError("the network is off")
    if event == "socket.getaddrinfo" and arguments[0] not in LOCAL and arguments[0] is not None:
        os.write(LOG, ("resolve " + repr(arguments[0]) + "\\\\n").encode())
        raise PermissionError("the network is off")


sys.addaudithook(guard)
os.write(LOG, b"guarded\\\\n")
"""


def files_below(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


@pytest.fixture(params=FRONTS)
def guarded(request: pytest.FixtureRequest, tmp_path: Path, models: Models) -> Iterator[tuple[ServerProcess, Path]]:
    """A server under the guard with a home and a temporary folder that are empty, and the folder of all of them."""
    guard = tmp_path / "guard"
    guard.mkdir()
    (guard / "sitecustomize.py").write_text(GUARD.format(log=str(guard / "log")).replace("\\\\n", "\\n"))
    for name in ("home", "temporary"):
        (tmp_path / name).mkdir()
    repository = models.copy(tmp_path / "models", "numbers/1", "numbers/2", "churn")
    environment = {
        "PYTHONPATH": str(guard),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(tmp_path / "home"),
        "TMPDIR": str(tmp_path / "temporary"),
        "XDG_CACHE_HOME": "",
        "XDG_CONFIG_HOME": "",
        "XDG_DATA_HOME": "",
    }
    with ServerProcess(repository, front=request.param, environment=environment) as server:
        yield server.ready(), tmp_path


def test_serves_without_a_trace(guarded: tuple[ServerProcess, Path]) -> None:
    """Loaded, asked, deployed, scraped and stopped: no connection but loopback's, no file but the state's."""
    server, folder = guarded
    before = files_below(server.repository)
    with connected(server.grpc) as stub, administered(server.admin) as admin:
        stub.ModelInfer(request({"input": number_rows(5)}), timeout=DEADLINE_S)
        stub.ModelInfer(request(churn_rows(5), "churn"), timeout=DEADLINE_S)
        admin.Deploy(admin_pb2.DeployRequest(model="numbers", version=1), timeout=DEADLINE_S)
    with urlopen(f"http://{server.http}/metrics", timeout=DEADLINE_S) as answer:
        assert b"onnxpress_requests_total" in answer.read()
    # The hook hears Python only; what native code has opened, the kernel tells.
    remotes = {
        connection.raddr.ip for connection in psutil.Process(server.process.pid).net_connections() if connection.raddr
    }
    assert remotes <= {"127.0.0.1", "::ffff:127.0.0.1"}
    assert server.stop() == 0, server.log
    heard = (folder / "guard/log").read_text().splitlines()
    assert set(heard) == {"guarded"}, heard
    assert heard.count("guarded") >= 4, "the server and its three preflights were all guarded"
    assert files_below(folder / "home") == set()
    assert files_below(folder / "temporary") == set()
    written = files_below(server.repository) - before
    assert {name for name in written if not name.startswith(".onnxpress/")} == {"numbers/deployment.json"}


def test_the_guard_guards(tmp_path: Path) -> None:
    """The hook that the other test relies on refuses and reports a connection that leaves the machine."""
    import subprocess
    import sys

    (tmp_path / "sitecustomize.py").write_text(GUARD.format(log=str(tmp_path / "log")).replace("\\\\n", "\\n"))
    script = "import socket; socket.create_connection(('192.0.2.1', 9), 0.1)"
    child = subprocess.run(
        [sys.executable, "-c", script], env={"PYTHONPATH": str(tmp_path)}, capture_output=True, text=True, check=False
    )
    assert "the network is off" in child.stderr
    assert "192.0.2.1" in (tmp_path / "log").read_text()
