"""The plan of a load: every process computes the same schedule from it, and sends its own share."""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpress.loadtests.settings import Settings
from onnxpress.loadtests.workload.payloads import Payload, pool
from onnxpress.loadtests.workload.shapes import Phase, draw, schedule, share

ROWS_OF_POOL = 16_384  # rows of all payloads of a class; bounds the memory of large requests


@dataclass(frozen=True)
class Plan:
    """The load that all processes send next.

    `number` counts plans of a test; `zero`: the start of the test on the machine's monotonic clock, in seconds, which
    all processes share; `positions`: the index of each process.
    """

    number: int
    zero: float
    phases: tuple[Phase, ...]
    connections: int
    positions: dict[str, int]

    def as_message(self) -> dict[str, Any]:
        return {**asdict(self), "phases": [asdict(phase) for phase in self.phases]}

    @classmethod
    def of_message(cls, message: dict[str, Any]) -> "Plan":
        return cls(**{**message, "phases": tuple(Phase(**phase) for phase in message["phases"])})


@dataclass(frozen=True)
class Share:
    """The requests of one connection: due times in seconds of the test, classes and payloads; each [requests]."""

    due: NDArray[np.float64]
    kind: NDArray[np.int64]
    payload: NDArray[np.int64]


@dataclass(frozen=True)
class Ticket:
    """One request in flight: when it was due and when it was sent, in seconds of the test; its class and payload."""

    due: float
    sent: float
    kind: int
    payload: int


def shares(plan: Plan, settings: Settings, position: int, of: int) -> Share:
    """The share of the connection `position` of `of`: every process computes the same whole and takes its own."""
    seed = settings.seed + plan.number
    due = schedule(plan.phases, settings.arrivals, seed)
    mine = share(len(due), position, of)
    kinds = draw(len(due), [kind.weight for kind in settings.kinds], seed)
    return Share(due[mine], kinds[mine], mine)


def pools(settings: Settings, size: int = 256) -> list[list[Payload]]:
    """Up to `size` payloads of every class; classes that differ in priority only share them. Raises UsageError."""
    made: dict[tuple[str, int], list[Payload]] = {}
    for kind in settings.kinds:
        key = (kind.model, kind.rows)
        if key not in made:
            count = min(size, max(ROWS_OF_POOL // kind.rows, 16))
            made[key] = pool(settings.packages_of(kind.model), kind.rows, settings.rows_file, settings.seed, count)
    return [made[kind.model, kind.rows] for kind in settings.kinds]
