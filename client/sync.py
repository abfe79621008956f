"""The client for threads and scripts."""

import threading
from collections.abc import Sequence
from typing import Any, Self, TypeVar

import grpc

from onnxpress.client import flows
from onnxpress.client.connection import ADMIN_TIMEOUT_S, INFER_TIMEOUT_S, Call, Connection, Options, open_channel
from onnxpress.client.results import DeployResult, InferResult, ModelStatus
from onnxpress.client.signature import Signatures
from onnxpress.protos.admin_pb2_grpc import AdminStub
from onnxpress.protos.inference_pb2_grpc import GRPCInferenceServiceStub

T = TypeVar("T")


class Client:
    """Calls one onnxpress server, or several behind one address. Threads may share it.

    Owns one connection to the data port and, from the first admin call on, one to the admin port (under `_lock`).
    """

    def __init__(
        self,
        address: str,
        admin_address: str | None = None,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        admin_credentials: grpc.ChannelCredentials | None = None,
        token: str = "",
        actor: str = "",
        options: Options = (),
    ) -> None:
        """Connects at the first call.

        address: the data port, `host:8001`, or any gRPC target. admin_address: by default port 8003 of the same host.
        credentials, admin_credentials: TLS of either port; None: plain text. token: bearer token of the admin port.
        actor: who deploys, for the audit log; by default user@host. options: gRPC channel options of both.
        """
        self._connection = Connection(
            address, admin_address, credentials, admin_credentials, token, actor, tuple(options)
        )
        self._known = Signatures()
        self._lock = threading.Lock()
        self._channel = open_channel(address, credentials, self._connection.channel_options())
        self._stub = GRPCInferenceServiceStub(self._channel)  # type: ignore[no-untyped-call]  # generated code
        self._admin: tuple[grpc.Channel, AdminStub] | None = None

    def __repr__(self) -> str:
        return f"Client({self._connection.address!r})"

    def infer(
        self,
        model: str,
        rows: Any,
        version: int | None = None,
        *,
        outputs: Sequence[str] = (),
        timeout: float = INFER_TIMEOUT_S,
        request_id: str = "",
        priority: str = "",
        route_key: str = "",
        metadata: Sequence[tuple[str, str]] = (),
    ) -> InferResult:
        """The answers of `model` to `rows`: a DataFrame, a 2-D or structured array, a mapping of arrays or dicts.

        Columns are found by name and checked against the model's inputs before anything is sent.
        version: None: the live one. outputs: names of the wanted outputs; empty: all. timeout: seconds for everything,
        retries included. priority: critical, default or sheddable. route_key: equal keys get the same version while
        several are live. Raises RowsError where the rows do not fit, CallError by the server's status.
        """
        order = flows.order(
            model,
            rows,
            version,
            outputs=outputs,
            request_id=request_id,
            priority=priority,
            route_key=route_key,
            timeout=timeout,
            metadata=metadata,
        )
        return self._run(flows.infer(self._known, order))

    def deploy(
        self,
        model: str,
        version: int,
        *,
        reason: str = "",
        expected_epoch: int | None = None,
        allow_breaking: bool = False,
        timeout: float = ADMIN_TIMEOUT_S,
    ) -> DeployResult:
        """Makes `version` live; when it returns, every new request is answered by it.

        expected_epoch: raises ConflictError unless the deployment is at that epoch. Raises RefusedError for a version
        that does not load or does not answer its golden rows, NotFoundError for a missing one.
        allow_breaking: whether callers of the live version may be broken; else RefusedError names what they would miss.
        """
        return self._run(
            flows.deploy(self._known, model, version, reason, expected_epoch, timeout, allow_breaking=allow_breaking)
        )

    def rollback(
        self,
        model: str,
        *,
        reason: str = "",
        expected_epoch: int | None = None,
        dry_run: bool = False,
        timeout: float = ADMIN_TIMEOUT_S,
    ) -> DeployResult:
        """Makes the version that was live before live again; `dry_run` only returns which. Raises like `deploy`."""
        return self._run(flows.rollback(self._known, model, reason, expected_epoch, timeout, dry_run=dry_run))

    def status(self, model: str = "", *, timeout: float = INFER_TIMEOUT_S) -> list[ModelStatus]:
        """The deployment and the versions of one model, or of all."""
        return self._run(flows.status(model, timeout))

    def close(self) -> None:
        """Closes the connections and cancels the calls in flight."""
        self._channel.close()
        with self._lock:
            if self._admin is not None:
                self._admin[0].close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _run(self, flow: flows.Flow[T]) -> T:
        try:
            call = next(flow)
            while True:
                try:
                    response = self._call(call)
                except grpc.RpcError as error:
                    failure = self._connection.failed(call, error)
                    failure.__cause__ = error
                    call = flow.throw(failure)
                else:
                    call = flow.send(response)
        except StopIteration as done:
            result: T = done.value
            return result

    def _call(self, call: Call) -> Any:
        if not call.admin:
            return getattr(self._stub, call.method)(call.request, timeout=call.timeout_s, metadata=call.metadata)
        metadata = (*call.metadata, *self._connection.admin_metadata())
        return getattr(self._admin_stub(), call.method)(call.request, timeout=call.timeout_s, metadata=metadata)

    def _admin_stub(self) -> AdminStub:
        with self._lock:
            if self._admin is None:
                connection = self._connection
                channel = open_channel(connection.admin(), connection.admin_credentials, list(connection.options))
                self._admin = channel, AdminStub(channel)  # type: ignore[no-untyped-call]  # generated code
            return self._admin[1]
