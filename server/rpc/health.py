"""grpc.health.v1 Check and Watch.

Our own servicer: grpcio-health-checking's for asyncio forgets the other watchers when one leaves (grpc issue 43403).
"""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, TypeAlias

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

Status = health_pb2.HealthCheckResponse
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
SERVICES = ("", "inference.GRPCInferenceService")


class Health(health_pb2_grpc.HealthServicer):  # type: ignore[misc]  # grpc_health has no types
    """Owned by the control loop: every method runs on it."""

    def __init__(self) -> None:
        self._serving = False
        self._closed = False
        self._changed = asyncio.Condition()

    async def set(self, *, serving: bool) -> None:
        """Sets the status and sends it to every watcher."""
        async with self._changed:
            self._serving = serving
            self._changed.notify_all()

    async def close(self) -> None:
        """Ends every watch, so that none delays the stop."""
        async with self._changed:
            self._closed = True
            self._changed.notify_all()

    @property
    def serving(self) -> bool:
        return self._serving

    def _status(self, service: str) -> int:
        if service not in SERVICES:
            return int(Status.SERVICE_UNKNOWN)
        return int(Status.SERVING if self._serving else Status.NOT_SERVING)

    async def Check(  # noqa: N802 -- the proto's name
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> health_pb2.HealthCheckResponse:
        status = self._status(request.service)
        if status == Status.SERVICE_UNKNOWN:
            await context.abort(grpc.StatusCode.NOT_FOUND, f"unknown service {request.service!r}")
        return Status(status=status)

    async def Watch(  # noqa: N802 -- the proto's name
        self, request: health_pb2.HealthCheckRequest, _context: Context
    ) -> AsyncIterator[health_pb2.HealthCheckResponse]:
        told: int | None = None
        while True:
            async with self._changed:
                while (status := self._status(request.service)) == told and not self._closed:
                    await self._changed.wait()
            if status == told:
                return
            told = status
            yield Status(status=status)
