"""Which requests may join a lane's queue. Pure: the lane's counts and the settings decide."""

from collections.abc import Iterable, Sequence

from server.errors import OverloadedError
from server.serving.lane import Lane
from server.serving.request import Request
from server.settings import MIB, Settings

RETRY_MS = 100
Refused = tuple[Request, OverloadedError]


class Admission:
    """The hard caps on what may wait."""

    def __init__(self, settings: Settings) -> None:
        self._rows_max = settings.queue_rows_max
        self._bytes_max = settings.queue_mib_max * MIB

    def refuse(self, lane: Lane, requests: Sequence[Request]) -> Iterable[Refused]:
        """Those of `requests` that find the queue full."""
        rows, size = lane.queued_rows, lane.queued_bytes
        refused: list[Refused] = []
        for request in requests:
            rows += request.rows
            size += request.size
            if rows > self._rows_max or size > self._bytes_max:
                rows -= request.rows
                size -= request.size
                why = (
                    f"{rows} rows and {size} bytes wait already, the limits are {self._rows_max} and {self._bytes_max}"
                )
                refused.append((request, OverloadedError(why, RETRY_MS)))
        return refused
