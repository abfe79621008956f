"""Calls that wait on the control loop, and a drain that waits for them."""

import asyncio

import pytest

from onnxpress.server.errors import DrainingError
from onnxpress.server.front.calls import FutureFront


def test_a_drain_waits_for_open_calls_and_refuses_new_ones() -> None:
    """A call that was taken is answered, however far it had come; the next is refused; then the front is idle."""

    async def run() -> None:
        front = FutureFront(asyncio.get_running_loop())
        asked = asyncio.create_task(front.ask(b"question", None, "peer"))
        events = await asyncio.get_running_loop().run_in_executor(None, front.receive, 1)
        assert events is not None
        front.drain()
        with pytest.raises(DrainingError):
            await front.ask(b"late", None, "peer")
        idle = asyncio.create_task(front.wait_idle())
        await asyncio.sleep(0)
        assert not idle.done()
        front.answer(events[0][1], b"answer")
        assert await asked == b"answer"
        await idle

    asyncio.run(run())


def test_a_drain_of_nothing_is_done() -> None:
    """Where no call is open there is nothing to wait for."""

    async def run() -> None:
        front = FutureFront(asyncio.get_running_loop())
        front.drain()
        await front.wait_idle()

    asyncio.run(run())
