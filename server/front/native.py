"""The native front: HTTP/2 and gRPC in Rust, outside the GIL (pygrpc-native). The only file that imports it."""

import os
from collections.abc import Callable
from time import monotonic_ns

from pygrpc_native import NativeGrpcFront

from onnxpress.server.errors import UsageError
from onnxpress.server.serving.front import Event
from onnxpress.server.settings import Settings
from onnxpress.server.wire.status import PUSHBACK_KEY, status_of

INFER_METHOD = "/inference.GRPCInferenceService/ModelInfer"
# `close` wakes only one of the threads that wait in `receive` (pygrpc-native 0.5.0); the others return this often.
WAKE_MS = 200
# Busy-polling starts after this many consecutive receives of a single call within `poll_us`.
SINGLES_MIN = 4
# A receive that took less than this did not wait: the call was already queued.
NO_WAIT_NS = 2_000


class Receiver:
    """Waits for events: for a single synchronous client it busy-polls for up to `poll_us` before it sleeps.

    Sleeping and waking cost two threads more CPU than such a call itself, and cold caches. With concurrent callers it
    sleeps at once, because the other threads need the CPU. `_singles` is written by the pump that receives, which is
    one pump while calls come one at a time; a race costs at most one sleep or one busy-poll.
    """

    def __init__(
        self, receive: Callable[[int, int], list[Event] | None], poll_us: int, clock: Callable[[], int] = monotonic_ns
    ) -> None:
        """`receive(most, timeout_ms)` as in pygrpc-native: a timeout of 0 does not wait. `clock`: nanoseconds."""
        self._receive = receive
        self._poll_ns = poll_us * 1000
        self._clock = clock
        self._singles = 0  # consecutive receives of one call that had to be waited for, but less than `poll_us`

    def receive(self, most: int) -> list[Event] | None:
        """Up to `most` events that wait; empty after WAKE_MS without any; None once the front is closed."""
        began = self._clock()
        events: list[Event] | None = []
        if self._singles >= SINGLES_MIN:
            events = self._poll(most, began + self._poll_ns)
        if not events and events is not None:
            events = self._receive(most, WAKE_MS)
        waited_briefly = NO_WAIT_NS < self._clock() - began < self._poll_ns
        self._singles = self._singles + 1 if waited_briefly and events and len(events) == 1 else 0
        return events

    def _poll(self, most: int, until: int) -> list[Event] | None:
        """Polls until there are events or `until` (monotonic ns) has passed, yielding the core between two polls."""
        while True:
            events = self._receive(most, 0)
            if events or events is None or self._clock() >= until:
                return events
            os.sched_yield()


class NativeFront:
    """Serves ModelInfer itself and forwards every other method to the control plane's Unix socket.

    `refuses` is written once by the control plane's thread and read by pumps.
    """

    def __init__(self, settings: Settings, fallback: str) -> None:
        """Binds the port. Raises UsageError when it is taken."""
        address = f"{settings.host}:{settings.grpc_port}"
        try:
            self._front = NativeGrpcFront(
                address,
                [(INFER_METHOD, False)],
                call_details=True,
                io_threads=settings.io_threads or max(1, len(os.sched_getaffinity(0)) // 2),
                max_concurrent_streams=settings.streams_per_connection_max,
                keepalive_time_ms=settings.keepalive_s * 1000,
                keepalive_timeout_ms=settings.keepalive_timeout_s * 1000,
            )
        except OSError as error:
            raise UsageError(f"cannot listen on {address}: {error.strerror or error}") from error
        self._front.set_fallback(fallback)
        # Called once per answer, so it is bound directly instead of through a method here.
        self.answer = self._front.respond
        self.receive = Receiver(self._front.recv_batch_details, settings.poll_us).receive
        self.refuses = False
        self.port: int = self._front.bound_port

    def start(self) -> None:
        self._front.start()

    def fail(self, call: int, error: BaseException) -> str:
        code, message, metadata = status_of(error)
        # pygrpc-native 0.5 reserves the pushback key for itself; RetryInfo in the status details says the same.
        passed = [pair for pair in metadata if pair[0] != PUSHBACK_KEY]
        self._front.fail(call, code.value[0], message, passed or None)
        return code.name

    def drain(self) -> None:
        """Makes the pumps refuse new calls with UNAVAILABLE; calls that they have received are still answered."""
        self.refuses = True

    def close(self) -> None:
        """Closes every connection, dropping answers that are not yet written, and makes `receive` return None."""
        self._front.close()
