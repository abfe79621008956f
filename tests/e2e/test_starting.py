"""What callers hear between the opening of the ports and the end of loading."""

import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

import grpc
import pytest

from tests.answers import number_rows
from tests.conftest import FRONTS
from tests.inference_calls import DEADLINE_S, connected, request
from tests.model_repository import Models
from tests.server_process import ServerProcess

# The first load waits until somebody writes to the pipe that is named first on the command line.
SLOW_START = """
import pathlib, sys
from onnxpress.__main__ import main
from onnxpress.server.versions.loader import Loader
go, load = pathlib.Path(sys.argv.pop(1)), Loader.load
def slow(self, *arguments):
    Loader.load = load
    go.read_text()
    return load(self, *arguments)
Loader.load = slow
sys.argv.insert(1, "serve")
sys.exit(main())
"""


@pytest.mark.parametrize("front", FRONTS)
def test_a_model_that_is_being_loaded_is_unavailable_and_not_unknown(front: str, models: Models, tmp_path: Path):
    """Clients retry UNAVAILABLE, so a restart is no failure; NOT_FOUND would be one."""
    repository = models.copy(tmp_path / "repository", "numbers/1", "numbers/2", "price/1")
    go = tmp_path / "go"
    os.mkfifo(go)
    message = request({"input": number_rows(1)})
    with ServerProcess(repository, front=front, command=(sys.executable, "-c", SLOW_START, str(go))) as server:
        port = server.wait_for(r"listening: grpc (\d+)")[1]
        with connected(f"127.0.0.1:{port}") as stub:
            for version, state in (("", "version 2 is being loaded"), ("2", "being loaded"), ("1", "not loaded")):
                message.model_version = version
                with pytest.raises(grpc.RpcError) as refused:
                    stub.ModelInfer(message, timeout=DEADLINE_S)
                assert refused.value.code() is grpc.StatusCode.UNAVAILABLE
                assert state in refused.value.details()
            with pytest.raises(grpc.RpcError) as refused:
                stub.ModelInfer(request({}, model="nobody"), timeout=DEADLINE_S)
            assert refused.value.code() is grpc.StatusCode.NOT_FOUND
            assert "there are numbers, price" in refused.value.details()
            go.write_text("go")
            server.ready()
            message.model_version = ""
            assert stub.ModelInfer(message, timeout=DEADLINE_S).model_version == "2"
        assert server.stop() == 0, server.log


@pytest.mark.parametrize("front", FRONTS)
def test_nothing_is_imported_while_it_serves(front: str, models: Models, tmp_path: Path):
    """An import holds the interpreter: numpy.ma, which NumPy fetches when first needed, made callers wait 50 ms."""
    repository = models.copy(tmp_path / "repository", "numbers/1")
    command = (sys.executable, "-X", "importtime", "-m", "onnxpress", "serve")
    with ServerProcess(repository, front=front, command=command) as server:
        server.ready()
        with connected(server.grpc) as stub:
            feeds = [{"input": number_rows(1 + n % 9)} for n in range(99)]
            for call in [stub.ModelInfer.future(request(feed), timeout=DEADLINE_S) for feed in feeds]:
                call.result()
            with pytest.raises(grpc.RpcError):
                stub.ModelInfer(request({}), timeout=DEADLINE_S)
        for path in ("/metrics", "/metrics", "/healthz", "/readyz"):
            urllib.request.urlopen(f"http://{server.http}{path}", timeout=DEADLINE_S).close()
        for path, method, code in (("/nosuch", "GET", 404), ("/metrics", "POST", 405)):
            with pytest.raises(urllib.error.HTTPError) as wrong:
                urllib.request.urlopen(urllib.request.Request(f"http://{server.http}{path}", method=method))
            assert wrong.value.code == code
            wrong.value.close()
        # Before it stops: goodbyes may import what they like.
        served = server.lines[next(n for n, line in enumerate(server.lines) if "ready: " in line) :]
        assert server.stop() == 0, server.log
    assert any(line.startswith("import time:") for line in server.lines)
    assert not [line for line in served if line.startswith("import time:")]


@pytest.mark.parametrize("front", FRONTS)
def test_every_line_of_a_json_log_is_json(front: str, models: Models, tmp_path: Path):
    """From the settings to the stop, a collector can parse whatever the server writes."""
    repository = models.copy(tmp_path / "repository", "price")
    with ServerProcess(repository, "--log-format", "json", front=front).ready() as server:
        assert server.stop() == 0
    records = [json.loads(line) for line in server.lines]
    assert [record["message"].split(":")[0] for record in records][:2] == ["settings", "listening"]
    assert records[0]["settings"]["log"] == {"format": "json", "level": "info"}
    assert records[-1]["message"] == "stopped"


def test_front_grpcio_needs_no_pygrpc_native(models: Models, tmp_path: Path) -> None:
    """Where pygrpc-native cannot be imported, the front grpcio serves calls and streams; the native one says so."""
    repository = models.copy(tmp_path / "repository", "numbers/1")
    command = (sys.executable, "-m", "tests.e2e.planted_server", "no pygrpc-native")
    message = request({"input": number_rows(1)})
    with ServerProcess(repository, front="grpcio", command=command) as server:
        server.ready()
        with connected(server.grpc) as stub:
            assert stub.ModelInfer(message, timeout=DEADLINE_S).model_version == "1"
            (answer,) = stub.ModelStreamInfer(iter([message]), timeout=DEADLINE_S)
            assert answer.infer_response.model_version == "1"
        assert server.stop() == 0, server.log
    with ServerProcess(repository, front="native", command=command) as server:
        server.wait_for("pygrpc_native")
