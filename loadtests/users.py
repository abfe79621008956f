"""The locust user: one connection that sends its share of the plan when it is due, whatever became of the rest."""

from functools import partial
from typing import Any

import gevent
from locust import User, task

from loadtests.answers import Outcome, outcome_of
from loadtests.bench import IN_FLIGHT_MAX, Bench
from loadtests.errors import UnreachableError
from loadtests.plan import Share, Ticket
from loadtests.transport import Reply, Stream, Trailers, Transport, Unary, connect

TIMEOUT_MIN = 0.001  # seconds; grpc takes no timeout of zero
PRIORITY = "x-onnxpress-priority"


class AnswerError(Exception):
    """What locust's own statistics are told of a request that failed."""


class OpenLoopUser(User):  # type: ignore[misc] # locust has no types that mypy may follow
    """Sends by the clock, not by the answers; latency counts from the moment a request was due."""

    def on_start(self) -> None:
        self.bench: Bench = self.environment.bench
        self.inbox = self.bench.join()
        self.transport: Transport | None = None
        self.metadata: list[Trailers] = [
            ((PRIORITY, kind.priority),) if kind.priority else () for kind in self.bench.settings.kinds
        ]
        try:
            channel = connect(self.bench.settings.target)
            streams = self.bench.settings.suite == "streams"
            self.transport = Stream(channel, self.bench.now) if streams else Unary(channel)
            self.bench.channels.append(channel)
        except UnreachableError as error:
            self.bench.recorder.complain(str(error))
        self.bench.users += 1

    def on_stop(self) -> None:
        if self.transport:
            self.bench.channels.clear()  # all users stop together
            self.transport.close()

    @task  # type: ignore[untyped-decorator]
    def drive(self) -> None:
        """Carries out the next plan as soon as there is one."""
        share = self.inbox.get()
        try:
            self.carry_out(share)
        finally:
            self.bench.sent_all()

    def carry_out(self, share: Share) -> None:
        """Sends every request of the share when it is due; what is overdue leaves at once, and is counted as late."""
        bench = self.bench
        due_times, kinds, payloads = share.due.tolist(), share.kind.tolist(), share.payload.tolist()
        for due, kind, payload in zip(due_times, kinds, payloads, strict=True):
            wait = due - bench.now()
            if wait > 0:
                gevent.sleep(wait)
            self.send(Ticket(due, bench.now(), kind, payload % len(bench.payloads[kind])))

    def send(self, ticket: Ticket) -> None:
        bench = self.bench
        if self.transport is None:
            self.tell(ticket, Outcome.UNAVAILABLE, 0, "not connected")
            return
        if bench.in_flight >= IN_FLIGHT_MAX:
            self.tell(ticket, Outcome.UNSENT, 0, "not sent: too many calls in flight")
            return
        bench.in_flight += 1
        timeout = max(ticket.due + bench.settings.deadline - ticket.sent, TIMEOUT_MIN)
        body = bench.payloads[ticket.kind][ticket.payload].body
        self.transport.send(body, timeout, self.metadata[ticket.kind], partial(self.finish, ticket))

    def finish(self, ticket: Ticket, reply: Reply) -> None:
        """Checks and records one answer."""
        bench = self.bench
        version, problem = 0, ""
        if reply.code == "OK":
            version, problem = bench.examiners[ticket.kind].examine(ticket.payload, reply.body)
            outcome = Outcome.WRONG if problem else Outcome.OK
        else:
            outcome = outcome_of(reply.code, reply.trailers)
            problem = "" if outcome is Outcome.REFUSED else f"{reply.code}: {reply.details}"
        bench.in_flight -= 1
        self.tell(ticket, outcome, version, problem)

    def tell(self, ticket: Ticket, outcome: Outcome, version: int, problem: str) -> None:
        """Notes the outcome, here in microseconds and in locust's own rounded statistics."""
        latency = self.bench.record(ticket, outcome, version)
        if problem:
            self.bench.recorder.complain(problem)
        failure: Any = None if outcome is Outcome.OK else AnswerError(problem or outcome.name)
        self.environment.events.request.fire(
            request_type="gRPC",
            name=self.bench.settings.kinds[ticket.kind].name,
            response_time=latency * 1000,
            response_length=0,
            exception=failure,
            context={},
        )
