"""One generator process: its payloads, its clock, its share of the plan, and what it tells the conductor."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import gevent
import numpy as np
from gevent.queue import Queue
from numpy.typing import NDArray

from loadtests.answers import Examiner, Outcome
from loadtests.payloads import Payload, pool
from loadtests.samples import Recorder, pack
from loadtests.settings import Settings
from loadtests.shapes import Phase, draw, schedule, share

PLAN_MESSAGE = "onnxpress-plan"
SAMPLES_MESSAGE = "onnxpress-samples"
FLUSH_SECONDS = 1.0
IN_FLIGHT_MAX = 20_000  # calls that a process holds at once; one more is not sent, and the measurement is invalid
ROWS_OF_POOL = 16_384  # rows of all payloads of a class, so that large requests take no more memory than small ones


@dataclass(frozen=True)
class Plan:
    """What all processes send next.

    `number` counts plans of a test; `zero`: the test's beginning on the machine's monotonic clock, in seconds, which
    all its processes share; `positions`: of each process among them.
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
    """One request on its way: when it was due and when it left, in seconds of the test; its class and payload."""

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


class Bench:
    """Where the users of one process take their work and leave what they found."""

    def __init__(self, settings: Settings, name: str, payloads: Sequence[list[Payload]]) -> None:
        self.settings = settings
        self.name = name
        self.payloads = list(payloads)
        self.examiners = [
            Examiner(settings.packages_of(kind.model), payloads)
            for kind, payloads in zip(settings.kinds, self.payloads, strict=True)
        ]
        self.recorder = Recorder()
        self.in_flight = 0
        self.users = 0  # that are connected, or have given up connecting
        self._zero = time.monotonic()
        self._inboxes: list[Queue[Share]] = []
        self._plan: Plan | None = None
        self._sending = 0
        self._cpu = (time.monotonic(), time.process_time())

    def __repr__(self) -> str:
        return f"Bench({self.name}, {len(self._inboxes)} users, {self.in_flight} in flight)"

    def now(self) -> float:
        """Seconds since the beginning of the test."""
        return time.monotonic() - self._zero

    def join(self) -> "Queue[Share]":
        """A new user's inbox of work."""
        inbox: Queue[Share] = Queue()
        self._inboxes.append(inbox)
        return inbox

    def take(self, plan: Plan) -> None:
        """Hands every user its share of a plan."""
        self._zero = plan.zero
        self._plan = plan
        self._sending = len(self._inboxes)
        processes = len(plan.positions)
        for ordinal, inbox in enumerate(self._inboxes):
            position = ordinal * processes + plan.positions[self.name]
            inbox.put(shares(plan, self.settings, position, plan.connections))

    def sent_all(self) -> None:
        """A user has sent its whole share."""
        self._sending -= 1

    def finished(self) -> int:
        """The number of the plan whose every request is sent and answered; -1: none is."""
        idle = self._plan is not None and self._sending == 0 and self.in_flight == 0
        return self._plan.number if self._plan and idle else -1

    def record(self, ticket: Ticket, outcome: Outcome, version: int) -> float:
        """Notes a request that is over now; returns its latency from the intended send time, in seconds."""
        done = self.now()
        self.recorder.add((ticket.due, ticket.sent, done, ticket.kind, outcome, version))
        return done - ticket.due

    def report(self) -> dict[str, Any]:
        """What the conductor is told: everything since the last report."""
        finished = self.finished()  # before the samples are taken: a plan is over when its last sample is in hand
        samples, messages = self.recorder.take()
        wall, cpu = self._cpu
        self._cpu = (time.monotonic(), time.process_time())
        elapsed = max(self._cpu[0] - wall, 1e-3)
        return {
            "process": self.name,
            "users": self.users,
            "columns": pack(samples),
            "messages": messages,
            "at": self.now(),
            "cpu": (self._cpu[1] - cpu) / elapsed,
            "finished": finished,
        }


def flush_forever(bench: Bench, runner: Any) -> None:
    """Reports to the conductor once a second, in a greenlet of its own."""
    while True:
        gevent.sleep(FLUSH_SECONDS)
        runner.send_message(SAMPLES_MESSAGE, bench.report())
