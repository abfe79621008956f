"""The native front: HTTP/2 and gRPC in Rust, outside the GIL (pygrpc-native). The only file that imports it."""

import os
from time import monotonic_ns

from pygrpc_native import NativeGrpcFront

from onnxpress.server.errors import UsageError
from onnxpress.server.serving.front import Event
from onnxpress.server.settings import Settings
from onnxpress.server.wire.status import PUSHBACK_KEY, status_of

INFER_METHOD = "/inference.GRPCInferenceService/ModelInfer"
# `close` wakes only one of the threads that wait in `receive` (pygrpc-native 0.5.0); the others look this often.
WAKE_MS = 200
# How often in a row a call must come alone, soon after the one before, before waiting for the next is done awake.
ALONE_MIN = 4
# A call that came sooner was there already.
AT_ONCE_NS = 2_000


class NativeFront:
    """Serves ModelInfer itself and forwards every other method to the control plane's Unix socket.

    `refuses` is written by the control plane's thread once; pumps read it. `_alone` is written by whoever receives,
    one pump while calls come one at a time; all that a race could cost is one sleep or one wait awake.
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
        # Called once per answer: bound directly, without a frame of ours in between.
        self.answer = self._front.respond
        self._receive = self._front.recv_batch_details
        self._poll_ns = settings.poll_us * 1000
        self._alone = 0  # calls in a row that came alone and soon
        self.refuses = False
        self.port: int = self._front.bound_port

    def start(self) -> None:
        self._front.start()

    def receive(self, most: int) -> list[Event] | None:
        """A caller who asks one thing after the other is waited for awake.

        Going to sleep and being woken costs two threads more than such a call itself, and the caches with it. Where
        calls come in company the others are worth the CPU more.
        """
        began = monotonic_ns()
        events: list[Event] | None = []
        if self._alone >= ALONE_MIN:
            events = self._poll(most, began + self._poll_ns)
        if not events and events is not None:
            events = self._receive(most, WAKE_MS)
        soon = AT_ONCE_NS < monotonic_ns() - began < self._poll_ns
        self._alone = self._alone + 1 if soon and events and len(events) == 1 else 0
        return events

    def _poll(self, most: int, until: int) -> list[Event] | None:
        """What has come by `until` (monotonic ns); whoever else wants this core goes first."""
        while True:
            events: list[Event] | None = self._receive(most, 0)
            if events or events is None or monotonic_ns() >= until:
                return events
            os.sched_yield()

    def fail(self, call: int, error: BaseException) -> str:
        code, message, metadata = status_of(error)
        # pygrpc-native 0.5 reserves the pushback key for itself; RetryInfo in the status details says the same.
        passed = [pair for pair in metadata if pair[0] != PUSHBACK_KEY]
        self._front.fail(call, code.value[0], message, passed or None)
        return code.name

    def drain(self) -> None:
        """From now on the pumps tell new calls UNAVAILABLE; those already received are answered."""
        self.refuses = True

    def close(self) -> None:
        """Ends every connection, with answers that are not written yet; `receive` returns None."""
        self._front.close()
