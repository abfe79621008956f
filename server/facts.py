"""What the data plane reports to its observers: once per run, never per request."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

from numpy.typing import NDArray


class LaneId(NamedTuple):
    """A loaded version: its names, and the digest of its package."""

    model: str
    version: str
    digest: str


class Columns(NamedTuple):
    """The calls of one run, one entry each, in the order in which their rows follow each other."""

    arrivals: list[int]  # monotonic ns, when the call was received
    rows: list[int]  # of the call, in this run
    starts: list[int]  # which of the call's rows is the first: not 0 where a large call is split over several runs
    statuses: list[str]  # gRPC status that this run ended the call with; empty where more rows of the call still wait
    ids: list[str]  # of the requests; empty where the caller gave none
    keys: list[str]  # route keys; empty where the caller gave none
    traces: list[str]  # traceparent (W3C Trace Context); empty where the caller gave none
    epochs: list[int]  # of the deployment that chose the version; 0 where the caller named it
    variants: list[str]  # why this version answered: see routing.py


class RunCalls(Protocol):
    """The calls of one run."""

    def arrivals(self) -> list[int]:
        """When each call that this run completed was received, in monotonic ns."""
        ...

    def variants(self) -> list[str]:
        """Why this version answered each call that this run completed: see routing.py."""
        ...

    def columns(self) -> Columns:
        """Builds the columns from the calls; not to be called in the pump's thread."""
        ...


class BatchRun(NamedTuple):
    """One run of a version whose answers are with the front. Times are in monotonic nanoseconds.

    All fields are references, payloads included: an observer keeps what it needs, no longer than it needs it. A tuple,
    because making one is on the hot path.
    """

    lane: LaneId
    calls: RunCalls
    rows: int
    inputs: Mapping[str, NDArray[Any]]  # by name, with the rows of all calls; read-only
    outputs: Sequence[Any]  # in the order of the signature, flat: bytes, or for BYTES a list of elements
    taken: int  # the batch was formed
    started: int  # the inputs were assembled, the run begins
    finished: int  # the run ended
    answered: int  # every answer was handed to the front


class Refusal(NamedTuple):
    """Calls that ended with an error, for one reason: before a run, or in one of their own that failed."""

    model: str  # empty where the call was never bound to a version
    version: str
    variant: str
    epoch: int  # of the deployment that chose the version; 0 where there was none
    code: str  # gRPC status, by name
    calls: int
    key: str = ""  # route key; empty where the caller gave none


class Observer(Protocol):
    """Called in the threads of the pumps, so it must return in microseconds.

    It keeps reports in a bounded buffer with a documented overflow policy, and processes them in a thread of its own.
    """

    def run_done(self, run: BatchRun) -> None: ...

    def refused(self, refusal: Refusal) -> None: ...


@dataclass(frozen=True)
class AdminFact:
    """A requested change of a deployment, as the audit log records it."""

    actor: str
    action: str  # deploy, rollback, load, unload
    model: str
    from_version: int
    to_version: int
    epoch: int
    digest: str
    reason: str
