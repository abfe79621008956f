"""Which requests may join a lane's queue: a forecast of their wait decides. Pure: no clock, no threads, no I/O.

The service time is known, so the wait can be computed; a controller that watches latency would read batching itself
as congestion. What would wait too long is told so at once, when trying elsewhere or later still helps the caller.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from server.errors import OverloadedError
from server.serving.lane import Lane
from server.serving.request import Request

PRIORITY_KEY = "x-onnxpress-priority"
# The share of the latency target that a request of each priority may wait: the lowest is shed first.
PATIENCE = {"critical": 0.75, "default": 0.5, "sheddable": 0.25}
LEAST_PATIENCE = min(PATIENCE.values())
RETRY_MS_MIN, RETRY_MS_MAX = 10, 5_000
Refused = tuple[Request, OverloadedError]


@dataclass(frozen=True)
class Admission:
    """The rule, and the hard caps on what may wait in one lane whatever the forecast says."""

    slots: int
    target_us: float
    rows_max: int
    bytes_max: int

    def refuse(self, lane: Lane, requests: Sequence[Request], waiting: Sequence[Lane], now: int) -> Sequence[Refused]:
        """Those of `requests`, which all want `lane`, that are not to be admitted at `now` (monotonic ns).

        `waiting`: the lanes that have a queue; slots go to them in turn.
        """
        others = [other for other in waiting if other is not lane]
        if self._all_welcome(lane, requests, others, now):
            return ()
        backlog, rows, size = lane.backlog_rows, lane.queued_rows, lane.queued_bytes
        refused: list[Refused] = []
        for request in requests:
            # Of a request larger than a batch only one batch stands before the next: the rest goes to the back.
            weight = min(request.rows, lane.cost.batch_rows)
            wait_us = self.wait_us(lane, backlog + weight, others)
            limit_us = self._limit_us(request, wait_us, now)
            full = rows + request.rows > self.rows_max or size + request.size > self.bytes_max
            if rows and (full or wait_us > limit_us):
                refused.append((request, _overloaded(wait_us, limit_us)))
            else:
                backlog += weight
                rows += request.rows
                size += request.size
        return refused

    def _all_welcome(self, lane: Lane, requests: Sequence[Request], others: Sequence[Lane], now: int) -> bool:
        """Whether even the last of `requests` waits less than anybody minds: the usual case, told with one forecast."""
        rows = sum([request.rows for request in requests])
        size = sum([request.size for request in requests])
        if lane.queued_rows + rows > self.rows_max or lane.queued_bytes + size > self.bytes_max:
            return False
        wait_us = self.wait_us(lane, lane.backlog_rows + rows, others)
        if wait_us > self.target_us * LEAST_PATIENCE:
            return False
        latest = now + wait_us * 1e3
        return all(not request.deadline or request.deadline > latest for request in requests)

    def wait_us(self, lane: Lane, rows: int, others: Sequence[Lane]) -> float:
        """Forecast of the time until `rows` rows of `lane`, the last of them ours, are answered."""
        batch = lane.cost.batch_rows
        batches = -(-rows // batch)
        own = lane.cost.backlog_us(rows)
        for other in others:
            own += other.cost.backlog_us(min(other.backlog_rows, batches * other.cost.batch_rows))
        # What runs already is on average half done.
        running = lane.running * lane.cost.backlog_us(batch) / 2
        return (own + running) / min(self.slots, batches + lane.running + len(others))

    def _limit_us(self, request: Request, wait_us: float, now: int) -> float:
        limit = self.target_us * LEAST_PATIENCE
        if wait_us > limit:  # only now is it worth reading the metadata
            priority = next((value for key, value in request.metadata if key == PRIORITY_KEY), "default")
            limit = self.target_us * PATIENCE.get(str(priority), PATIENCE["default"])
        return min(limit, (request.deadline - now) / 1e3) if request.deadline else limit


def _overloaded(wait_us: float, limit_us: float) -> OverloadedError:
    # Whole tens of milliseconds: equal messages are written once for thousands of callers.
    wait_ms = max(RETRY_MS_MIN, round(wait_us / 1e4) * 10)
    message = f"it would wait about {wait_ms} ms, the limit is {max(0, round(limit_us / 1e4) * 10)} ms"
    return OverloadedError(message, min(wait_ms, RETRY_MS_MAX))
