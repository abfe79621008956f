"""Health of a server that stops."""

import asyncio
from unittest.mock import Mock

from grpc_health.v1 import health_pb2

from onnxpress.server.rpc.health import Health, Status


def test_watches_end_when_health_closes() -> None:
    """Each is told of the last change first, and then holds nothing up; a watch that comes late is told once."""

    async def run() -> None:
        health = Health()
        await health.set(serving=True)
        watch = health.Watch(health_pb2.HealthCheckRequest(), Mock())
        assert (await anext(watch)).status == Status.SERVING
        await health.set(serving=False)
        await health.close()
        assert [told.status async for told in watch] == [Status.NOT_SERVING]
        late = health.Watch(health_pb2.HealthCheckRequest(), Mock())
        assert [told.status async for told in late] == [Status.NOT_SERVING]

    asyncio.run(run())
