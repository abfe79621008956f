"""The grpc.aio servers of the control plane: behind the data port, and on the admin port."""

from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from onnxpress.server.errors import UsageError
from onnxpress.server.front.tls import Files, server_credentials
from onnxpress.server.rpc.admin import SERVICE as ADMIN_SERVICE
from onnxpress.server.rpc.admin import Admin
from onnxpress.server.rpc.gate import Gate
from onnxpress.server.rpc.health import Health
from onnxpress.server.rpc.inference import SERVICE as INFERENCE_SERVICE
from onnxpress.server.rpc.inference import Inference
from onnxpress.server.rpc.interceptor import GateInterceptor, Refused
from onnxpress.server.settings import MIB, Settings

# Seconds that watches and streams get to end; grpc.aio's stop cancels the calls that are open after that.
GRACE_S = 1.0
# What the native front can decompress, so that fronts and methods agree: not deflate.
COMPRESSION = 1 << grpc.Compression.NoCompression.value | 1 << grpc.Compression.Gzip.value


class DataServer:
    """Health, reflection and the inference service: on a Unix socket behind a native front, or on the data port."""

    def __init__(self, settings: Settings, health: Health, inference: Inference, socket: str) -> None:
        """`socket`: path of the Unix socket; empty: serve the data port and ModelInfer too. Raises UsageError."""
        limit = settings.connections_max
        self._server = _server(settings, [("grpc.max_allowed_incoming_connections", limit)] if limit else [])
        health_pb2_grpc.add_HealthServicer_to_server(health, self._server)
        self._server.add_generic_rpc_handlers((inference.handlers(infer=not socket),))
        names = (INFERENCE_SERVICE, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
        if settings.reflection:
            reflection.enable_server_reflection(names, self._server)
        if socket:
            self.port = _bind(self._server, f"unix:{quote(socket)}")
        else:
            files = Files(settings.tls_cert_file, settings.tls_key_file, settings.tls_client_ca_file)
            self.port = _bind(self._server, f"{settings.host}:{settings.grpc_port}", server_credentials(files))

    async def start(self) -> None:
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(GRACE_S)


class AdminServer:
    """The admin port: every service on it is behind the gate."""

    def __init__(self, settings: Settings, admin: Admin, gate: Gate, refused: Refused) -> None:
        """`refused` is told each call that the gate refuses. Raises UsageError for a port in use."""
        self._server = _server(settings, interceptors=[GateInterceptor(gate, refused)])
        self._server.add_generic_rpc_handlers(tuple(admin.handlers()))
        if settings.reflection:
            names = (ADMIN_SERVICE, INFERENCE_SERVICE, reflection.SERVICE_NAME)
            reflection.enable_server_reflection(names, self._server)
        files = Files(settings.admin_tls_cert_file, settings.admin_tls_key_file, settings.admin_tls_client_ca_file)
        self.port = _bind(self._server, settings.admin_address, server_credentials(files))

    async def start(self) -> None:
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(GRACE_S)


def _server(
    settings: Settings,
    more: Sequence[tuple[str, int]] = (),
    interceptors: "Sequence[grpc.aio.ServerInterceptor[Any, Any]]" = (),
) -> Any:
    options = [
        *more,
        ("grpc.max_receive_message_length", settings.message_mib_max * MIB),
        ("grpc.max_send_message_length", -1),
        ("grpc.compression_enabled_algorithms_bitset", COMPRESSION),
        ("grpc.max_concurrent_streams", settings.streams_per_connection_max),
        ("grpc.so_reuseport", 0),
        ("grpc.keepalive_time_ms", settings.keepalive_s * 1000),
        ("grpc.keepalive_timeout_ms", settings.keepalive_timeout_s * 1000),
        # Clients may send keepalive pings as often as the server.
        ("grpc.http2.min_ping_interval_without_data_ms", settings.keepalive_s * 1000),
    ]
    if settings.connection_age_s:
        options.append(("grpc.max_connection_age_ms", settings.connection_age_s * 1000))
    return grpc.aio.server(options=options, interceptors=interceptors)


def _bind(server: Any, address: str, credentials: grpc.ServerCredentials | None = None) -> int:
    try:
        if credentials is not None:
            return int(server.add_secure_port(address, credentials))
        return int(server.add_insecure_port(address))
    except RuntimeError as error:
        raise UsageError(f"cannot listen on {address}: it is taken or not an address of this machine") from error
