"""Two processes are restarted one after the other under load; clients with the published configuration lose no call."""

import json
import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from onnxpress.protos.inference_pb2_grpc import GRPCInferenceServiceStub
from tests.answers import number_rows
from tests.conftest import FRONTS
from tests.inference_calls import DEADLINE_S, request
from tests.model_repository import Models, deploy_on_disk
from tests.server_process import ROOT, ServerProcess

CALLERS = 6
CONFIG = (ROOT / "protos/client-service-config.json").read_text()
# Each process must have answered this often between two restarts, so that every caller uses both.
BUSY = 50


class Traffic:
    """Closed loops, each with a channel of its own to both processes, which serve one version each."""

    def __init__(self, ports: list[int], *, retries: bool) -> None:
        self._retries = retries
        self._target = "ipv4:" + ",".join(f"127.0.0.1:{port}" for port in ports)
        self._changed = threading.Condition()
        self._stop = False
        self.answers: Counter[str] = Counter()  # by version, that is by process
        self.failures: Counter[str] = Counter()
        self._pool = ThreadPoolExecutor(CALLERS)
        self._loops = [self._pool.submit(self._loop) for _ in range(CALLERS)]

    def _loop(self) -> None:
        options = (
            ("grpc.service_config", CONFIG),
            ("grpc.enable_retries", int(self._retries)),
            ("grpc.use_local_subchannel_pool", 1),
            ("grpc.default_authority", "onnxpress"),  # without it: both addresses, which is no authority
        )
        asked = request({"input": number_rows(1)})
        with grpc.insecure_channel(self._target, options) as channel:
            stub = GRPCInferenceServiceStub(channel)
            while not self._stop:
                try:
                    version = stub.ModelInfer(asked, timeout=DEADLINE_S).model_version
                except grpc.RpcError as error:
                    self._note(self.failures, f"{error.code()}: {error.details()}")
                else:
                    self._note(self.answers, version)

    def _note(self, counts: Counter[str], what: str) -> None:
        with self._changed:
            counts[what] += 1
            self._changed.notify_all()

    def wait_busy(self) -> None:
        """Until both processes have answered BUSY calls more than now."""
        with self._changed:
            wanted = {version: self.answers[version] + BUSY for version in ("1", "2")}
            assert self._changed.wait_for(
                lambda: all(self.answers[version] >= count for version, count in wanted.items()), DEADLINE_S
            ), f"not both answer: {self.answers}, {self.failures}"

    def end(self) -> None:
        self._stop = True
        for loop in self._loops:
            loop.result(DEADLINE_S)
        self._pool.shutdown()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


@pytest.mark.parametrize(("restarts", "retries"), [(2, False), pytest.param(6, True, marks=pytest.mark.long)])
@pytest.mark.parametrize("front", FRONTS)
def test_a_rolling_restart_loses_no_call(
    tmp_path: Path, models: Models, front: str, restarts: int, *, retries: bool
) -> None:
    """Not one call fails while each of two processes in turn is stopped, started and used again.

    The short form does without retries: to watch health is enough, since a process that says NOT_SERVING still answers.
    """
    ports = [free_port(), free_port()]
    repositories = [models.copy(tmp_path / name, f"numbers/{name}") for name in ("1", "2")]
    for live, repository in enumerate(repositories, 1):
        deploy_on_disk(repository, "numbers", live=live)

    def started(place: int) -> ServerProcess:
        return ServerProcess(repositories[place], "--grpc-port", str(ports[place]), front=front).ready()

    servers = [started(0), started(1)]
    traffic = Traffic(ports, retries=retries)
    try:
        traffic.wait_busy()
        for restart in range(restarts):
            place = restart % 2
            assert servers[place].stop() == 0, servers[place].log
            servers[place] = started(place)
            traffic.wait_busy()
    finally:
        traffic.end()
        for server in servers:
            server.kill()
    failed, calls = traffic.failures.total(), (traffic.answers + traffic.failures).total()
    print(f"{front}: {restarts} restarts, {failed} of {calls} calls failed")
    assert not failed, f"{failed} of {calls} calls failed: {dict(traffic.failures)}"


def test_the_published_configuration_watches_health_and_retries() -> None:
    """A client leaves a process that says NOT_SERVING (gRFC A17), and sends again what a process refused (gRFC A6)."""
    config = json.loads(CONFIG)
    assert config["healthCheckConfig"] == {"serviceName": ""}
    assert config["loadBalancingConfig"] == [{"round_robin": {}}]
    assert "UNAVAILABLE" in config["methodConfig"][0]["retryPolicy"]["retryableStatusCodes"]
