"""What the inference service passes on to whoever decides: metadata, above all."""

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import pytest

from onnxpress.protos.inference_pb2 import ModelInferResponse
from onnxpress.server.front.calls import Calls
from onnxpress.server.rpc.inference import Inference

METADATA = (("x-onnxpress-priority", "critical"), ("route-key", "cust-1"), ("trace-bin", b"\0"))
CONTEXT: Any = SimpleNamespace(peer=lambda: "ipv4:1", time_remaining=lambda: 2.5, invocation_metadata=lambda: METADATA)


async def payloads() -> AsyncIterator[bytes]:
    yield b"payload"


@pytest.mark.parametrize("way", ["call", "stream"])
def test_metadata_reaches_the_pump(way: str) -> None:
    """Priority and route key of a call through grpc.aio, and of each request of a stream, are not lost on the way."""

    async def scenario() -> None:
        nobody: Any = None
        calls = Calls(asyncio.get_running_loop(), 100, lambda: 0, nobody)
        inference = Inference("1", 10, nobody, nobody, nobody, calls)

        async def ask() -> None:
            if way == "call":
                await inference.model_infer(b"payload", CONTEXT)
            else:
                _ = [answer async for answer in inference.model_stream_infer(payloads(), CONTEXT)]

        task = asyncio.create_task(ask())
        ((_, call, _, payload, _, details),) = await asyncio.to_thread(calls.receive, 256) or []
        assert (payload, details) == (b"payload", (METADATA, "ipv4:1", 2.5))
        calls.answer(call, ModelInferResponse(model_name="m").SerializeToString())
        await task

    asyncio.run(scenario())
