"""The grpc.aio servers of the control plane: behind the data port, and on the admin port."""

from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from server.errors import UsageError
from server.settings import MIB, Settings
from server.wire.admin import SERVICE as ADMIN_SERVICE
from server.wire.admin import Admin
from server.wire.health import Health
from server.wire.inference import SERVICE as INFERENCE_SERVICE
from server.wire.inference import Inference

# grpc.aio's stop hands CANCELLED to calls that outlive its grace: watches and streams get this long to end.
GRACE_S = 1.0


class DataServer:
    """Health, reflection and the inference service: on a Unix socket behind a native front, or on the data port."""

    def __init__(self, settings: Settings, health: Health, inference: Inference, socket: str) -> None:
        """`socket`: path of the Unix socket; empty: serve the data port and ModelInfer too. Raises UsageError."""
        self._server = _server(settings)
        health_pb2_grpc.add_HealthServicer_to_server(health, self._server)
        self._server.add_generic_rpc_handlers((inference.handlers(infer=not socket),))
        names = (INFERENCE_SERVICE, health_pb2.DESCRIPTOR.services_by_name["Health"].full_name, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(names, self._server)
        self.port = _bind(self._server, f"unix:{socket}" if socket else f"{settings.host}:{settings.grpc_port}")

    async def start(self) -> None:
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(GRACE_S)


class AdminServer:
    """The admin port, with reflection."""

    def __init__(self, settings: Settings, admin: Admin) -> None:
        """Raises UsageError when the port is taken."""
        self._server = _server(settings)
        self._server.add_generic_rpc_handlers(tuple(admin.handlers()))
        reflection.enable_server_reflection((ADMIN_SERVICE, INFERENCE_SERVICE, reflection.SERVICE_NAME), self._server)
        self.port = _bind(self._server, settings.admin_address)

    async def start(self) -> None:
        await self._server.start()

    async def stop(self) -> None:
        await self._server.stop(GRACE_S)


def _server(settings: Settings) -> Any:
    limit = settings.message_mib_max * MIB
    return grpc.aio.server(
        options=[
            ("grpc.max_receive_message_length", limit),
            ("grpc.max_send_message_length", -1),
            ("grpc.max_concurrent_streams", settings.streams_per_connection_max),
            ("grpc.so_reuseport", 0),
        ]
    )


def _bind(server: Any, address: str) -> int:
    try:
        return int(server.add_insecure_port(address))
    except RuntimeError as error:
        raise UsageError(f"cannot listen on {address}: it is taken or not an address of this machine") from error
