"""The protocol between the data plane and whatever speaks HTTP/2: events in, answers out."""

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
    """What speaks HTTP/2, or stands for it. Every method may be called from any thread."""

    @property
    def refuses(self) -> bool:
        """Whether the pumps refuse the calls that they receive from now on."""
        ...

    def receive(self, most: int) -> list[Event] | None:
        """Up to `most` events that wait, or blocks until there is one; None once the front is closed."""
        ...

    def answer(self, call: Any, payload: bytes) -> bool:
        """False when the caller has left."""
        ...

    def fail(self, call: Any, error: BaseException) -> str:
        """Ends the call with the status that `error` stands for; returns the status' name."""
        ...
