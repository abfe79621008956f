"""Who runs what next: queues requests that are bound to a lane, hands batches to free run slots, counts the leases."""

import threading
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from server.serving.admission import Admission
from server.serving.batching import Taken
from server.serving.lane import Lane
from server.serving.request import Request
from server.serving.routes import Route, Routes

CANCELLED_MAX = 4096
# A lane counts as having callers for this long after its newest request.
ACTIVE_NS = 1_000_000_000


class StaleRoutesError(Exception):
    """The routes changed between binding and submitting."""


@dataclass(slots=True)
class Batch:
    """What one lane gave to one run slot."""

    lane: Lane
    taken: Taken
    at: int  # when it was taken, monotonic ns
    given_up: bool = False  # the part's request has failed; its other rows will not run


class Scheduler:
    """Owns, under its one lock: the current routes, every lane's queue and counts, the run slots, cancelled calls.

    There are never more batches running than slots, and the pumps are one more than the slots, so one pump is
    always free to receive.
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

    def submit(
        self, admitted: Mapping[Lane, Sequence[Request]], routes: Routes, cancelled: Sequence[Any], now: int
    ) -> Batch | None:
        """Queues requests, which were bound by `routes`, and takes a batch if a slot is free.

        Raises StaleRoutesError, changing nothing, when the routes have changed: the requests must be bound again.
        """
        with self._lock:
            if routes is not self.routes:
                raise StaleRoutesError
            for lane, requests in admitted.items():
                if requests and not lane.queue:
                    self._waiting.append(lane)
                    lane.queued_since = now
                lane.asked = now
                lane.queue.put(requests, lane.cost.batch_rows)
                lane.held += len(requests)
                for request in requests:
                    if request.route is not None:
                        request.route.held += 1
            if cancelled:
                self._cancel(cancelled)
            return self._claim(now)

    def finish(self, batch: Batch, now: int) -> Batch | None:
        """Gives back the slot and the leases of requests that are answered, and takes the next batch if any waits.

        A part's request goes back into the queue, unless it is complete or `given_up`.
        """
        lane, part = batch.lane, batch.taken.part
        with self._lock:
            self._running -= 1
            lane.running -= 1
            if batch.taken.rows:
                lane.cost.observe(batch.taken.rows, (now - batch.at) / 1e3)
            self._release(lane, batch.taken.requests)
            if part is not None and (part.last or batch.given_up):
                self._release(lane, (part.request,))
            elif part is not None:
                if not lane.queue:
                    self._waiting.append(lane)
                    lane.queued_since = now
                lane.queue.put_back(part.request)
            if self._watched:
                self._released.notify_all()
            return self._claim(now)

    def replace_route(self, route: Route) -> Route | None:
        """Makes `route` its model's; what is submitted from now on is bound by it. Returns the former one."""
        with self._lock:
            former = self.routes.models.get(route.model)
            self.routes = self.routes.replacing(route)
            return former

    def waiting(self) -> tuple[Lane, ...]:
        """The lanes that have a queue now, for a forecast; taken without the lock."""
        return tuple(self._waiting)

    def wait_released(self, held: Route | Lane, timeout_s: float) -> bool:
        """Waits until a route or a lane holds no request; False when that took too long."""
        with self._lock:
            self._watched += 1
            try:
                return self._released.wait_for(lambda: held.held == 0, timeout_s)
            finally:
                self._watched -= 1

    def wait_idle(self, timeout_s: float) -> bool:
        """Waits until nothing is queued or runs."""
        with self._lock:
            self._watched += 1
            try:
                return self._released.wait_for(lambda: not self._waiting and not self._running, timeout_s)
            finally:
                self._watched -= 1

    def _claim(self, now: int) -> Batch | None:
        if self._running >= self._slots or not self._waiting:
            return None
        lane = self._next_lane(now)
        if lane is None:
            return None
        fresh_since = self._admission.fresh_since(lane, now)
        taken = lane.queue.take(lane.cost.batch_rows, now, self._cancelled, fresh_since)
        if taken.expired or taken.cancelled or taken.stale:
            self._release(lane, (*taken.expired, *taken.cancelled, *taken.stale))
        if lane.queue:
            self._waiting.append(lane)
        self._running += 1
        lane.running += 1
        return Batch(lane, taken, now)

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
            other is not lane and now - other.asked < ACTIVE_NS
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

    @staticmethod
    def _release(lane: Lane, requests: Sequence[Request]) -> None:
        lane.held -= len(requests)
        for request in requests:
            if request.route is not None:
                request.route.held -= 1
