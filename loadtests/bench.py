"""One generator process: its payloads, its clock, its share of the plan, and what it tells the conductor."""

import itertools
import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import gevent
import grpc
from gevent.queue import Queue

from loadtests.answers import Examiner, Outcome
from loadtests.payloads import Payload
from loadtests.plan import Plan, Share, Ticket, shares
from loadtests.samples import Recorder, pack
from loadtests.settings import Settings
from loadtests.transport import end_at_once

PLAN_MESSAGE = "onnxpress-plan"
SAMPLES_MESSAGE = "onnxpress-samples"
FLUSH_SECONDS = 0.5
PROBE_SECONDS = 0.02
IN_FLIGHT_MAX = 20_000  # calls that a process holds at once; one more is not sent, and the measurement is invalid


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
        self.channels: list[grpc.Channel] = []  # of the users that are connected
        self.returns: list[float] = []  # seconds that calls which were over took to be seen here
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

    def note_return(self, ended: float) -> None:
        """A call that was over at `ended`, on the monotonic clock, is seen now."""
        self.returns.append(time.monotonic() - ended)

    def report(self) -> dict[str, Any]:
        """What the conductor is told: everything since the last report."""
        finished = self.finished()  # before the samples are taken: a plan is over when its last sample is in hand
        samples, messages = self.recorder.take()
        returns, self.returns = self.returns, []
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
            "returns": returns,
        }


def probe_forever(bench: Bench) -> None:
    """Measures the generator's own way back, in a greenlet of its own.

    Answers queue in their channel for a native thread, and then for gevent's loop. A call that ends without having been
    sent takes the same way, one channel after the other: that is the delay of the generator, not of the server.
    """
    for number in itertools.count():
        gevent.sleep(PROBE_SECONDS)
        if bench.channels:
            end_at_once(bench.channels[number % len(bench.channels)], partial(bench.note_return, time.monotonic()))


def flush_forever(bench: Bench, runner: Any) -> None:
    """Reports to the conductor twice a second, in a greenlet of its own."""
    while True:
        gevent.sleep(FLUSH_SECONDS)
        runner.send_message(SAMPLES_MESSAGE, bench.report())
