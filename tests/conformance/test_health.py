"""grpc.health.v1 on the data port of both fronts, and reflection on both ports."""

import threading
from collections.abc import Callable, Iterator
from queue import SimpleQueue

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from tests.conftest import FRONTS
from tests.inference_calls import DEADLINE_S
from tests.server_process import ServerProcess

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
SERVICE_UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
INFERENCE = "inference.GRPCInferenceService"


class Watcher:
    """One Watch on a connection of its own, read by a thread."""

    def __init__(self, address: str, service: str = "") -> None:
        self._channel = grpc.insecure_channel(address, [("grpc.use_local_subchannel_pool", 1)])
        self._call = health_pb2_grpc.HealthStub(self._channel).Watch(health_pb2.HealthCheckRequest(service=service))
        self._heard: SimpleQueue[int | grpc.StatusCode] = SimpleQueue()
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self) -> None:
        try:
            for response in self._call:
                self._heard.put(response.status)
        except grpc.RpcError as error:
            self._heard.put(error.code())

    def next(self) -> int | grpc.StatusCode:
        return self._heard.get(timeout=DEADLINE_S)

    def leave(self) -> None:
        self._call.cancel()
        self._thread.join(DEADLINE_S)
        self._channel.close()


@pytest.fixture
def health(server: ServerProcess) -> Iterator[health_pb2_grpc.HealthStub]:
    with grpc.insecure_channel(server.grpc) as channel:
        yield health_pb2_grpc.HealthStub(channel)


@pytest.mark.parametrize("service", ["", INFERENCE])
def test_check(health: health_pb2_grpc.HealthStub, service: str) -> None:
    """A server that is ready says so, as a whole and for the inference service."""
    assert health.Check(health_pb2.HealthCheckRequest(service=service), timeout=DEADLINE_S).status == SERVING


def test_check_of_an_unknown_service(health: health_pb2_grpc.HealthStub) -> None:
    """Health of a service that does not exist is NOT_FOUND, as the health protocol says."""
    with pytest.raises(grpc.RpcError) as caught:
        health.Check(health_pb2.HealthCheckRequest(service="no.Such"), timeout=DEADLINE_S)
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    assert "no.Such" in caught.value.details()


def test_watch_of_an_unknown_service(server: ServerProcess) -> None:
    """Watching a service that does not exist tells SERVICE_UNKNOWN and stays open."""
    watcher = Watcher(server.grpc, "no.Such")
    assert watcher.next() == SERVICE_UNKNOWN
    watcher.leave()
    assert watcher.next() is grpc.StatusCode.CANCELLED


@pytest.mark.parametrize("front", FRONTS)
def test_one_watcher_leaves(start: Callable[..., ServerProcess], front: str) -> None:
    """When one of several watchers leaves, the others still hear that the server stops serving."""
    server = start("bare", front=front, tried=True)
    watchers = [Watcher(server.grpc, service) for service in ("", INFERENCE, "", "")]
    assert [watcher.next() for watcher in watchers] == [SERVING] * 4
    watchers[0].leave()
    watchers[2].leave()
    assert server.stop() == 0
    assert [watchers[1].next(), watchers[3].next()] == [NOT_SERVING, NOT_SERVING]
    for watcher in watchers:
        watcher.leave()


@pytest.mark.parametrize("port", ["grpc", "admin"])
def test_reflection_can_be_switched_off(start: Callable[..., ServerProcess], port: str) -> None:
    """With `reflection = false` neither port describes its services."""
    server = start("bare", flags=("--reflection", "false"), tried=True)
    with grpc.insecure_channel(getattr(server, port)) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = iter([reflection_pb2.ServerReflectionRequest(list_services="")])
        with pytest.raises(grpc.RpcError) as caught:
            next(stub.ServerReflectionInfo(asked, timeout=DEADLINE_S))
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED


@pytest.mark.parametrize("port", ["grpc", "admin"])
def test_reflection(server: ServerProcess, port: str) -> None:
    """Tools can list the services of each port and read the files that describe them."""
    services = {
        "grpc": {"grpc.health.v1.Health", INFERENCE, "grpc.reflection.v1alpha.ServerReflection"},
        "admin": {"onnxpress.v1.Admin", INFERENCE, "grpc.reflection.v1alpha.ServerReflection"},
    }
    request = reflection_pb2.ServerReflectionRequest
    with grpc.insecure_channel(getattr(server, port)) as channel:
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        asked = [request(list_services=""), *(request(file_containing_symbol=name) for name in sorted(services[port]))]
        listed, *files = stub.ServerReflectionInfo(iter(asked), timeout=DEADLINE_S)
    assert {service.name for service in listed.list_services_response.service} == services[port]
    assert all(file.file_descriptor_response.file_descriptor_proto for file in files)
