"""Which requests may join a lane's queue: a forecast of their wait decides. Pure: no clock, no threads, no I/O.

The service time is known, so the wait can be computed; a controller that watches latency would read batching itself
as congestion. What would wait too long is told so at once, when trying elsewhere or later still helps the caller.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from onnxpress.server.errors import OverloadedError
from onnxpress.server.serving.lane import Lane
from onnxpress.server.serving.request import Request

PRIORITY_KEY = "x-onnxpress-priority"
# The share of the latency target that a request of each priority may wait: the lowest is shed first. A queue that has
# been empty lately holds a burst, which passes, and few wait as long as its last one: there patience is longer. In one
# that never empties, an overload, everybody waits that long. Two patiences as in B. Maurer, "Fail at Scale", ACM Queue
# 13(8), 2015, after CoDel (RFC 8289).
LATELY_NS = 500_000_000
BURST_PATIENCE = {"critical": 0.75, "default": 0.6, "sheddable": 0.3}
OVERLOAD_PATIENCE = {"critical": 0.5, "default": 0.4, "sheddable": 0.2}
LEAST_PATIENCE = min(OVERLOAD_PATIENCE.values())
# What has waited this share of the target, against its forecast, is refused rather than run late.
BURST_STALE, OVERLOAD_STALE = 0.75, 0.6
RETRY_MS_MIN, RETRY_MS_MAX = 10, 5_000
Refused = tuple[Request, OverloadedError]


@dataclass(frozen=True, slots=True)
class Ahead:
    """What waits before a newcomer: in its lane rows of small requests and of large ones (see Queue); bytes of all."""

    small: int
    large: int
    bytes: int  # of the requests that wait in any lane


@dataclass(frozen=True)
class Admission:
    """The rule, and the hard caps on what may wait whatever the forecast says."""

    slots: int
    target_us: float
    rows_max: int  # in one lane
    bytes_max: int  # in all lanes together

    def refuse(
        self, lane: Lane, requests: Sequence[Request], waiting: Sequence[Lane], now: int, admitted_bytes: int = 0
    ) -> Sequence[Refused]:
        """Those of `requests`, which all want `lane`, that are not to be admitted at `now` (monotonic ns).

        `waiting`: the lanes that have a queue; slots go to them in turn. `admitted_bytes`: of requests to other lanes
        that are admitted and not queued yet.
        """
        others = [other for other in waiting if other is not lane]
        elsewhere = admitted_bytes + sum([other.queue.bytes for other in others])
        if len(requests) == 1 and not lane.queue.rows and not self._no_room(elsewhere, requests[0].size):
            return ()  # nothing is ahead of it, so there is nothing to refuse it for
        ahead = Ahead(lane.queue.rows - lane.queue.large_rows, lane.queue.large_rows, elsewhere + lane.queue.bytes)
        if self._all_welcome(lane, requests, ahead, others, now):
            return ()
        patience = BURST_PATIENCE if _burst(lane, now) else OVERLOAD_PATIENCE
        urgent = lane.queue.urgent_rows
        refused: list[Refused] = []
        for request in requests:
            large = request.rows > lane.cost.unsplit_rows_max
            wait_us = self.wait_us(lane, request.rows, ahead, others)
            limit_us = self.target_us * LEAST_PATIENCE
            if wait_us > limit_us:  # only now is it worth reading the metadata
                priority = _priority(request)
                limit_us = self.target_us * patience[priority]
                if priority == "critical":
                    request.urgent = True
                    before = replace(ahead, large=urgent) if large else replace(ahead, small=urgent)
                    wait_us = self.wait_us(lane, request.rows, before, others)
            if request.deadline:
                limit_us = min(limit_us, (request.deadline - now) / 1e3)
            rows = ahead.small + ahead.large
            # A large request may take longer than anybody would wait; where none is before it, it need not wait.
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
        """Whether `size` bytes more are too many. Where nothing waits there is room for any request."""
        return waiting > 0 and waiting + size > self.bytes_max

    def _all_welcome(
        self, lane: Lane, requests: Sequence[Request], ahead: Ahead, others: Sequence[Lane], now: int
    ) -> bool:
        """Whether even the last of `requests` waits less than anybody minds: the usual case, told with one forecast."""
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
        if wait_us > self.target_us * LEAST_PATIENCE:
            return False
        latest = now + wait_us * 1e3
        return not [request for request in requests if request.deadline and request.deadline <= latest]

    def wait_us(self, lane: Lane, rows: int, ahead: Ahead, others: Sequence[Lane]) -> float:
        """Forecast of the time until a request of `rows` rows with that much ahead of it is answered."""
        if rows > lane.cost.unsplit_rows_max:
            return self._turns_us(lane, ahead.large + rows, ahead.small, others)
        return self._turns_us(lane, ahead.small + rows, ahead.large, others)

    def _turns_us(self, lane: Lane, rows: int, other_kind: int, others: Sequence[Lane]) -> float:
        """Working off `rows` rows of one kind, small or large, while the other kind and other lanes take turns."""
        batch = lane.cost.batch_rows
        batches = -(-rows // batch)
        micros = lane.cost.backlog_us(rows)
        if other_kind:
            micros += lane.cost.backlog_us(min(other_kind, batches * batch))
        for other in others:
            micros += other.cost.backlog_us(min(other.queue.rows, batches * other.cost.batch_rows))
        # What runs already is on average half done.
        micros += lane.running * lane.cost.backlog_us(batch) / 2
        return micros / min(self.slots, batches + lane.running + len(others))

    def fresh_since(self, lane: Lane, now: int) -> int:
        """When a small request that waits in `lane` must have come, in monotonic ns, not to be too late to run."""
        share = BURST_STALE if _burst(lane, now) else OVERLOAD_STALE
        return now - int(self.target_us * share * 1e3)


def _burst(lane: Lane, now: int) -> bool:
    return not lane.queue.rows or now - lane.queued_since <= LATELY_NS


def _priority(request: Request) -> str:
    value = next((value for key, value in request.metadata if key == PRIORITY_KEY), "default")
    return str(value) if value in OVERLOAD_PATIENCE else "default"


def stale(request: Request, now: int) -> OverloadedError:
    """Why a request that was admitted is not run after all."""
    wait_ms = (now - request.arrival) / 1e6
    return OverloadedError(f"it has waited {wait_ms:.0f} ms, longer than forecast", _retry_ms(wait_ms * 1e3))


def _overloaded(wait_us: float, limit_us: float) -> OverloadedError:
    # Whole tens of milliseconds: equal messages are written once for thousands of callers.
    wait_ms = _wait_ms(wait_us)
    message = f"it would wait about {wait_ms} ms, the limit is {max(0, round(limit_us / 1e4) * 10)} ms"
    return OverloadedError(message, _retry_ms(wait_us))


def _full(limit: str, wait_us: float) -> OverloadedError:
    return OverloadedError(f"the requests that wait for {limit}", _retry_ms(wait_us))


def _wait_ms(wait_us: float) -> int:
    return max(RETRY_MS_MIN, round(wait_us / 1e4) * 10)


def _retry_ms(wait_us: float) -> int:
    return min(_wait_ms(wait_us), RETRY_MS_MAX)
