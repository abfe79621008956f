"""The scheduler: queues bound requests, gives batches to free run slots, counts leases, decides which pumps receive."""

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
# New calls may wait this long for the only receiving pump while it runs a batch: waking another pump would take about
# as long, and the two would compete for the GIL. If runs take longer, or have so many bytes of text that the cost curve
# does not apply, all pumps without a batch receive, since handing over takes milliseconds when the cores are busy.
RECEIVER_ABSENCE_MAX_US = 1_000
# With many short calls in a run other pumps would compete for the GIL instead of running models, so the run may also
# take this long for each call by the curve as measured. The scale does not count: when other load slows the machine
# down, more pumps would make it slower.
RECEIVER_ABSENCE_CALL_US = 12
RECEIVER_ABSENCE_BYTES_MAX = 65_536
# A pump that runs consecutive batches for this long, because another front keeps the queue filled, is absent too.
RECEIVER_ABSENCE_IN_ALL_NS = 5_000_000


class StaleRoutesError(Exception):
    """The routes changed between binding and submitting."""


@dataclass(slots=True)
class Batch:
    """What one run slot runs for one lane. Times are monotonic nanoseconds."""

    lane: Lane
    taken: Taken
    at: int  # when it was taken
    since: int  # when its pump took the first of the batches that it has run without receiving in between
    aborted: bool = False  # the part's request has failed; its remaining rows are not run


class Scheduler:
    """Owns, under its one lock: the current routes, every lane's queue and counts, the run slots, cancelled calls.

    At most `slots` batches run, and each front has one pump more than that, so one pump can always receive. While runs
    are short only one receives, since two would split the arriving calls into smaller batches; the others are parked.
    """

    def __init__(self, slots: int, admission: Admission) -> None:
        self.routes = Routes()
        self._slots = slots
        self._admission = admission
        self._running = 0
        self._waiting: deque[Lane] = deque()  # lanes with a queue, served round robin
        self._cancelled: set[Any] = set()
        self._lock = threading.Lock()
        self._released = threading.Condition(self._lock)
        self._watched = 0  # threads that wait on `_released`
        self._receiving: dict[object, int] = {}  # by front, the number of receiving pumps
        self._in_hand = 0  # pumps that have received events and not yet called `turn` again
        self._long_run_ns = -ACTIVE_NS  # monotonic ns of the newest long batch
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
        """Queues requests that were bound by `routes`; with `claim`, also takes a batch if a slot is free.

        Raises StaleRoutesError, without a change, if the routes have been replaced: the requests must be bound again.
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
        """Starts a uniform batch bound by `routes`; None, without a change, if it must wait or be bound again."""
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
        """The next batch for a pump of `front`, or None: the pump must then receive and call `end_turn`.

        Blocks while there is no batch and other pumps receive. `held`: as in the pump's last `end_turn`; the events
        that it held are queued or answered now.
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
        """The pump has received. `held`: it holds events, for which `wait_idle` waits until the pump's next `turn`."""
        with self._lock:
            self._receiving[front] -= 1
            self._in_hand += held

    def all_receive(self, now: int) -> bool:
        """Whether all pumps without a batch receive at `now` (monotonic ns), because of a recent long run."""
        return now - self._long_run_ns <= ACTIVE_NS

    def close(self) -> None:
        """Wakes all parked pumps and parks none from now on, so that the pumps of a closed front end."""
        with self._lock:
            self._closed = True
            self._wanted.notify_all()

    def finish(self, batch: Batch, now: int) -> Batch | None:
        """Releases the slot and the leases of the answered requests, and takes the next batch if one waits.

        A part's request goes back into the queue unless it is complete or `aborted`.
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
        """Makes `route` the route of its model for all later submissions. Returns the former route."""
        with self._lock:
            former = self.routes.models.get(route.model)
            self.routes = self.routes.replacing(route)
            return former

    def waiting(self) -> tuple[Lane, ...]:
        """The lanes that have a queue, for forecasts; read without the lock."""
        return tuple(self._waiting)

    def waiting_bytes(self) -> int:
        """Payload bytes of the requests in all queues; read without the lock."""
        return sum([lane.queue.bytes for lane in self.waiting()])

    def wait_released(self, held: Route | Lane, timeout_s: float) -> bool:
        """Waits until a route or a lane holds no request; False when that takes longer than `timeout_s`."""
        with self._lock:
            self._watched += 1
            try:
                return self._released.wait_for(lambda: held.held == 0, timeout_s)
            finally:
                self._watched -= 1

    def wait_idle(self, timeout_s: float) -> bool:
        """Waits until nothing is queued, runs or is held by a pump; False when that takes longer than `timeout_s`."""
        with self._lock:
            self._watched += 1
            try:
                return self._released.wait_for(lambda: not (self._waiting or self._running or self._in_hand), timeout_s)
            finally:
                self._watched -= 1

    def _enqueue_lane(self, lane: Lane, now: int) -> None:
        """Called before rows are added: appends the lane to the waiting ones if its queue was empty."""
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
        """The most rows of a batch now: fewer while other models have callers, since runs cannot be interrupted."""
        cost = lane.cost
        if cost.shared_batch_rows < cost.batch_rows and self._others_active(lane, now):
            return cost.shared_batch_rows
        return cost.batch_rows

    def _begin(self, lane: Lane, taken: Taken, now: int) -> Batch:
        """Occupies a free slot with what was taken."""
        self._running += 1
        lane.running += 1
        if self._is_long(lane, taken):
            self._let_all_receive(now)
        return Batch(lane, taken, now, now)

    def _let_all_receive(self, now: int) -> None:
        self._long_run_ns = now
        self._wanted.notify_all()

    def _is_long(self, lane: Lane, taken: Taken) -> bool:
        """Whether the only receiving pump would be absent for too long if it runs `taken` and then the queues."""
        if taken.bytes > RECEIVER_ABSENCE_BYTES_MAX or not lane.signature.batchable:
            return True
        micros = lane.cost.backlog_us(taken.rows)
        for other in self._waiting:
            micros += other.cost.backlog_us(other.queue.rows)
        calls = len(taken.uniform.calls) if taken.uniform else len(taken.requests)
        return micros > RECEIVER_ABSENCE_MAX_US and micros > calls * RECEIVER_ABSENCE_CALL_US * lane.cost.scale

    def _next_lane(self, now: int) -> Lane | None:
        """The next lane, round robin, that may have a slot; None if none may.

        A light lane gets a second slot for a full batch only: two smaller batches would compete for the GIL. A heavy
        lane that runs already does not get the last free slot while other models have callers: a run cannot be
        interrupted, so their requests would wait for a heavy run in every slot.
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
        """Records cancelled calls; most of them are running or answered already and match no queued request."""
        if not self._waiting and not self._running:
            self._cancelled.clear()
            return
        self._cancelled.update(calls)
        if len(self._cancelled) > CANCELLED_MAX:
            queued = {call for lane in self._waiting for call in lane.queue.calls()}
            self._cancelled &= queued


def _hold(lane: Lane, route: Sender | None, count: int) -> None:
    """Adds `count` leases, which may be negative, to the lane and to the route that chose it."""
    lane.held += count
    if route is not None:
        route.held += count


def _lease(lane: Lane, requests: Sequence[Request], change: int) -> None:
    """Adds (`change` 1) or releases (-1) one lease for each request."""
    for route, of in groupby(requests, attrgetter("route")):
        _hold(lane, route, change * len(list(of)))
