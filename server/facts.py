"""What the data plane tells telemetry: once per batch, never per request, never asked."""

from dataclasses import dataclass
from typing import NamedTuple, Protocol


class BatchFacts(NamedTuple):
    """One executed batch. Times are in nanoseconds on the monotonic clock.

    A tuple, because making one is on the hot path.
    """

    model: str
    version: str
    rows: int
    arrivals: list[int]  # of every answered request, when it was received
    taken: int  # when the batch was formed
    started: int  # run begins; before it the inputs were assembled
    finished: int  # run ended
    answered: int  # every answer handed to the front


class Telemetry(Protocol):
    """Listeners must return in microseconds and never raise."""

    def batch_done(self, facts: BatchFacts) -> None: ...

    def refused(self, model: str, version: str, code: str, count: int) -> None:
        """`count` requests were answered with `code`, the gRPC name; model and version empty where unknown."""
        ...

    def pump_died(self, front: str) -> None:
        """A pump of the front of that name ended with an error."""
        ...


@dataclass(frozen=True)
class AdminFact:
    """One change of a deployment that somebody asked for, as the audit log keeps it."""

    actor: str
    action: str  # deploy, rollback, load, unload
    model: str
    from_version: int
    to_version: int
    epoch: int
    digest: str
    reason: str
