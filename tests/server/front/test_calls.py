"""In-process calls: what a pump receives of each, and how each call ends."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from onnxpress.server.errors import DrainingError, InvalidRequestError, OverloadedError
from onnxpress.server.front.calls import Calls
from onnxpress.server.serving.front import CALL, CANCEL
from tests.server.serving.bench import FakeObserver

METADATA = (("x-onnxpress-priority", "critical"),)
BYTES_MAX = 10


def calls_of(queued_bytes: Callable[[], int] = lambda: 0, observer: FakeObserver | None = None) -> Calls:
    """Of the running loop."""
    return Calls(asyncio.get_running_loop(), BYTES_MAX, queued_bytes, observer or FakeObserver())


async def started(calls: Calls, payload: bytes = b"rows", **named: Any) -> "asyncio.Task[bytes]":
    """The task of a call that is queued for a pump."""
    task = asyncio.create_task(calls.ask(payload, METADATA, 1.5, **named))
    await asyncio.sleep(0)
    return task


def test_a_pump_receives_the_whole_call() -> None:
    """A pump receives payload, metadata, peer and deadline; its first answer goes to the caller, a second to nobody."""

    async def scenario() -> None:
        calls = calls_of()
        task = await started(calls, peer="ipv4:1")
        ((kind, call, _, payload, _, details),) = calls.receive(256) or []
        assert (kind, payload, details) == (CALL, b"rows", (METADATA, "ipv4:1", 1.5))
        assert calls.answer(call, b"answer")
        assert await task == b"answer"
        assert not calls.answer(call, b"again"), "an answered call takes no other answer"

    asyncio.run(scenario())


def test_a_failure_is_raised_in_the_caller() -> None:
    """`fail` raises the error in the calling coroutine and returns the name of its status to the pump."""

    async def scenario() -> None:
        calls = calls_of()
        task = await started(calls)
        ((_, call, *_),) = calls.receive(256) or []
        assert calls.fail(call, InvalidRequestError("wrong")) == "INVALID_ARGUMENT"
        with pytest.raises(InvalidRequestError, match="wrong"):
            await task

    asyncio.run(scenario())


def test_cancelling_the_caller_cancels_the_call() -> None:
    """Whether a pump has received the call or not, it receives the cancellation; a late answer changes nothing."""

    async def scenario() -> None:
        calls = calls_of()
        task = await started(calls)
        ((_, call, *_),) = calls.receive(256) or []
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert [(event[0], event[1]) for event in calls.receive(256) or []] == [(CANCEL, call)]
        assert not calls.answer(call, b"late")
        early = await started(calls)
        early.cancel()
        await asyncio.gather(early, return_exceptions=True)
        assert [event[0] for event in calls.receive(256) or []] == [CALL, CANCEL]

    asyncio.run(scenario())


def test_unreceived_bytes_are_bounded() -> None:
    """Calls beyond the byte limit are refused as overload, and accepted again after a pump has received some."""

    async def scenario() -> None:
        calls = calls_of()
        whole = await started(calls, bytes(BYTES_MAX + 1))  # when nothing else waits, any size is accepted
        with pytest.raises(OverloadedError, match="limit of 10 bytes"):
            await calls.ask(b"1", (), None)
        calls.receive(256)
        later = await started(calls, b"12345")
        assert not later.done()
        for task in (whole, later):
            task.cancel()
        await asyncio.gather(whole, later, return_exceptions=True)

    asyncio.run(scenario())


def test_queued_bytes_count_too() -> None:
    """Bytes in the lanes' queues count against the same limit."""

    async def scenario() -> None:
        queued = BYTES_MAX - 1
        calls = calls_of(lambda: queued)
        with pytest.raises(OverloadedError, match="all models"):
            await calls.ask(b"12", (), None)
        task = await started(calls, b"1")
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    asyncio.run(scenario())


def test_what_never_reaches_a_pump_is_told_too() -> None:
    """Calls that are refused at once count among the refused, like those that a pump refuses."""

    async def scenario() -> None:
        observer = FakeObserver()
        calls = calls_of(lambda: BYTES_MAX, observer)
        with pytest.raises(OverloadedError):
            await calls.ask(b"1", (), None)
        calls.drain()
        with pytest.raises(DrainingError):
            await calls.ask(b"1", (), None)
        assert observer.codes() == {"RESOURCE_EXHAUSTED": 1, "UNAVAILABLE": 1}

    asyncio.run(scenario())


def test_draining_and_closing() -> None:
    """A draining front refuses new calls; a closed one returns None to every pump."""

    async def scenario() -> None:
        calls = calls_of()
        calls.drain()
        with pytest.raises(DrainingError):
            await calls.ask(b"", (), None)
        calls.close()
        assert [calls.receive(256), calls.receive(256)] == [None, None]

    asyncio.run(scenario())


def test_a_drain_waits_for_open_calls_and_refuses_new_ones() -> None:
    """During a drain an open call is still answered and a new one is refused; `wait_idle` returns after the answer."""

    async def scenario() -> None:
        calls = calls_of()
        task = asyncio.create_task(calls.ask(b"question", (), None))
        events = await asyncio.get_running_loop().run_in_executor(None, calls.receive, 1)
        assert events is not None
        calls.drain()
        with pytest.raises(DrainingError):
            await calls.ask(b"late", (), None)
        idle = asyncio.create_task(calls.wait_idle())
        await asyncio.sleep(0)
        assert not idle.done()
        calls.answer(events[0][1], b"answer")
        assert await task == b"answer"
        await idle

    asyncio.run(scenario())


def test_a_drain_without_calls_is_idle_at_once() -> None:
    """If no call is open, `wait_idle` returns at once."""

    async def scenario() -> None:
        calls = calls_of()
        calls.drain()
        await calls.wait_idle()

    asyncio.run(scenario())


def test_a_failed_call_is_counted_and_not_logged_twice(caplog: pytest.LogCaptureFixture) -> None:
    """`fail` logs nothing: the awaiting coroutine logs the error with its id; a second record would have another id."""

    async def failing() -> None:
        front = calls_of()
        waiting: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        assert front.fail(waiting, ZeroDivisionError("bug")) == "INTERNAL"
        with pytest.raises(ZeroDivisionError):
            await waiting

    asyncio.run(failing())
    assert caplog.records == []
