"""Which waiting rows run together. Pure: no clock, no threads, no I/O.

Greedy and without a timer: whatever waits when a slot is free goes now. Rows are counted, not requests.
"""

from collections import deque
from collections.abc import Container
from dataclasses import dataclass, field

from server.serving.request import Request


@dataclass(frozen=True, slots=True)
class Slice:
    """Rows `start` to `stop` of a request."""

    request: Request
    start: int
    stop: int


@dataclass(slots=True)
class Taken:
    """What leaves a lane's queue: slices that run together, and requests that nobody waits for any more."""

    slices: list[Slice] = field(default_factory=list)
    rows: int = 0
    rest: Request | None = None  # has rows left; to be queued again once these have run
    expired: list[Request] = field(default_factory=list)
    cancelled: list[Request] = field(default_factory=list)


def take(queue: deque[Request], rows_max: int, now: int, cancelled: Container[int]) -> Taken:
    """Removes the next batch of at most `rows_max` rows from `queue`.

    A request that fits is never split. One larger than a whole batch gives what fits; the rest goes to the back of
    the queue when that has run, so that small requests behind it wait for one batch of it, not for all, and it
    never takes more than one slot.
    """
    taken = Taken()
    while queue and taken.rows < rows_max:
        request = queue[0]
        if request.call in cancelled:
            taken.cancelled.append(queue.popleft())
            continue
        if request.deadline and request.deadline <= now:
            taken.expired.append(queue.popleft())
            continue
        left = request.rows - request.taken
        room = rows_max - taken.rows
        if left > room and request.rows <= rows_max:
            break
        rows = min(left, room)
        taken.slices.append(Slice(request, request.taken, request.taken + rows))
        request.taken += rows
        taken.rows += rows
        queue.popleft()
        if rows < left:
            taken.rest = request
            break
    return taken
