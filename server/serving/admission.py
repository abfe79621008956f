"""Admission: refuses requests whose forecast wait is too long. Pure: no clock, no threads, no I/O.

The wait is computed from the cost curve; a controller that watches latency would take batching for congestion. A
request that would wait too long is refused at once, while the caller can still retry elsewhere or later.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from onnxpress.server.errors import OverloadedError
from onnxpress.server.serving.lane import Lane
from onnxpress.server.serving.request import Request

PRIORITY_KEY = "x-onnxpress-priority"
# The share of the latency target that a request of each priority may wait; the lowest priority is shed first. A queue
# that was empty within BURST_NS holds a burst: it ends, and only its last requests wait that long, so the limit is
# higher. In a queue that never empties, an overload, every request waits that long. Two limits as in B. Maurer, "Fail
# at Scale", ACM Queue 13(8), 2015, after CoDel (RFC 8289).
BURST_NS = 500_000_000
BURST_WAIT = {"critical": 0.75, "default": 0.6, "sheddable": 0.3}
OVERLOAD_WAIT = {"critical": 0.5, "default": 0.4, "sheddable": 0.2}
WAIT_MIN = min(OVERLOAD_WAIT.values())
# An admitted request that has waited this share of the target, longer than forecast, is refused instead of run late.
BURST_STALE, OVERLOAD_STALE = 0.75, 0.6
RETRY_MS_MIN, RETRY_MS_MAX = 10, 5_000
Refused = tuple[Request, OverloadedError]


@dataclass(frozen=True, slots=True)
class Ahead:
    """What waits before a new request: rows of small and of large requests (see Queue) in its lane, and bytes."""

    small: int
    large: int
    bytes: int  # of the requests that wait in any lane


@dataclass(frozen=True)
class Admission:
    """The admission rule, with hard limits on waiting rows and bytes that hold for any forecast."""

    slots: int
    target_us: float
    rows_max: int  # in one lane
    bytes_max: int  # in all lanes together

    def refuse(
        self, lane: Lane, requests: Sequence[Request], waiting: Sequence[Lane], now: int, admitted_bytes: int = 0
    ) -> Sequence[Refused]:
        """Those of `requests`, all bound to `lane`, that are refused at `now` (monotonic ns), each with its error.

        `waiting`: the lanes that have a queue; slots go to them in turn. `admitted_bytes`: payload bytes of requests to
        other lanes that are admitted but not yet queued.
        """
        others = [other for other in waiting if other is not lane]
        elsewhere = admitted_bytes + sum([other.queue.bytes for other in others])
        if len(requests) == 1 and not lane.queue.rows and not self._no_room(elsewhere, requests[0].size):
            return ()  # nothing is ahead of it
        ahead = Ahead(lane.queue.rows - lane.queue.large_rows, lane.queue.large_rows, elsewhere + lane.queue.bytes)
        if self._all_admitted(lane, requests, ahead, others, now):
            return ()
        shares = BURST_WAIT if _burst(lane, now) else OVERLOAD_WAIT
        urgent = lane.queue.urgent_rows
        refused: list[Refused] = []
        for request in requests:
            large = request.rows > lane.cost.unsplit_rows_max
            wait_us = self.wait_us(lane, request.rows, ahead, others)
            limit_us = self.target_us * WAIT_MIN
            if wait_us > limit_us:  # the metadata is read only if the priority matters
                priority = _priority(request)
                limit_us = self.target_us * shares[priority]
                if priority == "critical":
                    request.urgent = True
                    before = replace(ahead, large=urgent) if large else replace(ahead, small=urgent)
                    wait_us = self.wait_us(lane, request.rows, before, others)
            if request.deadline:
                limit_us = min(limit_us, (request.deadline - now) / 1e3)
            rows = ahead.small + ahead.large
            # A large request may take longer than any limit; it is refused only if another large one is ahead of it.
            if rows and rows + request.rows > self.rows_max:
                refused.append((request, _full(f"this version are at their limit of {self.rows_max} rows", wait_us)))
            elif self._no_room(ahead.bytes, request.size):
                refused.append((request, _full(f"all models are at their limit of {self.bytes_max} bytes", wait_us)))
            elif wait_us > limit_us and (ahead.large if large else rows):
                refused.append((request, _overloaded(wait_us, limit_us)))
            else:
                urgent += request.rows if request.urgent else 0
                ahead = Ahead(
                    ahead.small + (0 if large else request.rows),
                    ahead.large + large * request.rows,
                    ahead.bytes + request.size,
                )
        return refused

    def _no_room(self, waiting: int, size: int) -> bool:
        """Whether `size` more bytes exceed the limit. If nothing waits, any size fits."""
        return waiting > 0 and waiting + size > self.bytes_max

    def _all_admitted(
        self, lane: Lane, requests: Sequence[Request], ahead: Ahead, others: Sequence[Lane], now: int
    ) -> bool:
        """Whether the wait of the last of `requests` is within every limit: the usual case, with a single forecast."""
        counts = [request.rows for request in requests]
        size = sum([request.size for request in requests])
        rows = sum(counts)
        if (
            max(counts) > lane.cost.unsplit_rows_max
            or ahead.small + ahead.large + rows > self.rows_max
            or ahead.bytes + size > self.bytes_max
        ):
            return False
        wait_us = self._turns_us(lane, ahead.small + rows, ahead.large, others)
        if wait_us > self.target_us * WAIT_MIN:
            return False
        latest = now + wait_us * 1e3
        return not [request for request in requests if request.deadline and request.deadline <= latest]

    def wait_us(self, lane: Lane, rows: int, ahead: Ahead, others: Sequence[Lane]) -> float:
        """Forecast of the microseconds until a request of `rows` rows, with `ahead` before it, is answered."""
        if rows > lane.cost.unsplit_rows_max:
            return self._turns_us(lane, ahead.large + rows, ahead.small, others)
        return self._turns_us(lane, ahead.small + rows, ahead.large, others)

    def _turns_us(self, lane: Lane, rows: int, other_kind: int, others: Sequence[Lane]) -> float:
        """Microseconds to run `rows` rows of one kind, small or large, while the other kind and other lanes alternate.

        `other_kind`: rows of the other kind that wait in the lane.
        """
        batch = lane.cost.batch_rows
        batches = -(-rows // batch)
        micros = lane.cost.backlog_us(rows)
        if other_kind:
            micros += lane.cost.backlog_us(min(other_kind, batches * batch))
        for other in others:
            micros += other.cost.backlog_us(min(other.queue.rows, batches * other.cost.batch_rows))
        # Running batches are on average half done.
        micros += lane.running * lane.cost.backlog_us(batch) / 2
        return micros / min(self.slots, batches + lane.running + len(others))

    def fresh_since(self, lane: Lane, now: int) -> int:
        """Requests in `lane` that arrived before this time (monotonic ns) have waited too long to be run."""
        share = BURST_STALE if _burst(lane, now) else OVERLOAD_STALE
        return now - int(self.target_us * share * 1e3)


def _burst(lane: Lane, now: int) -> bool:
    return not lane.queue.rows or now - lane.queued_since <= BURST_NS


def _priority(request: Request) -> str:
    value = next((value for key, value in request.metadata if key == PRIORITY_KEY), "default")
    return str(value) if value in OVERLOAD_WAIT else "default"


def stale(request: Request, now: int) -> OverloadedError:
    """The error of an admitted request that has waited too long to be run."""
    wait_ms = (now - request.arrival) / 1e6
    return OverloadedError(f"the request has waited {wait_ms:.0f} ms, longer than forecast", _retry_ms(wait_ms * 1e3))


def _overloaded(wait_us: float, limit_us: float) -> OverloadedError:
    # Rounded to 10 ms, so that thousands of callers get equal messages, whose encoding is cached.
    wait_ms = _wait_ms(wait_us)
    message = f"the request would wait about {wait_ms} ms, the limit is {max(0, round(limit_us / 1e4) * 10)} ms"
    return OverloadedError(message, _retry_ms(wait_us))


def _full(limit: str, wait_us: float) -> OverloadedError:
    return OverloadedError(f"the requests that wait for {limit}", _retry_ms(wait_us))


def _wait_ms(wait_us: float) -> int:
    return max(RETRY_MS_MIN, round(wait_us / 1e4) * 10)


def _retry_ms(wait_us: float) -> int:
    return min(_wait_ms(wait_us), RETRY_MS_MAX)
