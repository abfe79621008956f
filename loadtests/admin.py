"""Checks that the server is ready, and makes the hot swaps of a test through the admin port."""

from collections.abc import Callable
from itertools import cycle

import gevent
import grpc

from onnxpress.loadtests.errors import UnreachableError
from onnxpress.loadtests.generator.transport import CONNECT_SECONDS, OPTIONS
from onnxpress.loadtests.settings import Settings
from onnxpress.loadtests.verdict.swaps import Swap
from onnxpress.protos.admin_pb2 import DeployRequest, GetDeploymentRequest
from onnxpress.protos.admin_pb2_grpc import AdminStub
from onnxpress.protos.inference_pb2 import ModelReadyRequest
from onnxpress.protos.inference_pb2_grpc import GRPCInferenceServiceStub

DEPLOY_SECONDS = 60.0  # a large model takes long to load
CALL_SECONDS = 10.0
REASON = "onnxpress loadtest swap"


def connect(target: str) -> grpc.Channel:
    """A ready channel. Raises UnreachableError."""
    channel = grpc.insecure_channel(target, options=OPTIONS)
    try:
        grpc.channel_ready_future(channel).result(timeout=CONNECT_SECONDS)
    except grpc.FutureTimeoutError:
        channel.close()
        raise UnreachableError.at(target, CONNECT_SECONDS) from None
    return channel


def check_ready(settings: Settings) -> None:
    """Raises UnreachableError unless the server answers and serves every model of the test."""
    channel = connect(settings.target)
    try:
        stub = GRPCInferenceServiceStub(channel)  # type: ignore[no-untyped-call] # generated
        for model in settings.expected_versions():
            try:
                ready = stub.ModelReady(ModelReadyRequest(name=model), timeout=CALL_SECONDS).ready
            except grpc.RpcError as error:
                raise UnreachableError(f"{settings.target} about model {model!r}: {error.details()}") from error
            if not ready:
                raise UnreachableError(f"{settings.target} has model {model!r} not ready")
    finally:
        channel.close()


class Swapper:
    """Deploys the versions of the first package's model in turns, and notes when."""

    def __init__(self, settings: Settings, now: Callable[[], float]) -> None:
        self.swaps: list[Swap] = []
        self._settings = settings
        self._now = now
        self._channel = connect(settings.admin)
        self._admin = AdminStub(self._channel)  # type: ignore[no-untyped-call] # generated
        self._model = settings.packages[0].model
        self._greenlet: gevent.Greenlet | None = None
        self._versions = sorted(settings.expected_versions()[self._model])
        self.first = self._live_version()

    def __repr__(self) -> str:
        return f"Swapper({self._model}, {len(self.swaps)} swaps)"

    def _live_version(self) -> int:
        """The live version; one of those under test is made live first where another is. Raises UnreachableError."""
        try:
            request = GetDeploymentRequest(model=self._model)
            live = int(self._admin.GetDeployment(request, timeout=CALL_SECONDS).live_version)
            if live not in self._versions:
                live = self._versions[0]
                self._deploy(live)
        except grpc.RpcError as error:
            raise UnreachableError(f"admin port {self._settings.admin}: {error.details()}") from error
        return live

    def _deploy(self, version: int) -> None:
        request = DeployRequest(model=self._model, version=version, reason=REASON)
        self._admin.Deploy(request, timeout=DEPLOY_SECONDS)

    def start(self, begin: float, end: float) -> None:
        """Swaps from `begin` to `end`, in seconds of the test, in a greenlet."""
        self._greenlet = gevent.spawn(self._run, begin, end)

    def _run(self, begin: float, end: float) -> None:
        start = self._versions.index(self.first) + 1
        order = cycle(self._versions[start:] + self._versions[:start])
        every = self._settings.swap_every
        at = begin + every
        # The last swap leaves room to see what came after it.
        while at < end - min(1.0, every / 2):
            gevent.sleep(max(at - self._now(), 0))
            version, called, problem = next(order), self._now(), ""
            try:
                self._deploy(version)
            except grpc.RpcError as error:
                problem = f"{error.code().name}: {error.details()}"
            self.swaps.append(Swap(version, called, self._now(), problem))
            at = max(at + every, self._now())

    def stop(self) -> None:
        if self._greenlet:
            self._greenlet.kill()
        self._channel.close()
