"""The data plane's threads: receive what waits, bind it, run a batch, answer, again."""

import logging
import threading
from collections.abc import Callable
from time import monotonic_ns

from server.errors import ExpiredError, OnnxpressError
from server.facts import BatchFacts, Telemetry
from server.serving.batching import Slice, Taken
from server.serving.request import CALL, Codec, Event, Front, Request
from server.serving.scheduler import Batch, Scheduler, StaleRoutesError

RECEIVE_MAX = 256
SECOND_NS = 1_000_000_000

logger = logging.getLogger(__name__)


class Pump:
    """Turns events of a front into answers. Holds no state of its own: every thread may call every method."""

    def __init__(
        self, codec: Codec, scheduler: Scheduler, telemetry: Telemetry, door: Callable[[Request], None]
    ) -> None:
        """`door` raises an OnnxpressError for a request that is not to be admitted."""
        self._codec = codec
        self._scheduler = scheduler
        self._telemetry = telemetry
        self._door = door

    def serve(self, front: Front) -> None:
        """Until the front closes. Run by one thread more than there are run slots."""
        while (events := front.receive(RECEIVE_MAX)) is not None:
            try:
                self.handle(front, events)
            except Exception:
                # A bug of ours must not take a pump with it; the batch's callers have been told by `handle`.
                logger.exception("a pump survived an error")

    def handle(self, front: Front, events: list[Event]) -> None:
        """Binds and queues `events`, then runs batches for as long as this thread gets one."""
        batch = self._admit(front, events)
        while batch is not None:
            try:
                self._process(batch)
            except Exception as failure:  # noqa: BLE001 -- whatever it was, every caller gets an answer
                batch.taken.rest = None
                for part in batch.taken.slices:
                    self._fail(part.request, failure)
            batch = self._scheduler.finish(batch, monotonic_ns())

    def _admit(self, front: Front, events: list[Event]) -> Batch | None:
        now = monotonic_ns()
        while True:
            routes = self._scheduler.routes
            admitted: list[Request] = []
            refused: list[tuple[int, Exception]] = []
            cancelled: list[int] = []
            for event in events:
                call, payload, details = event[1], event[3], event[5]
                if event[0] != CALL or payload is None:
                    cancelled.append(call)
                    continue
                try:
                    request = self._codec.decode(payload, routes)
                    left_s = details[2] if details is not None else None
                    request.arrive(front, call, now, 0 if left_s is None else now + int(left_s * SECOND_NS))
                    self._door(request)
                except Exception as error:  # noqa: BLE001 -- `fail` knows what each means to the caller
                    refused.append((call, error))
                else:
                    admitted.append(request)
            try:
                batch = self._scheduler.submit(admitted, routes, cancelled, now)
            except StaleRoutesError:
                continue
            for call, reason in refused:
                self._telemetry.refused("", "", front.fail(call, reason), 1)
            return batch

    def _process(self, batch: Batch) -> None:
        lane, taken = batch.lane, batch.taken
        for request in taken.expired:
            self._fail(request, ExpiredError("the deadline passed while the request waited"))
        if taken.cancelled:
            self._telemetry.refused(lane.model, lane.version, "CANCELLED", len(taken.cancelled))
        if not taken.slices:
            return
        started = monotonic_ns()
        try:
            feeds = lane.assemble(taken.slices)
            ready = monotonic_ns()
            outputs, shapes = lane.run(feeds, taken.rows)
        except Exception as error:
            if len(taken.slices) == 1:
                raise
            logger.warning("a batch of %d requests failed (%s); each runs alone", len(taken.slices), error)
            self._isolate(taken)
            return
        finished = monotonic_ns()
        at = 0
        arrivals = []
        for part in taken.slices:
            rows = part.stop - part.start
            if self._answer(part, outputs, shapes, at, rows):
                arrivals.append(part.request.arrival)
            at += rows
        self._telemetry.batch_done(
            BatchFacts(lane.model, lane.version, taken.rows, arrivals, started, ready, finished, monotonic_ns())
        )

    def _isolate(self, taken: Taken) -> None:
        """P3: when a run fails, only the request that made it fail pays."""
        for part in taken.slices:
            lane = part.request.lane
            try:
                rows = part.stop - part.start
                outputs, shapes = lane.run(lane.assemble([part]), rows)
                self._answer(part, outputs, shapes, 0, rows)
            except Exception as error:  # noqa: BLE001 -- whatever it was, the caller gets an answer
                if taken.rest is part.request:
                    taken.rest = None
                self._fail(part.request, error)

    def _answer(self, part: Slice, outputs: list, shapes: list, at: int, rows: int) -> bool:  # type: ignore[type-arg]
        """Answers one request with its rows of the batch; False when there are rows to come."""
        request = part.request
        batchable = request.lane.signature.batchable
        if batchable:
            specs = request.lane.signature.outputs
            outputs = [
                flat[at * spec.stride : (at + rows) * spec.stride] for flat, spec in zip(outputs, specs, strict=True)
            ]
        if request.parts is not None or rows < request.rows:
            request.parts = request.parts or []
            request.parts.append(outputs)
            if part.stop < request.rows:
                return False
            outputs = [_join(pieces) for pieces in zip(*request.parts, strict=True)]
        request.front.answer(request.call, self._codec.encode(request, outputs, None if batchable else shapes))
        return True

    def _fail(self, request: Request, error: Exception) -> None:
        if not isinstance(error, OnnxpressError):
            logger.error("request to %r failed", request.lane, exc_info=error)
        code = request.front.fail(request.call, error)
        self._telemetry.refused(request.lane.model, request.lane.version, code, 1)


def _join(pieces: tuple) -> object:  # type: ignore[type-arg]
    return [element for piece in pieces for element in piece] if isinstance(pieces[0], list) else b"".join(pieces)


def start_pumps(pump: Pump, front: Front, count: int) -> list[threading.Thread]:
    """Threads that end when the front closes."""
    threads = [threading.Thread(target=pump.serve, args=(front,), name=f"pump-{n}", daemon=True) for n in range(count)]
    for thread in threads:
        thread.start()
    return threads
