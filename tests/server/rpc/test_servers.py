"""Limits of the grpc.aio servers, on a port of the machine."""

import asyncio
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from onnxpress.server.rpc.health import Health
from onnxpress.server.rpc.inference import Inference
from onnxpress.server.rpc.servers import DataServer
from onnxpress.server.settings import Settings

TIMEOUT_S = 10.0
OWN_CONNECTION = [("grpc.use_local_subchannel_pool", 1)]


def test_connections_are_limited() -> None:
    """With `connections_max` 2 the third connection is refused, and one that closes makes room."""
    settings = Settings(Path(), host="127.0.0.1", grpc_port=0, front="grpcio", connections_max=2, reflection=False)
    nobody: Any = None

    async def check(channel: grpc.aio.Channel, *, wait: bool = False) -> str:
        try:
            stub = health_pb2_grpc.HealthStub(channel)
            await stub.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S, wait_for_ready=wait)
        except grpc.aio.AioRpcError as error:
            return error.code().name
        return "OK"

    async def scenario() -> None:
        data = DataServer(settings, Health(), Inference("1", nobody, nobody, nobody, nobody, nobody), "")
        await data.start()
        channels = [grpc.aio.insecure_channel(f"127.0.0.1:{data.port}", options=OWN_CONNECTION) for _ in range(3)]
        assert [await check(channel) for channel in channels] == ["OK", "OK", "UNAVAILABLE"]
        await channels[0].close()
        assert await check(channels[2], wait=True) == "OK"
        for channel in channels:
            await channel.close()
        await data.stop()

    asyncio.run(scenario())
