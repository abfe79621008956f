"""Whether a request may join a lane's queue. Pure: the lane's counts and the settings decide."""

from server.errors import OverloadedError
from server.serving.request import Request
from server.settings import MIB, Settings

RETRY_MS = 100


class Admission:
    """The hard caps on what may wait."""

    def __init__(self, settings: Settings) -> None:
        self._rows_max = settings.queue_rows_max
        self._bytes_max = settings.queue_mib_max * MIB

    def check(self, request: Request) -> None:
        """Raises OverloadedError when the lane's queue is full."""
        lane = request.lane
        if lane.queued_rows + request.rows > self._rows_max and lane.queued_rows:
            raise OverloadedError(f"{lane.queued_rows} rows wait already, the limit is {self._rows_max}", RETRY_MS)
        if lane.queued_bytes + request.size > self._bytes_max and lane.queued_bytes:
            raise OverloadedError(f"{lane.queued_bytes} bytes wait already, the limit is {self._bytes_max}", RETRY_MS)
