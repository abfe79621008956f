"""Which waiting rows run together. Pure: no clock, no threads, no I/O.

Greedy and without a timer: whatever waits when a slot is free goes now. Rows are counted, not requests.
"""

from collections import deque
from collections.abc import Container
from dataclasses import dataclass, field

from server.serving.request import Request


@dataclass(frozen=True, slots=True)
class Part:
    """Rows `start` to `stop` of a request that is larger than a batch."""

    request: Request
    start: int
    stop: int

    @property
    def last(self) -> bool:
        """Whether the request is complete with it."""
        return self.stop == self.request.rows


@dataclass(slots=True)
class Taken:
    """What leaves a lane's queue: whole requests and at most one part that run together in this order."""

    requests: list[Request] = field(default_factory=list)
    part: Part | None = None
    rows: int = 0
    expired: list[Request] = field(default_factory=list)
    cancelled: list[Request] = field(default_factory=list)


def take(queue: deque[Request], rows_max: int, now: int, cancelled: Container[int]) -> Taken:
    """Removes the next batch of at most `rows_max` rows from `queue`.

    A request that fits is never split. One larger than a whole batch gives what fits; the rest goes to the back of
    the queue when that has run, so that small requests behind it wait for one batch of it, not for all, and it
    never takes more than one slot.
    """
    taken = Taken()
    requests, room = taken.requests, rows_max
    while queue and room:
        request = queue[0]
        if cancelled and request.call in cancelled:
            taken.cancelled.append(queue.popleft())
        elif request.deadline and request.deadline <= now:
            taken.expired.append(queue.popleft())
        elif request.rows <= room:
            requests.append(queue.popleft())
            room -= request.rows
        elif request.rows > rows_max:
            start = request.taken
            request.taken = stop = min(start + room, request.rows)
            taken.part = Part(queue.popleft(), start, stop)
            room -= stop - start
            break
        else:
            break
    taken.rows = rows_max - room
    return taken
