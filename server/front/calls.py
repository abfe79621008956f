"""The front for callers inside the process: streams, and ModelInfer calls that grpc.aio receives."""

import asyncio
import threading
from collections.abc import Callable
from queue import SimpleQueue

from onnxpress.packages.errors import OnnxpressError
from onnxpress.server.errors import DrainingError, OverloadedError
from onnxpress.server.facts import Observer, Refusal
from onnxpress.server.serving.front import CALL, CANCEL, Event, Metadata
from onnxpress.server.wire.status import code_of

RETRY_MS = 100
Call = asyncio.Future[bytes]


class Calls:
    """A front for coroutines: the call object that the pumps receive is the future that the coroutine awaits.

    `_waiting` is a thread-safe queue; futures are touched on their loop only. `_put_bytes`, `_open` and `_draining` are
    written on the loop only, `_taken_bytes` by the pumps under `_lock`.
    """

    refuses = False  # `ask` refuses calls itself, before they are queued

    def __init__(
        self, loop: asyncio.AbstractEventLoop, bytes_max: int, queued_bytes: Callable[[], int], observer: Observer
    ) -> None:
        """`bytes_max` limits the payloads that no pump has received yet plus those in the lanes' `queued_bytes()`."""
        self._loop = loop
        self._queued_bytes = queued_bytes
        self._observer = observer
        self._bytes_max = bytes_max
        self._waiting: SimpleQueue[Event | None] = SimpleQueue()
        self._put_bytes = self._taken_bytes = 0
        self._lock = threading.Lock()
        self._draining = False
        self._open = 0
        self._idle = asyncio.Event()  # set when draining and no call is open

    async def ask(self, payload: bytes, metadata: Metadata, deadline_s: float | None, peer: str = "") -> bytes:
        """Sends a serialized ModelInferRequest to the pumps and returns the serialized ModelInferResponse.

        `deadline_s`: seconds until the call's deadline, or None. Cancelling the coroutine cancels the call; a drain
        waits for it. Raises the error that the call ends with.
        """
        try:
            self._admit(payload)
        except OnnxpressError as error:
            self._observer.refused(Refusal("", "", "", 0, code_of(error).name, 1))
            raise
        call: Call = self._loop.create_future()
        self._put_bytes += len(payload)
        self._open += 1
        self._waiting.put((CALL, call, 0, payload, None, (metadata, peer, deadline_s)))
        try:
            return await call
        except asyncio.CancelledError:
            self._waiting.put((CANCEL, call, 0, None, None, None))
            raise
        finally:
            self._open -= 1
            self._note_idle()

    def _admit(self, payload: bytes) -> None:
        if self._draining:
            raise DrainingError
        waiting = self._put_bytes - self._taken_bytes + self._queued_bytes()
        if waiting and waiting + len(payload) > self._bytes_max:
            raise OverloadedError(
                f"the requests that wait for all models are at their limit of {self._bytes_max} bytes", RETRY_MS
            )

    def _note_idle(self) -> None:
        if self._draining and not self._open:
            self._idle.set()

    async def wait_idle(self) -> None:
        """Waits, after `drain`, until no call is open."""
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
        with self._lock:
            self._taken_bytes += sum(len(event[3] or b"") for event in events)
        return events

    def answer(self, call: Call, payload: bytes) -> bool:
        return self._settle(call, lambda: call.set_result(payload))

    def fail(self, call: Call, error: BaseException) -> str:
        self._settle(call, lambda: call.set_exception(error))
        # Not logged here: the coroutine that awaits the call logs the error with the id that it sends to the client.
        return code_of(error).name

    def _settle(self, call: Call, settle: Callable[[], None]) -> bool:
        def unless_done() -> None:
            if not call.done():
                settle()

        try:
            self._loop.call_soon_threadsafe(unless_done)
        except RuntimeError:  # the loop is closed, so no caller is left
            return False
        return not call.done()

    def drain(self) -> None:
        """Refuses new calls with DrainingError from now on; calls that `ask` has accepted are still answered."""
        self._draining = True
        self._note_idle()

    def close(self) -> None:
        """Makes `receive` return None in every pump."""
        self._waiting.put(None)
