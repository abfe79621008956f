"""The data plane's threads: receive what waits, bind it, run a batch, answer, again."""

import logging
import threading
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from time import monotonic_ns
from typing import Any

from onnxpress.packages.errors import OnnxpressError
from onnxpress.server.errors import (
    DRAINING_MESSAGE,
    DrainingError,
    ExpiredError,
)
from onnxpress.server.facts import BatchFacts, Telemetry
from onnxpress.server.serving.admission import Admission, stale
from onnxpress.server.serving.batching import Part
from onnxpress.server.serving.lane import Lane
from onnxpress.server.serving.request import CALL, Codec, Event, Flat, Front, Request
from onnxpress.server.serving.routing import Routes
from onnxpress.server.serving.scheduler import Batch, Scheduler, StaleRoutesError

RECEIVE_MAX = 256
SECOND_NS = 1_000_000_000
# Runs an iterator for what it does.
exhaust: Callable[[Iterable[Any]], None] = deque[Any](maxlen=0).extend

logger = logging.getLogger(__name__)


class Pump:
    """Turns events of a front into answers. Holds no state of its own: every thread may call every method."""

    def __init__(self, codec: Codec, scheduler: Scheduler, telemetry: Telemetry, admission: Admission) -> None:
        self._codec = codec
        self._scheduler = scheduler
        self._telemetry = telemetry
        self._admission = admission

    def serve(self, front: Front) -> None:
        """Until the front closes. Run by one thread more than there are run slots."""
        held = False
        while True:
            batch = self._scheduler.turn(held=held)
            held = False
            if batch is not None:
                self._run(batch)
                continue
            events = front.receive(RECEIVE_MAX)
            held = bool(events)
            self._scheduler.end_turn(held=held)
            if events is None:
                self._scheduler.close()
                return
            try:
                # After `end_turn`: whoever reads False here is waited for by the drain that sets it.
                self.handle(front, self._turn_away(front, events) if front.refuses else events)
            except Exception:
                # A bug of ours must not take a pump with it; the batch's callers have been told by `_run`.
                logger.exception("a pump survived an error")

    def handle(self, front: Front, events: list[Event]) -> None:
        """Binds and queues `events`, then runs batches for as long as this thread gets one."""
        self._run(self._at_once(front, events) or self._admit(front, events))

    def _turn_away(self, front: Front, events: list[Event]) -> list[Event]:
        """Refuses the calls among `events`; the rest are cancellations, which still count."""
        for event in events:
            if event[0] == CALL:
                self._refuse(front, event[1], DrainingError(DRAINING_MESSAGE))
        return [event for event in events if event[0] != CALL]

    def _run(self, batch: Batch | None) -> None:
        while batch is not None:
            try:
                self._process(batch)
            except Exception as error:  # noqa: BLE001 -- whatever it was, every caller gets an answer
                self._fail_all(batch, error)
            batch = self._scheduler.finish(batch, monotonic_ns())

    def _at_once(self, front: Front, events: list[Event]) -> Batch | None:
        """The usual case in one go: calls that are alike and none of which has to wait. None, and nothing is done."""
        if not events:
            return None
        kinds, calls, _, payloads, _, details = zip(*events, strict=True)
        if any(kinds):
            return None  # a cancellation
        routes, now = self._scheduler.routes, monotonic_ns()
        bunch = self._codec.bunch(payloads, routes)
        if bunch is None:
            return None
        bunch.front, bunch.calls, bunch.arrival = front, calls, now
        left_s = [detail[2] for detail in details if detail is not None and detail[2] is not None]
        if left_s and min(left_s) * 1e6 <= bunch.lane.cost.backlog_us(bunch.rows * len(calls)):
            return None  # somebody may have no time for that
        return self._scheduler.start(bunch, routes, now)

    def _admit(self, front: Front, events: list[Event]) -> Batch | None:
        now = monotonic_ns()
        cancelled = [event[1] for event in events if event[0] != CALL]
        while True:
            routes = self._scheduler.routes
            admitted, refused = self._bind(front, events, routes, now)
            try:
                batch = self._scheduler.submit(admitted, routes, cancelled, now)
            except StaleRoutesError:
                continue
            for call, reason in refused:
                self._refuse(front, call, reason)
            return batch

    def _bind(
        self, front: Front, events: list[Event], routes: Routes, now: int
    ) -> tuple[dict[Lane, list[Request]], list[tuple[Any, Exception]]]:
        """Requests by the lane that will answer them, and the calls that none will, with why."""
        decode = self._codec.decode
        admitted: dict[Lane, list[Request]] = {}
        refused: list[tuple[Any, Exception]] = []
        for _, call, _, payload, _, details in events:
            if payload is None:
                continue  # a cancellation
            try:
                request = decode(payload, routes)
            except Exception as error:  # noqa: BLE001 -- `fail` knows what each means to the caller
                refused.append((call, error))
                continue
            request.front, request.call, request.arrival = front, call, now
            if details is not None:
                request.metadata, _, left_s = details
                if left_s is not None:
                    request.deadline = now + int(left_s * SECOND_NS)
            group = admitted.get(request.lane)
            if group is None:
                admitted[request.lane] = [request]
            else:
                group.append(request)
        for lane, requests in admitted.items():
            overloads = self._admission.refuse(lane, requests, self._scheduler.waiting(), now)
            if overloads:
                turned_away = {id(request) for request, _ in overloads}
                admitted[lane] = [request for request in requests if id(request) not in turned_away]
                refused += [(request.call, overload) for request, overload in overloads]
        return admitted, refused

    def _process(self, batch: Batch) -> None:
        lane, taken = batch.lane, batch.taken
        for request in taken.expired:
            self._fail(request, ExpiredError("the deadline passed while the request waited"))
        for request in taken.stale:
            self._fail(request, stale(request, batch.at))
        if taken.cancelled:
            self._telemetry.refused(lane.model, lane.version, "CANCELLED", len(taken.cancelled))
        if not taken.rows:
            return
        bunch = taken.bunch
        started = monotonic_ns()
        try:
            feeds = lane.assemble_bunch(bunch) if bunch else lane.assemble(taken.requests, taken.part)
            ready = monotonic_ns()
            outputs, shapes = lane.run(feeds, taken.rows)
        except Exception as error:
            if (len(bunch.calls) if bunch else len(taken.requests) + (taken.part is not None)) == 1:
                raise
            logger.warning("a batch of %d rows failed (%s); each request runs alone", taken.rows, error)
            self._isolate(batch)
            return
        finished = monotonic_ns()
        if bunch:
            exhaust(map(bunch.front.answer, bunch.calls, self._codec.encode_bunch(bunch, outputs)))
            arrivals = [bunch.arrival] * len(bunch.calls)
        else:
            self._answer(lane, taken.requests, outputs, shapes)
            arrivals = [request.arrival for request in taken.requests]
        if taken.part is not None and self._answer_part(taken.part, outputs, taken.rows):
            arrivals.append(taken.part.request.arrival)
        self._telemetry.batch_done(
            BatchFacts(lane.model, lane.version, taken.rows, arrivals, started, ready, finished, monotonic_ns())
        )

    def _answer(
        self, lane: Lane, requests: list[Request], outputs: Sequence[Flat], shapes: Sequence[Sequence[int]]
    ) -> None:
        if not lane.signature.batchable:
            for request in requests:
                request.front.answer(request.call, self._codec.encode_shaped(request, outputs, shapes))
            return
        for request, payload in zip(requests, self._codec.encode(requests, outputs), strict=True):
            request.front.answer(request.call, payload)

    def _answer_part(self, part: Part, outputs: Sequence[Flat], rows: int) -> bool:
        """Keeps the outputs of a part, which are the batch's last rows; answers when the request is complete."""
        request, size = part.request, part.stop - part.start
        strides = [spec.stride for spec in request.lane.signature.outputs]
        request.parts.append([flat[(rows - size) * n : rows * n] for flat, n in zip(outputs, strides, strict=True)])
        if part.last:
            request.front.answer(request.call, next(iter(self._codec.encode([request], request.joined()))))
        return part.last

    def _isolate(self, batch: Batch) -> None:
        """P3: when a run fails, only the request that made it fail pays."""
        lane, taken = batch.lane, batch.taken
        for request in taken.bunch.requests() if taken.bunch else taken.requests:
            try:
                self._answer(lane, [request], *lane.run(lane.assemble([request], None), request.rows))
            except Exception as error:  # noqa: BLE001 -- whatever it was, the caller gets an answer
                self._fail(request, error)
        if taken.part is not None:
            rows = taken.part.stop - taken.part.start
            try:
                self._answer_part(taken.part, lane.run(lane.assemble([], taken.part), rows)[0], rows)
            except Exception as error:  # noqa: BLE001 -- whatever it was, the caller gets an answer
                batch.given_up = True
                self._fail(taken.part.request, error)

    def _fail_all(self, batch: Batch, error: Exception) -> None:
        batch.given_up = True
        taken = batch.taken
        for request in taken.bunch.requests() if taken.bunch else taken.requests:
            self._fail(request, error)
        if taken.part is not None:
            self._fail(taken.part.request, error)

    def _fail(self, request: Request, error: Exception) -> None:
        if not isinstance(error, OnnxpressError):
            logger.error("request to %r failed", request.lane, exc_info=error)
        self._refuse(request.front, request.call, error, request.lane.model, request.lane.version)

    def _refuse(self, front: Front, call: Any, error: Exception, model: str = "", version: str = "") -> None:
        """Tells the caller. Never raises: the slot and the batch in our hands must not be lost for one call."""
        try:
            self._telemetry.refused(model, version, front.fail(call, error), 1)
        except Exception:
            logger.exception("a call could not be refused")


def start_pumps(pump: Pump, front: Front, count: int) -> list[threading.Thread]:
    """Threads that end when the front closes."""
    threads = [threading.Thread(target=pump.serve, args=(front,), name=f"pump-{n}", daemon=True) for n in range(count)]
    for thread in threads:
        thread.start()
    return threads
