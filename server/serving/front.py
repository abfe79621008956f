"""The interface between the pumps and a front: events in, answers out."""

from collections.abc import Sequence
from typing import Any, Protocol

Metadata = Sequence[tuple[str, str | bytes]]
# (metadata, peer, seconds left before the deadline or None)
Details = tuple[Metadata, str, float | None]
# (kind, call, method, payload, client key, details)
Event = tuple[int, Any, int, bytes | None, Any, Details | None]
CALL = 0
CANCEL = 1


class Front(Protocol):
    """A source of calls: an HTTP/2 server, or `Calls` for callers in the process. Methods may run in any thread."""

    @property
    def refuses(self) -> bool:
        """Whether pumps must refuse the calls that they receive."""
        ...

    def receive(self, most: int) -> list[Event] | None:
        """Up to `most` waiting events, blocking if there are none; may return [] after a while; None once closed."""
        ...

    def answer(self, call: Any, payload: bytes) -> bool:
        """Sends the response; False when the caller is gone."""
        ...

    def fail(self, call: Any, error: BaseException) -> str:
        """Ends the call with the status of `error`; returns the status' name."""
        ...
