"""A connection of the HTTP port, with limits on its duration and number.

uvicorn limits neither the time a client takes for its headers or for reading the answer, nor the number of idle
connections.
"""

import asyncio
from dataclasses import dataclass
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol


@dataclass(frozen=True)
class Limits:
    """Of the HTTP port."""

    connections_max: int = 64
    request_s: float = 10.0  # seconds from a request's first byte to the last of its answer, and between two requests
    header_bytes_max: int = 16 * 1024


class Connection(H11Protocol):
    """Owned by the control loop, like uvicorn's own protocols."""

    def __init__(self, limits: Limits, **uvicorns: Any) -> None:
        super().__init__(**uvicorns)
        self._limits = limits
        self._deadline: asyncio.TimerHandle | None = None
        self._asking = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as uvicorn has it
        super().connection_made(transport)
        self._give_time()
        if len(self.connections) > self._limits.connections_max:
            self._make_room()

    def data_received(self, data: bytes) -> None:
        if not self._asking:
            self._asking = True
            self._give_time()
        super().data_received(data)

    def on_response_complete(self) -> None:
        # Before uvicorn's own code, which may start the next request if it has arrived.
        self._asking = False
        self._give_time()
        super().on_response_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._deadline:
            self._deadline.cancel()
        super().connection_lost(exc)

    def _give_time(self) -> None:
        if self._deadline:
            self._deadline.cancel()
        self._deadline = self.loop.call_later(self._limits.request_s, self.transport.abort)

    def _make_room(self) -> None:
        """Closes the connection that has been idle longest; this one if all others are being answered."""
        others = self.connections - {self}
        waiting = [one for one in others if isinstance(one, Connection) and not one.answering]
        min(waiting, key=Connection.time_left, default=self).transport.abort()

    @property
    def answering(self) -> bool:
        return self.cycle is not None and not self.cycle.response_complete

    def time_left(self) -> float:
        return self._deadline.when() if self._deadline else 0.0
