"""Answers to calls that an asyncio loop holds: the call *is* the future that its coroutine awaits."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from queue import SimpleQueue

from onnxpress.server.errors import DRAINING_MESSAGE, DrainingError
from onnxpress.server.serving.front import CALL, CANCEL, Event
from onnxpress.server.wire.status import status_of

Call = asyncio.Future[bytes]


class FutureFront:
    """Front of calls that come through grpc.aio: streams always, ModelInfer too where the front is `grpcio`.

    `_waiting` is a thread-safe queue; futures, and the count of those that are open, are touched on their loop only.
    """

    refuses = False  # `open` refuses, before a call waits

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: SimpleQueue[Event | None] = SimpleQueue()
        self._draining = False
        self._open = 0
        self._idle = asyncio.Event()  # draining, and no call is open

    async def ask(self, payload: bytes, time_remaining: float | None, peer: str) -> bytes:
        """Queues a request and waits for its answer. Raises the OnnxpressError that `fail` was called with."""
        with self.open() as call:
            self._waiting.put((CALL, call, 0, payload, None, ((), peer, time_remaining)))
            try:
                return await call
            except asyncio.CancelledError:
                self._waiting.put((CANCEL, call, 0, None, None, None))
                raise

    @contextmanager
    def open(self) -> Iterator[Call]:
        """A call that whoever asks awaits inside; a drain waits for it. Raises DrainingError."""
        if self._draining:
            raise DrainingError(DRAINING_MESSAGE)
        self._open += 1
        try:
            yield self._loop.create_future()
        finally:
            self._open -= 1
            self._note_idle()

    def _note_idle(self) -> None:
        if self._draining and not self._open:
            self._idle.set()

    async def wait_idle(self) -> None:
        """After `drain`: until no call is open."""
        await self._idle.wait()

    def receive(self, most: int) -> list[Event] | None:
        first = self._waiting.get()
        if first is None:
            self._waiting.put(None)  # for the other pumps
            return None
        events = [first]
        while len(events) < most and not self._waiting.empty():
            event = self._waiting.get()
            if event is None:
                self._waiting.put(None)
                break
            events.append(event)
        return events

    def answer(self, call: Call, payload: bytes) -> bool:
        return self._settle(call, lambda: call.set_result(payload))

    def fail(self, call: Call, error: BaseException) -> str:
        self._settle(call, lambda: call.set_exception(error))
        return status_of(error)[0].name

    def _settle(self, call: Call, settle: Callable[[], None]) -> bool:
        def unless_done() -> None:
            if not call.done():
                settle()

        try:
            self._loop.call_soon_threadsafe(unless_done)
        except RuntimeError:  # the loop has ended, and every caller with it
            return False
        return not call.done()

    def drain(self) -> None:
        """From now on new calls are told UNAVAILABLE; those already received are answered."""
        self._draining = True
        self._note_idle()

    def close(self) -> None:
        """`receive` returns None."""
        self._waiting.put(None)
