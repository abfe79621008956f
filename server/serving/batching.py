"""The queue of a lane, and which of its rows form the next batch. Pure: no clock, no threads, no I/O.

Batching is greedy and without a timer: a free slot takes what waits, up to a number of rows, not of requests.
"""

from collections import deque
from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass

from onnxpress.server.facts import Columns
from onnxpress.server.serving.request import Request, UniformBatch, route_key, trace_parent


@dataclass(frozen=True, slots=True)
class Part:
    """Rows `start` to `stop` of a request that is too large to run in one piece."""

    request: Request
    start: int
    stop: int

    @property
    def last(self) -> bool:
        """Whether this is the last part of its request."""
        return self.stop == self.request.rows


class Taken:
    """What `Queue.take` removes: whole requests and at most one part, run in this order; and requests not to be run.

    A plain class, because its construction is on the hot path.
    """

    __slots__ = ("bytes", "cancelled", "expired", "part", "requests", "rows", "stale", "uniform")

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.part: Part | None = None
        self.uniform: UniformBatch | None = None  # instead of requests and part, if the calls were not queued
        self.rows = 0
        self.bytes = 0  # of the requests' payloads
        self.expired: list[Request] = []
        self.stale: list[Request] = []
        self.cancelled: list[Request] = []

    def arrivals(self) -> list[int]:
        """When each call that these rows complete was received, in monotonic ns."""
        if self.uniform is not None:
            return [self.uniform.arrival] * len(self.uniform.calls)
        arrivals = [request.arrival for request in self.requests]
        if self.part is not None and self.part.last:
            arrivals.append(self.part.request.arrival)
        return arrivals

    def variants(self) -> list[str]:
        """Why this version answers each call that this batch completes."""
        if self.uniform is not None:
            return [self.uniform.variant] * len(self.uniform.calls)
        variants = [request.variant for request in self.requests]
        if self.part is not None and self.part.last:
            variants.append(self.part.request.variant)
        return variants

    def columns(self) -> Columns:
        """All that the calls hold for observers, once they were answered."""
        requests = self.uniform.requests() if self.uniform is not None else [*self.requests]
        rows, starts, statuses = [request.rows for request in requests], [0] * len(requests), ["OK"] * len(requests)
        if self.part is not None:
            requests.append(self.part.request)
            rows.append(self.part.stop - self.part.start)
            starts.append(self.part.start)
            statuses.append("OK" if self.part.last else "")
        return Columns(
            arrivals=[request.arrival for request in requests],
            rows=rows,
            starts=starts,
            statuses=statuses,
            ids=[request.parsed.id for request in requests],
            keys=[route_key(request.metadata, request.parsed.key) for request in requests],
            traces=[trace_parent(request.metadata) for request in requests],
            epochs=[request.route.epoch if request.route is not None else 0 for request in requests],
            variants=[request.variant for request in requests],
        )


def alone(request: Request | None, part: Part | None = None) -> Taken:
    """A request, or a part of one, as a batch of its own."""
    taken = Taken()
    if request is not None:
        taken.requests.append(request)
        taken.rows = request.rows
    if part is not None:
        taken.part, taken.rows = part, part.stop - part.start
    return taken


class Queue:
    """The requests that wait in one lane: small ones, which run in one piece, and large ones, which are split.

    Batches of small and of large requests alternate, so that a small request waits for at most one batch of a large
    one, and small requests cannot starve a large one. Each kind is first in, first out, but urgent requests go before
    the others of their kind. A large request is in one batch at a time: when that has run, the rest is put back in
    front.
    """

    def __init__(self) -> None:
        # The `first` queues hold the urgent requests of each kind, and a large request whose first part has run.
        self._first_small: deque[Request] = deque()
        self._small: deque[Request] = deque()
        self._first_large: deque[Request] = deque()
        self._large: deque[Request] = deque()
        self._large_turn = False
        self.rows = 0  # waiting rows of both kinds
        self.large_rows = 0
        self.bytes = 0  # of the payloads of waiting requests

    def __bool__(self) -> bool:
        return bool(self._small or self._large or self._first_small or self._first_large)

    @property
    def urgent_rows(self) -> int:
        """Waiting rows that go before those of other requests of their kind."""
        return sum(request.rows - request.taken for request in (*self._first_small, *self._first_large))

    def calls(self) -> Iterator[object]:
        """The calls of all waiting requests."""
        queues = (self._first_small, self._small, self._first_large, self._large)
        return (request.call for queue in queues for request in queue)

    def put(self, requests: Sequence[Request], unsplit_rows_max: int) -> None:
        """Adds new requests; those of more than `unsplit_rows_max` rows are large."""
        rows = size = 0
        for request in requests:
            rows += request.rows
            size += request.size
            if request.rows > unsplit_rows_max:
                (self._first_large if request.urgent else self._large).append(request)
                self.large_rows += request.rows
            elif request.urgent:
                self._first_small.append(request)
            else:
                self._small.append(request)
        self.rows += rows
        self.bytes += size

    def put_back(self, request: Request) -> None:
        """Puts the rows of a large request that have not yet run back in front of all others of its kind."""
        left = request.rows - request.taken
        self._first_large.appendleft(request)
        self.rows += left
        self.large_rows += left
        self.bytes += request.size

    def take(self, rows_max: int, now: int, cancelled: Container[object], fresh_since: int = 0) -> Taken:
        """Removes the next batch, of at most `rows_max` rows, and requests that are cancelled, expired or stale.

        Requests that arrived before `fresh_since` (monotonic ns) are stale, except the newest of each kind and large
        ones whose first part has run. A small request is never split; one of more than `rows_max` rows runs alone.
        """
        taken = Taken()
        large_first = self._large_turn and bool(self._large or self._first_large)
        if not large_first:
            self._take_small(taken, rows_max, now, cancelled, fresh_since)
        if taken.rows < rows_max:
            self._take_large(taken, rows_max - taken.rows, now, cancelled, fresh_since)
        if large_first and taken.part is None:
            self._take_small(taken, rows_max, now, cancelled, fresh_since)
        self._large_turn = taken.part is None
        return taken

    def _take_small(
        self, taken: Taken, rows_max: int, now: int, cancelled: Container[object], fresh_since: int
    ) -> None:
        requests, room = taken.requests, rows_max
        for waiting in (self._first_small, self._small):
            size = 0
            while waiting:
                request = waiting[0]
                if cancelled and request.call in cancelled:
                    self._discard(waiting.popleft(), taken.cancelled)
                elif request.deadline and request.deadline <= now:
                    self._discard(waiting.popleft(), taken.expired)
                elif request.arrival < fresh_since and len(waiting) > 1:
                    self._discard(waiting.popleft(), taken.stale)
                elif request.rows <= room or not requests:
                    requests.append(waiting.popleft())
                    room -= request.rows
                    size += request.size
                else:
                    break
            self.bytes -= size
            taken.bytes += size
        taken.rows = rows_max - room
        self.rows -= taken.rows

    def _take_large(self, taken: Taken, room: int, now: int, cancelled: Container[object], fresh_since: int) -> None:
        while waiting := self._first_large or self._large:
            request = waiting.popleft()
            left = request.rows - request.taken
            self.large_rows -= left
            if cancelled and request.call in cancelled:
                self._discard(request, taken.cancelled)
                continue
            if request.deadline and request.deadline <= now:
                self._discard(request, taken.expired)
                continue
            if request.arrival < fresh_since and not request.taken and waiting:
                self._discard(request, taken.stale)
                continue
            start, rows = request.taken, min(room, left)
            request.taken = start + rows
            taken.part = Part(request, start, start + rows)
            taken.rows += rows
            taken.bytes += request.size
            self.rows -= left
            self.bytes -= request.size
            return

    def _discard(self, request: Request, to: list[Request]) -> None:
        to.append(request)
        self.rows -= request.rows - request.taken
        self.bytes -= request.size
