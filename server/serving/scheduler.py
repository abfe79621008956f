"""Who runs what next: queues requests that are bound to a lane, hands batches to free run slots, counts the leases."""

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from time import monotonic_ns
from typing import Any

from onnxpress.server.serving.admission import Admission
from onnxpress.server.serving.batching import Taken
from onnxpress.server.serving.lane import Lane
from onnxpress.server.serving.request import Request, Sender, UniformBatch
from onnxpress.server.serving.routing import Route, Routes

CANCELLED_MAX = 4096
# A lane counts as having callers for this long after its newest request.
ACTIVE_NS = 1_000_000_000
# What arrives may wait this long for a pump that runs a batch: less than waking another one would cost it, and the
# threads would share the interpreter. While runs take longer, or texts are so long that the cost curve knows nothing of
# them, all pumps without a batch receive: handing the turn over takes milliseconds where the cores are busy.
RECEIVER_ABSENCE_MAX_US = 1_000
# Where many short calls run together, other pumps would take turns at the interpreter and not at the model: there a run
# may also take this much for each call, by the curve as it was measured. What crowded cores add is no reason for more
# pumps, which would crowd them further.
RECEIVER_ABSENCE_CALL_US = 12
RECEIVER_ABSENCE_BYTES_MAX = 65_536
# A pump that runs one batch after the other for this long, as when another front's callers keep the queue filled, is
# away too.
RECEIVER_ABSENCE_IN_ALL_NS = 5_000_000


class StaleRoutesError(Exception):
    """The routes changed between binding and submitting."""


@dataclass(slots=True)
class Batch:
    """What one lane gave to one run slot."""

    lane: Lane
    taken: Taken
    at: int  # when it was taken, monotonic ns
    since: int  # when its pump took the first batch of those that it runs without receiving in between
    aborted: bool = False  # the part's request has failed; its other rows will not run


class Scheduler:
    """Owns, under its one lock: the current routes, every lane's queue and counts, the run slots, cancelled calls.

    There are never more batches running than slots, and each front's pumps are one more than the slots, so one can
    always receive. While runs are short only one does, since two would split what arrives into smaller batches; the
    others are parked.
    """

    def __init__(self, slots: int, admission: Admission) -> None:
        self.routes = Routes()
        self._slots = slots
        self._admission = admission
        self._running = 0
        self._waiting: deque[Lane] = deque()  # lanes with a queue, in turn
        self._cancelled: set[Any] = set()
        self._lock = threading.Lock()
        self._released = threading.Condition(self._lock)
        self._watched = 0  # threads that wait for leases
        self._receiving: dict[object, int] = {}  # by front, the pumps whose turn it is
        self._in_hand = 0  # pumps that have received and not yet come back to `turn`
        self._long_at = -ACTIVE_NS  # monotonic ns of the newest long batch
        self._wanted = threading.Condition(self._lock)  # parked pumps wait on it
        self._closed = False

    def submit(
        self,
        admitted: Mapping[Lane, Sequence[Request]],
        routes: Routes,
        cancelled: Sequence[Any],
        now: int,
        *,
        claim: bool = True,
    ) -> Batch | None:
        """Queues requests, which were bound by `routes`, and takes a batch if a slot is free and it is to `claim` one.

        Raises StaleRoutesError, changing nothing, when the routes have changed: the requests must be bound again.
        """
        with self._lock:
            if routes is not self.routes:
                raise StaleRoutesError
            for lane, requests in admitted.items():
                if requests:
                    self._enqueue_lane(lane, now)
                lane.last_request_ns = now
                lane.queue.put(requests, lane.cost.unsplit_rows_max)
                _lease(lane, requests, 1)
            if cancelled:
                self._cancel(cancelled)
            return self._claim(now) if claim else None

    def start(self, lane: Lane, uniform: UniformBatch, routes: Routes, now: int) -> Batch | None:
        """A run of calls bound by `routes` that need not wait; None where they must, which changes nothing."""
        taken = Taken()
        taken.uniform, taken.rows, taken.bytes = uniform, uniform.rows * len(uniform.calls), uniform.size
        with self._lock:
            free = self._running < self._slots and not self._waiting and not lane.running
            if not free or routes is not self.routes or taken.rows > self._rows(lane, now):
                return None
            lane.last_request_ns = now
            _hold(lane, uniform.route, len(uniform.calls))
            return self._begin(lane, taken, now)

    def turn(self, front: object, *, held: bool) -> Batch | None:
        """What a pump of `front` with empty hands does next: a batch, or None: it receives, and then calls `end_turn`.

        Parks it while there is neither. `held`: its `end_turn` said so, and what it had is queued or answered now.
        """
        with self._lock:
            if held:
                self._in_hand -= 1
                if self._watched:
                    self._released.notify_all()
            now = monotonic_ns()
            while (batch := self._claim(now)) is None and self._receiving.get(front) and not self.all_receive(now):
                if self._closed:
                    break
                self._wanted.wait()
                now = monotonic_ns()
            if batch is None:
                self._receiving[front] = self._receiving.get(front, 0) + 1
            return batch

    def end_turn(self, front: object, *, held: bool) -> None:
        """The pump has received. `held`: it has events in hand, which `wait_idle` waits for until its next `turn`."""
        with self._lock:
            self._receiving[front] -= 1
            self._in_hand += held

    def all_receive(self, now: int) -> bool:
        """Whether every pump without a batch receives, since one that runs may be away for too long."""
        return now - self._long_at <= ACTIVE_NS

    def close(self) -> None:
        """Parks no pump any more: a front is closed, and each of its pumps will see that."""
        with self._lock:
            self._closed = True
            self._wanted.notify_all()

    def finish(self, batch: Batch, now: int) -> Batch | None:
        """Gives back the slot and the leases of requests that are answered, and takes the next batch if any waits.

        A part's request goes back into the queue, unless it is complete or `aborted`.
        """
        lane, part = batch.lane, batch.taken.part
        with self._lock:
            self._running -= 1
            lane.running -= 1
            if batch.taken.rows:
                lane.cost.observe(batch.taken.rows, (now - batch.at) / 1e3)
            _lease(lane, batch.taken.requests, -1)
            uniform = batch.taken.uniform
            if uniform is not None:
                _hold(lane, uniform.route, -len(uniform.calls))
            if part is not None and (part.last or batch.aborted):
                _lease(lane, (part.request,), -1)
            elif part is not None:
                self._enqueue_lane(lane, now)
                lane.queue.put_back(part.request)
            if self._watched:
                self._released.notify_all()
            following = self._claim(now)
            if following is not None:
                following.since = batch.since
                if now - batch.since > RECEIVER_ABSENCE_IN_ALL_NS:
                    self._let_all_receive(now)
            return following

    def replace_route(self, route: Route) -> Route | None:
        """Makes `route` its model's; what is submitted from now on is bound by it. Returns the former one."""
        with self._lock:
            former = self.routes.models.get(route.model)
            self.routes = self.routes.replacing(route)
            return former

    def waiting(self) -> tuple[Lane, ...]:
        """The lanes that have a queue now, for a forecast; taken without the lock."""
        return tuple(self._waiting)

    def waiting_bytes(self) -> int:
        """Of the requests in all queues now, by the payloads that they came in; taken without the lock."""
        return sum([lane.queue.bytes for lane in self.waiting()])

    def wait_released(self, held: Route | Lane, timeout_s: float) -> bool:
        """Waits until a route or a lane holds no request; False when that took too long."""
        with self._lock:
            self._watched += 1
            try:
                return self._released.wait_for(lambda: held.held == 0, timeout_s)
            finally:
                self._watched -= 1

    def wait_idle(self, timeout_s: float) -> bool:
        """Waits until nothing is queued or runs, and no pump has events in hand; False when that took too long."""
        with self._lock:
            self._watched += 1
            try:
                return self._released.wait_for(lambda: not (self._waiting or self._running or self._in_hand), timeout_s)
            finally:
                self._watched -= 1

    def _enqueue_lane(self, lane: Lane, now: int) -> None:
        """Before rows are added: a lane whose queue was empty takes its place among those that wait."""
        if not lane.queue:
            self._waiting.append(lane)
            lane.queued_since = now

    def _claim(self, now: int) -> Batch | None:
        if self._running >= self._slots or not self._waiting:
            return None
        lane = self._next_lane(now)
        if lane is None:
            return None
        fresh_since = self._admission.fresh_since(lane, now) if lane.queued_since < now else 0
        taken = lane.queue.take(self._rows(lane, now), now, self._cancelled, fresh_since)
        if taken.expired or taken.cancelled or taken.stale:
            _lease(lane, (*taken.expired, *taken.cancelled, *taken.stale), -1)
        if lane.queue:
            self._waiting.append(lane)
        return self._begin(lane, taken, now)

    def _rows(self, lane: Lane, now: int) -> int:
        """How many rows a batch may have now: a run cannot be interrupted, so it is brief while others have callers."""
        cost = lane.cost
        if cost.shared_batch_rows < cost.batch_rows and self._others_active(lane, now):
            return cost.shared_batch_rows
        return cost.batch_rows

    def _begin(self, lane: Lane, taken: Taken, now: int) -> Batch:
        """Gives a free slot to what was taken."""
        self._running += 1
        lane.running += 1
        if self._long(lane, taken):
            self._let_all_receive(now)
        return Batch(lane, taken, now, now)

    def _let_all_receive(self, now: int) -> None:
        self._long_at = now
        self._wanted.notify_all()

    def _long(self, lane: Lane, taken: Taken) -> bool:
        """Whether a pump that runs `taken`, and then what waits, would be away for too long."""
        if taken.bytes > RECEIVER_ABSENCE_BYTES_MAX or not lane.signature.batchable:
            return True
        micros = lane.cost.backlog_us(taken.rows)
        for other in self._waiting:
            micros += other.cost.backlog_us(other.queue.rows)
        calls = len(taken.uniform.calls) if taken.uniform else len(taken.requests)
        return micros > RECEIVER_ABSENCE_MAX_US and micros > calls * RECEIVER_ABSENCE_CALL_US * lane.cost.scale

    def _next_lane(self, now: int) -> Lane | None:
        """The next in turn that may have a slot.

        A light lane runs a second batch only when that would be full: else both would be shorter, and wait for the
        interpreter rather than for the model.
        Of heavy lanes none gets the last free slot while others have callers: a run cannot be interrupted, and a heavy
        model in every slot would make a light one wait for it.
        """
        last_slot = self._slots > 1 and self._running == self._slots - 1
        for _ in range(len(self._waiting)):
            lane = self._waiting.popleft()
            if not lane.running:
                return lane
            worth = lane.cost.heavy or lane.queue.rows >= lane.cost.batch_rows
            if worth and not (last_slot and lane.cost.heavy and self._others_active(lane, now)):
                return lane
            self._waiting.append(lane)
        return None

    def _others_active(self, lane: Lane, now: int) -> bool:
        return any(
            other is not lane and now - other.last_request_ns < ACTIVE_NS
            for route in self.routes.models.values()
            for other in route.lanes.values()
        )

    def _cancel(self, calls: Sequence[Any]) -> None:
        """Remembers calls whose callers have left; most are running or answered already and match nothing."""
        if not self._waiting and not self._running:
            self._cancelled.clear()
            return
        self._cancelled.update(calls)
        if len(self._cancelled) > CANCELLED_MAX:
            queued = {call for lane in self._waiting for call in lane.queue.calls()}
            self._cancelled &= queued


def _hold(lane: Lane, route: Sender | None, count: int) -> None:
    """That many leases more, or less: on the lane, and on the route that sent its requests there."""
    lane.held += count
    if route is not None:
        route.held += count


def _lease(lane: Lane, requests: Sequence[Request], change: int) -> None:
    """One lease more (1) or less (-1) for each request."""
    for route, of in groupby(requests, attrgetter("route")):
        _hold(lane, route, change * len(list(of)))
