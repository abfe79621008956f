"""The end of a server's life: SIGTERM, and starts that cannot succeed."""

import signal
import socket
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from onnxpress.protos import admin_pb2
from onnxpress.server.settings import Settings
from onnxpress.server.wiring import STOP_MARGIN_S
from tests.answers import number_rows
from tests.conftest import FRONTS
from tests.inference_calls import DEADLINE_S, administered, connected, decode, request, same
from tests.model_repository import Models, deploy_on_disk
from tests.server_process import ServerProcess

NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
HELD = 30
HEAVY_ROWS = 3_000


@pytest.mark.parametrize("front", FRONTS)
def test_held_work_finishes(start: Callable[..., ServerProcess], models: Models, front: str) -> None:
    """At SIGTERM health turns, every call that has arrived is answered right, later ones are told, the exit code is 0.

    A call that was still on its way is UNAVAILABLE, which clients retry; nothing is cancelled or cut off.
    """
    server = start("heavy", front=front, flags=("--latency-target-ms", "60000"), tried=True)
    feeds = [{"input": number_rows(HEAVY_ROWS, n)} for n in range(HELD)]
    offline = models.answers("heavy/1")
    with grpc.insecure_channel(server.grpc) as channel, connected(server.grpc) as stub:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        next(watch)
        calls = [stub.ModelInfer.future(request(feed, "heavy"), timeout=DEADLINE_S) for feed in feeds]
        calls[0].result()
        held = [n for n, call in enumerate(calls) if not call.done()]
        server.send(signal.SIGTERM)
        assert next(watch).status == NOT_SERVING
        errors = [call.exception() for call in calls]
    answered = [n for n, error in enumerate(errors) if error is None]
    assert set(held) & set(answered), "nothing was held at the signal: nothing was tested"
    assert all(same(decode(calls[n].result()), offline(feeds[n])) for n in answered)
    told = {(error.code(), error.details()) for error in errors if error is not None}
    assert told <= {(grpc.StatusCode.UNAVAILABLE, "the server is draining")}
    assert server.wait() == 0
    assert "held work is finished" in server.log


@pytest.mark.parametrize("front", FRONTS)
def test_new_work_while_draining(start: Callable[..., ServerProcess], front: str) -> None:
    """While balancers are given time new calls are still answered; afterwards they are UNAVAILABLE until the end."""
    server = start("bare", front=front, flags=("--drain-wait-s", "1"), tried=True)
    asked = request({"input": number_rows(1)}, "bare")
    with connected(server.grpc) as stub, grpc.insecure_channel(server.grpc) as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        next(watch)
        server.send(signal.SIGTERM)
        assert next(watch).status == NOT_SERVING
        assert stub.ModelInfer(asked, timeout=DEADLINE_S).model_version == "1"
        call = stub.ModelInfer.future(asked, timeout=DEADLINE_S)
        while (error := call.exception()) is None:
            call = stub.ModelInfer.future(asked, timeout=DEADLINE_S)
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert server.wait() == 0


@pytest.mark.parametrize("front", FRONTS)
def test_open_streams_and_watches_do_not_hold_it_up(start: Callable[..., ServerProcess], front: str) -> None:
    """Idle streams, health watches and deployment watches end with the server, within its budget."""
    budget_s = 2.0 + STOP_MARGIN_S
    server = start("bare", front=front, flags=("--drain-finish-s", "2"), tried=True)
    with (
        grpc.insecure_channel(server.grpc) as channel,
        connected(server.grpc) as stub,
        administered(server.admin) as admin,
    ):
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        next(watch)
        deployments = admin.WatchDeployments(admin_pb2.WatchDeploymentsRequest())
        assert next(deployments).model == "bare"
        stream = stub.ModelStreamInfer(iter(lambda: next(watch) and request({"input": number_rows(1)}, "bare"), None))
        begun = monotonic()
        assert server.stop() == 0
        assert monotonic() - begun < budget_s
        stream.cancel()
    assert "Traceback" not in server.log
    assert "held work is finished" in server.log


def test_stopped_while_loading(tmp_path: Path, models: Models) -> None:
    """SIGTERM during a load that would take minutes ends the server, and the preflight process, within its budget."""
    from tests.e2e.broken_versions import BROKEN

    repository = models.copy(tmp_path, "numbers/1")
    next(broken for broken in BROKEN if broken.name == "run without an end").spoil(repository / "numbers/1")
    with ServerProcess(repository) as server:
        server.wait_for("listening")
        begun = monotonic()
        assert server.stop() == 0
        assert monotonic() - begun < STOP_MARGIN_S
    assert "Traceback" not in server.log


def test_stopped_while_deploying(start: Callable[..., ServerProcess]) -> None:
    """SIGTERM during a deploy whose preflight would take minutes ends both within the budget; the deploy has failed."""
    from tests.e2e.broken_versions import BROKEN

    server = start("numbers/1")
    (server.repository / "numbers/2").mkdir()
    next(broken for broken in BROKEN if broken.name == "run without an end").spoil(server.repository / "numbers/2")
    with administered(server.admin) as admin:
        watch = admin.WatchDeployments(admin_pb2.WatchDeploymentsRequest(model="numbers"), timeout=DEADLINE_S)
        call = admin.Deploy.future(admin_pb2.DeployRequest(model="numbers", version=2), timeout=DEADLINE_S)
        while not any(v.state == admin_pb2.VERSION_STATE_LOADING for v in next(watch).versions):
            pass
        begun = monotonic()
        assert server.stop() == 0
        assert monotonic() - begun < STOP_MARGIN_S
        assert call.exception(DEADLINE_S).code() in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)
    assert not (server.repository / "numbers/deployment.json").exists()
    assert "Traceback" not in server.log


def test_stops_are_quick(start: Callable[..., ServerProcess]) -> None:
    """An idle server stops without waiting for any of its budgets: every thread is woken."""
    server = start("bare", tried=True)
    server.send(signal.SIGTERM)
    assert server.wait(STOP_MARGIN_S) == 0
    assert "did not" not in server.log


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_ends_it_at_once(start: Callable[..., ServerProcess], second: signal.Signals) -> None:
    """A person who signals twice need not wait for the drain: one line says what is lost, the exit code that it was."""
    server = start("bare", tried=True, flags=("--drain-wait-s", "600"))
    server.send(signal.SIGINT)
    server.wait_for("stopping: not serving")
    server.send(second)
    assert server.wait() == 128 + second
    assert server.lines[-1].endswith("a second signal: ending at once, held work is lost")
    assert "Traceback" not in server.log


@pytest.mark.parametrize("front", FRONTS)
@pytest.mark.parametrize("flag", ["--grpc-port", "--http-port", "--admin-address"])
def test_port_in_use(tmp_path: Path, models: Models, front: str, flag: str) -> None:
    """A port that is taken is one line that names it, and exit 2."""
    repository = models.copy(tmp_path, "bare")
    deploy_on_disk(repository, "bare", live=1)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        value = f"127.0.0.1:{port}" if flag == "--admin-address" else port
        with ServerProcess(repository, flag, value, front=front) as server:
            assert server.wait() == 2
    assert "Traceback" not in server.log
    assert server.lines[-1].startswith(f"onnxpress serve: cannot listen on 127.0.0.1:{port}")


def test_no_repository(tmp_path: Path) -> None:
    """A repository that is not there is one line, and exit 2."""
    with ServerProcess(tmp_path / "nowhere") as server:
        assert server.wait() == 2
    assert len(server.lines) == 1
    assert "nowhere" in server.lines[0]


def test_defaults_fit_the_grace_of_an_orchestrator() -> None:
    """Every wait of a stop together is less than the 30 s that Kubernetes grants by default."""
    settings = Settings(repository=Path())
    assert settings.drain_wait_s + settings.drain_finish_s + STOP_MARGIN_S < 30
