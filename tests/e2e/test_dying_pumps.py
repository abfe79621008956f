"""Pump threads that die in a real server: it goes on while it can, and otherwise ends so that somebody restarts it."""

import sys
import urllib.request
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.answers import number_rows
from tests.conftest import FRONTS
from tests.inference_calls import DEADLINE_S, connected, decode, request, same
from tests.model_repository import Models
from tests.server_process import ServerProcess

PLANTED = (sys.executable, "-m", "tests.e2e.planted_server", "dying pumps")
# What the pump had received when it died is never answered.
FLAGS = ("--drain-finish-s", "0.2")


@pytest.mark.parametrize("front", FRONTS)
def test_pumps_that_die(front: str, models: Models, tmp_path: Path) -> None:
    """A pump that dies is replaced and counted; when all keep dying, the server says NOT_SERVING and exits with 1."""
    repository = models.copy(tmp_path / "repository", "numbers/1")
    feeds = {"input": number_rows(2)}
    name = "native" if front == "native" else "calls"
    with ServerProcess(repository, *FLAGS, front=front, command=PLANTED) as server:
        server.ready()
        with connected(server.grpc) as stub, grpc.insecure_channel(server.grpc) as channel:
            watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(), timeout=DEADLINE_S)
            assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
            # Kept: a future that is collected cancels its call.
            lost = [stub.ModelInfer.future(request(feeds, model="die-once"), timeout=DEADLINE_S)]
            server.wait_for(f"a pump of front {name} died: it is replaced")
            expected = models.answers("numbers/1")(feeds)
            assert same(decode(stub.ModelInfer(request(feeds), timeout=DEADLINE_S)), expected)
            with urllib.request.urlopen(f"http://{server.http}/metrics", timeout=DEADLINE_S) as answer:
                assert f'onnxpress_pump_deaths_total{{front="{name}"}} 1.0' in answer.read().decode()
            lost.append(stub.ModelInfer.future(request(feeds, model="die-always"), timeout=DEADLINE_S))
            assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
            assert server.wait() == 1
        assert "SystemExit: planted" in server.log
        assert "its pump threads kept dying" in server.log
