"""The client for asyncio."""

from collections.abc import Sequence
from typing import Any, Self, TypeVar

import grpc

from onnxpress.client import flows
from onnxpress.client.connection import ADMIN_TIMEOUT_S, INFER_TIMEOUT_S, Call, Connection, Options
from onnxpress.client.results import DeployResult, InferResult, ModelStatus
from onnxpress.client.signature import Signatures
from onnxpress.protos.admin_pb2_grpc import AdminStub
from onnxpress.protos.inference_pb2_grpc import GRPCInferenceServiceStub

T = TypeVar("T")


class AsyncClient:
    """Calls one onnxpress server, or several behind one address, from one event loop.

    Owns one connection to the data port and one to the admin port, each opened by the first call that needs it.
    Cancelling a task cancels its call on the server as well.
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
        self._data: tuple[grpc.aio.Channel, Any] | None = None
        self._admin: tuple[grpc.aio.Channel, Any] | None = None

    def __repr__(self) -> str:
        return f"AsyncClient({self._connection.address!r})"

    async def infer(
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
        return await self._run(flows.infer(self._known, order))

    async def deploy(
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
        return await self._run(
            flows.deploy(self._known, model, version, reason, expected_epoch, timeout, allow_breaking=allow_breaking)
        )

    async def rollback(
        self,
        model: str,
        *,
        reason: str = "",
        expected_epoch: int | None = None,
        dry_run: bool = False,
        timeout: float = ADMIN_TIMEOUT_S,
    ) -> DeployResult:
        """Makes the version that was live before live again; `dry_run` only returns which. Raises like `deploy`."""
        return await self._run(flows.rollback(self._known, model, reason, expected_epoch, timeout, dry_run=dry_run))

    async def status(self, model: str = "", *, timeout: float = INFER_TIMEOUT_S) -> list[ModelStatus]:
        """The deployment and the versions of one model, or of all."""
        return await self._run(flows.status(model, timeout))

    async def close(self) -> None:
        """Closes the connections and cancels the calls in flight."""
        for held in (self._data, self._admin):
            if held is not None:
                await held[0].close(None)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _run(self, flow: flows.Flow[T]) -> T:
        try:
            call = next(flow)
            while True:
                try:
                    response = await self._call(call)
                except grpc.aio.AioRpcError as error:
                    failure = self._connection.failed(call, error)
                    failure.__cause__ = error
                    call = flow.throw(failure)
                else:
                    call = flow.send(response)
        except StopIteration as done:
            result: T = done.value
            return result

    async def _call(self, call: Call) -> Any:
        if not call.admin:
            return await getattr(self._stub(), call.method)(
                call.request, timeout=call.timeout_s, metadata=call.metadata
            )
        metadata = (*call.metadata, *self._connection.admin_metadata())
        return await getattr(self._admin_stub(), call.method)(call.request, timeout=call.timeout_s, metadata=metadata)

    def _stub(self) -> Any:
        if self._data is None:
            connection = self._connection
            channel = _channel(connection.address, connection.credentials, connection.channel_options())
            self._data = channel, GRPCInferenceServiceStub(channel)  # type: ignore[no-untyped-call]  # generated code
        return self._data[1]

    def _admin_stub(self) -> Any:
        if self._admin is None:
            connection = self._connection
            channel = _channel(connection.admin(), connection.admin_credentials, list(connection.options))
            self._admin = channel, AdminStub(channel)  # type: ignore[no-untyped-call]  # generated code
        return self._admin[1]


def _channel(address: str, credentials: grpc.ChannelCredentials | None, options: Options) -> grpc.aio.Channel:
    if credentials is None:
        return grpc.aio.insecure_channel(address, list(options))
    return grpc.aio.secure_channel(address, credentials, list(options))
