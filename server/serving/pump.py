"""The loop of the data plane's threads: receive waiting calls, bind them, run a batch, answer."""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import chain
from random import random
from time import monotonic_ns
from typing import Any, Protocol

from onnxpress.packages.errors import OnnxpressError
from onnxpress.server.errors import DrainingError, ExpiredError, OverloadedError
from onnxpress.server.facts import BatchRun, Observer, Refusal
from onnxpress.server.serving.admission import Admission, stale
from onnxpress.server.serving.assemble import Feeds, assemble, assemble_uniform, run
from onnxpress.server.serving.batching import Part, Taken, alone
from onnxpress.server.serving.binding import Binder, Decoder, Group, Refused
from onnxpress.server.serving.front import CALL, Event, Front
from onnxpress.server.serving.lane import Lane
from onnxpress.server.serving.request import Request, UniformBatch, route_key
from onnxpress.server.serving.routing import Routes
from onnxpress.server.serving.scheduler import Batch, Scheduler, StaleRoutesError
from onnxpress.server.serving.tensors import Flat

RECEIVE_MAX = 256
# Groups of calls that were received together run one after the other if all of them take no longer than this.
BRIEF_US = 1_000
# Consumes an iterator for its side effects.
exhaust: Callable[[Iterable[Any]], None] = deque[Any](maxlen=0).extend
# Inputs, outputs, their shapes; monotonic ns when the inputs were begun, when they were assembled, when the run ended.
Executed = tuple[Feeds, Sequence[Flat], Sequence[Sequence[int]], int, int, int]

logger = logging.getLogger(__name__)


class Encoder(Protocol):
    """Encodes answers; see wire/codec.py."""

    def encode(self, lane: Lane, requests: Sequence[Request], outputs: Sequence[Flat]) -> Iterable[bytes]:
        """The answers of requests whose rows follow each other in the flat outputs of one batch."""
        ...

    def encode_uniform(self, lane: Lane, uniform: UniformBatch, outputs: Sequence[Flat]) -> Iterable[bytes]:
        """The answers to the calls of a uniform batch, in their order."""
        ...

    def encode_shaped(
        self, lane: Lane, request: Request, outputs: Sequence[Flat], shapes: Sequence[Sequence[int]]
    ) -> bytes:
        """The answer of a version that is not batchable: whole outputs in their own shapes."""
        ...


class Codec(Decoder, Encoder, Protocol):
    """Both ways."""


class Pump:
    """Turns events of a front into answers. Stateless: any thread may call any method."""

    def __init__(
        self,
        codec: Codec,
        scheduler: Scheduler,
        observer: Observer,
        admission: Admission,
        draw: Callable[[], float] = random,
    ) -> None:
        """`draw` returns a random number in [0, 1), for calls without a route key if versions share calls."""
        self._codec: Encoder = codec
        self._binder = Binder(codec, draw)
        self._scheduler = scheduler
        self._observer = observer
        self._admission = admission

    def serve(self, front: Front) -> None:
        """Serves until the front closes. One thread more than there are run slots runs this; see PumpThreads.

        Raises errors of the front or of the scheduler only; no received call is lost then.
        """
        held = False
        while True:
            batch = self._scheduler.turn(front, held=held)
            held = False
            if batch is not None:
                self._run(batch)
                continue
            try:
                events = front.receive(RECEIVE_MAX)
                held = bool(events)
            finally:
                self._scheduler.end_turn(front, held=held)
            if events is None:
                self._scheduler.close()
                return
            # After `end_turn`: a drain that sets `refuses` waits for pumps that read False here.
            self._handle_or_refuse(front, self._refuse_calls(front, events) if front.refuses else events)

    def _handle_or_refuse(self, front: Front, events: list[Event]) -> None:
        """Never raises: on a bug, all callers get an error and the pump goes on."""
        try:
            self.handle(front, events)
        except BaseException as error:
            logger.exception("handling %d events failed", len(events))
            for event in events:
                if event[0] == CALL:
                    self._refuse(front, event[1], error)

    def handle(self, front: Front, events: list[Event]) -> None:
        """Binds and queues `events`, then runs batches while the scheduler gives this thread one."""
        draws: list[float] = []
        routes, now = self._scheduler.routes, monotonic_ns()
        groups = self._binder.together(front, events, routes, now, draws)
        if groups is None or not (batch := self._fast_path(groups[0], routes, now)):
            self._run(self._admit(front, events, draws, now))
        elif len(groups) == 1:
            self._run(batch)
        else:
            self._run_groups(batch, groups, routes, events, draws)

    def _run_groups(
        self, first: Batch, groups: list[Group], routes: Routes, events: list[Event], draws: list[float]
    ) -> None:
        """Runs the first group, which is `first`, then the others.

        They follow directly if all groups together are brief and nothing else waits, since queueing a call costs more
        than it waits. Otherwise they are queued, so that they can be cancelled and other pumps can take them.
        """
        front, others = groups[0].uniform.front, groups[1:]
        brief = sum([lane.cost.backlog_us(uniform.rows * len(uniform.calls)) for lane, uniform, _ in groups]) < BRIEF_US
        if not brief:  # queued before the first runs
            self._queue(front, others, events, draws, claim=False)
            others = []
        batch = self._step(first)
        while others:
            following = self._fast_path(others[0], routes, monotonic_ns()) if batch is None else None
            if following is None:
                batch = self._queue(front, others, events, draws, claim=batch is None) or batch
                break
            batch = self._step(following)
            del others[0]
        self._run(batch)

    def _refuse_calls(self, front: Front, events: list[Event]) -> list[Event]:
        """Refuses the calls among `events` and returns the cancellations."""
        for event in events:
            if event[0] == CALL:
                self._refuse(front, event[1], DrainingError())
        return [event for event in events if event[0] != CALL]

    def _run(self, batch: Batch | None) -> None:
        while batch is not None:
            batch = self._step(batch)

    def _step(self, batch: Batch) -> Batch | None:
        """Runs a batch and returns the one that the scheduler gives next."""
        try:
            self._process(batch)
        except BaseException as error:  # noqa: BLE001 -- whatever it was, every caller gets an answer
            self._fail_all(batch, error)
        return self._scheduler.finish(batch, monotonic_ns())

    def _fast_path(self, group: Group, routes: Routes, now: int) -> Batch | None:
        """The usual case: uniform calls that need not wait. Otherwise returns None and changes nothing."""
        lane, uniform, _ = group
        if not group.checked:
            return None
        left_s = [details[2] for details in uniform.details if details is not None and details[2] is not None]
        if left_s:
            needed_us = lane.cost.backlog_us(uniform.rows * len(uniform.calls)) + (now - uniform.arrival) / 1e3
            if min(left_s) * 1e6 <= needed_us:
                return None  # a deadline may pass before
        return self._scheduler.start(lane, uniform, routes, now)

    def _queue(
        self, front: Front, groups: Sequence[Group], events: list[Event], draws: list[float], *, claim: bool
    ) -> Batch | None:
        """Queues the calls of groups one by one. Never raises, since other calls are being answered."""
        numbers = sorted(chain.from_iterable(group.events for group in groups))
        chosen = [events[number] for number in numbers]
        try:
            received = groups[0].uniform.arrival
            return self._admit(front, chosen, [draws[number] for number in numbers], received, claim=claim)
        except Exception as error:
            logger.exception("%d calls could not be queued", len(chosen))
            for event in chosen:
                self._refuse(front, event[1], error)
            return None

    def _admit(
        self, front: Front, events: list[Event], draws: list[float], received: int, *, claim: bool = True
    ) -> Batch | None:
        """Queues the calls, `received` at that time (monotonic ns), and returns the next batch if `claim`."""
        now = monotonic_ns()
        cancelled = [event[1] for event in events if event[0] != CALL]
        while True:
            routes = self._scheduler.routes
            bound, refused = self._binder.requests(front, events, routes, received, draws)
            overloads = self._turn_away(bound, now)
            try:
                batch = self._scheduler.submit(bound, routes, cancelled, now, claim=claim)
            except StaleRoutesError:
                continue
            for one in refused:
                self._refuse_unqueued(front, one)
            for lane, request, overload in overloads:
                self._fail(lane, request, overload)
            return batch

    def _refuse_unqueued(self, front: Front, refused: Refused) -> None:
        call, error, lane, variant, epoch, key = refused
        model, version = (lane.model, lane.version) if lane is not None else ("", "")
        self._tell(Refusal(model, version, variant, epoch, "", 1, key), front, call, error)

    def _turn_away(self, bound: dict[Lane, list[Request]], now: int) -> Sequence[tuple[Lane, Request, OverloadedError]]:
        """Removes the requests from `bound` that would wait too long or exceed a limit."""
        turned_away: list[tuple[Lane, Request, OverloadedError]] = []
        waiting, admitted_bytes = self._scheduler.waiting(), 0
        for lane, requests in bound.items():
            overloads = self._admission.refuse(lane, requests, waiting, now, admitted_bytes)
            if overloads:
                ids = {id(request) for request, _ in overloads}
                bound[lane] = [request for request in requests if id(request) not in ids]
                turned_away += [(lane, request, overload) for request, overload in overloads]
            if len(bound) > 1:
                admitted_bytes += sum([request.size for request in bound[lane]])
        return turned_away

    def _process(self, batch: Batch) -> None:
        lane, taken = batch.lane, batch.taken
        for request in taken.expired:
            self._fail(lane, request, ExpiredError("the deadline passed while the request waited"))
        for request in taken.stale:
            self._fail(lane, request, stale(request, batch.at))
        for request in taken.cancelled:
            self._observer.refused(_refusal(lane, request, "CANCELLED"))
        if not taken.rows:
            return
        try:
            executed = _execute(lane, taken)
        except Exception as error:
            if (len(taken.uniform.calls) if taken.uniform else len(taken.requests) + (taken.part is not None)) == 1:
                raise
            logger.warning("a batch of %d rows failed (%s); each request runs alone", taken.rows, error)
            self._isolate(batch)
            return
        self._deliver(lane, taken, executed)

    def _deliver(self, lane: Lane, taken: Taken, executed: Executed) -> None:
        """Answers the callers, then reports the run to the observers."""
        feeds, outputs, shapes, started, ready, finished = executed
        uniform = taken.uniform
        if uniform:
            exhaust(map(uniform.front.answer, uniform.calls, self._codec.encode_uniform(lane, uniform, outputs)))
        else:
            self._answer(lane, taken, outputs, shapes)
        self._observer.run_done(
            BatchRun(lane.id, taken, taken.rows, feeds, outputs, started, ready, finished, monotonic_ns())
        )

    def _answer(self, lane: Lane, taken: Taken, outputs: Sequence[Flat], shapes: Sequence[Sequence[int]]) -> None:
        requests = taken.requests
        if not lane.signature.batchable:
            for request in requests:
                request.front.answer(request.call, self._codec.encode_shaped(lane, request, outputs, shapes))
            return
        for request, payload in zip(requests, self._codec.encode(lane, requests, outputs), strict=True):
            request.front.answer(request.call, payload)
        if taken.part is not None:
            self._answer_part(lane, taken.part, outputs, taken.rows)

    def _answer_part(self, lane: Lane, part: Part, outputs: Sequence[Flat], rows: int) -> None:
        """Keeps the outputs of a part, which are the batch's last rows; answers once the request is complete."""
        request, size = part.request, part.stop - part.start
        strides = [spec.stride for spec in lane.signature.outputs]
        request.parts.append([flat[(rows - size) * n : rows * n] for flat, n in zip(outputs, strides, strict=True)])
        if part.last:
            request.front.answer(request.call, next(iter(self._codec.encode(lane, [request], request.joined()))))

    def _isolate(self, batch: Batch) -> None:
        """Runs each request by itself after a failed run, so that only the one at fault fails (P3)."""
        lane, taken = batch.lane, batch.taken
        for request in taken.uniform.requests() if taken.uniform else taken.requests:
            try:
                by_itself = alone(request)
                self._deliver(lane, by_itself, _execute(lane, by_itself))
            except Exception as error:  # noqa: BLE001 -- whatever it was, the caller gets an answer
                self._fail(lane, request, error)
        if taken.part is not None:
            try:
                by_itself = alone(None, taken.part)
                self._deliver(lane, by_itself, _execute(lane, by_itself))
            except Exception as error:  # noqa: BLE001 -- whatever it was, the caller gets an answer
                batch.aborted = True
                self._fail(lane, taken.part.request, error)

    def _fail_all(self, batch: Batch, error: BaseException) -> None:
        batch.aborted = True
        taken = batch.taken
        for request in taken.uniform.requests() if taken.uniform else taken.requests:
            self._fail(batch.lane, request, error)
        if taken.part is not None:
            self._fail(batch.lane, taken.part.request, error)

    def _fail(self, lane: Lane, request: Request, error: BaseException) -> None:
        # Logged once, where the caller's error id is created; the note adds the version to that record.
        if not isinstance(error, OnnxpressError):
            note = f"in a request to model {lane.model!r} version {lane.version}"
            if note not in getattr(error, "__notes__", ()):
                error.add_note(note)
        self._tell(_refusal(lane, request), request.front, request.call, error)

    def _refuse(self, front: Front, call: Any, error: BaseException) -> None:
        """Refuses a call that was bound to no version."""
        self._tell(Refusal("", "", "", 0, "", 1), front, call, error)

    def _tell(self, refusal: Refusal, front: Front, call: Any, error: BaseException) -> None:
        """Sends the error to the caller. Never raises, so that slot and batch are not lost."""
        try:
            self._observer.refused(refusal._replace(code=front.fail(call, error)))
        except Exception:
            logger.exception("a call could not be refused")


def _refusal(lane: Lane, request: Request, code: str = "") -> Refusal:
    epoch = request.route.epoch if request.route is not None else 0
    key = route_key(request.metadata, request.parsed.key)
    return Refusal(lane.model, lane.version, request.variant, epoch, code, 1, key)


def _execute(lane: Lane, taken: Taken) -> Executed:
    signature, uniform = lane.signature, taken.uniform
    started = monotonic_ns()
    feeds = assemble_uniform(signature, uniform) if uniform else assemble(signature, taken.requests, taken.part)
    ready = monotonic_ns()
    outputs, shapes = run(lane.session, signature, feeds, taken.rows)
    return feeds, outputs, shapes, started, ready, monotonic_ns()
