"""The process that sends: `python -m onnxpress.loadtests.generator.sender`, one for each locust process that has users.

It sends its share of the plan on asyncio, while the locust process that started it runs users, statistics and the web
page on gevent (docs/decisions/0011). They exchange msgpack messages over standard input and output; the sender ends
when its input does. All state belongs to the one thread of its event loop.
"""

import argparse
import asyncio
import gc
import itertools
import os
import signal
import sys
import time
from collections.abc import Coroutine, Sequence
from functools import partial
from typing import Any

import grpc
import msgpack
import uvloop

from onnxpress.loadtests.errors import UnreachableError
from onnxpress.loadtests.generator.plan import Plan, Share, Ticket, pools, shares
from onnxpress.loadtests.generator.transport import Reply, Stream, Trailers, Transport, Unary, connect, end_at_once
from onnxpress.loadtests.measure.answers import Examiner, Outcome, outcome_of
from onnxpress.loadtests.measure.samples import Recorder, pack
from onnxpress.loadtests.settings import Settings, settings_of
from onnxpress.loadtests.workload.payloads import Payload

FLUSH_SECONDS = 0.5
PROBE_SECONDS = 0.02
IN_FLIGHT_MAX = 20_000  # calls of one process; the next is not sent, and the measurement is invalid
TIMEOUT_MIN = 0.001  # seconds; grpc takes no timeout of zero
TIMER_SECONDS = 0.001  # the resolution of the loop's timers; a request must not be sent before it is due
READ_BYTES = 65_536
PRIORITY = "x-onnxpress-priority"


class Sender:
    """Owns the connections, the clock, the share of the plan and the samples of this process."""

    def __init__(
        self, settings: Settings, test: int, name: str, payloads: Sequence[list[Payload]], group: asyncio.TaskGroup
    ) -> None:
        self.settings = settings
        self.test = test
        self.name = name
        self.payloads = list(payloads)
        self.examiners = [
            Examiner(settings.packages_of(kind.model), payloads)
            for kind, payloads in zip(settings.kinds, self.payloads, strict=True)
        ]
        self.metadata: list[Trailers] = [
            ((PRIORITY, kind.priority),) if kind.priority else () for kind in settings.kinds
        ]
        self.recorder = Recorder()
        self.channels: list[grpc.aio.Channel] = []  # of the connections that were established
        self.observation_delays: list[float] = []  # seconds from the end of a call until the loop saw it
        self.in_flight = 0
        self._connections: list[Connection] = []  # established or failed
        self._group = group
        self._tasks: set[asyncio.Task[None]] = set()
        self._zero = time.monotonic()
        self._plan: Plan | None = None
        self._sending = 0
        self._cpu = (time.monotonic(), time.process_time())

    def __repr__(self) -> str:
        return f"Sender({self.name}, {len(self._connections)} connections, {self.in_flight} in flight)"

    def now(self) -> float:
        """Seconds since the beginning of the test."""
        return time.monotonic() - self._zero

    def begin(self, work: Coroutine[Any, Any, None]) -> None:
        """Starts a task that ends with the test; an error in it ends the process."""
        task = self._group.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def stop(self) -> None:
        """Ends the test; calls in flight are cancelled."""
        for task in list(self._tasks):
            task.cancel()
        for channel in self.channels:
            await channel.close(None)

    async def open(self) -> None:
        """Opens one more connection; the requests of one that fails are UNAVAILABLE."""
        transport: Transport | None = None
        try:
            channel = await connect(self.settings.target)
            self.channels.append(channel)
            streams = self.settings.suite == "streams"
            transport = Stream(channel, self.now, self.begin) if streams else Unary(channel, self.begin)
        except UnreachableError as error:
            self.recorder.complain(str(error))
        self._connections.append(Connection(self, transport))

    def take(self, plan: Plan) -> None:
        """Hands every connection its share of a plan."""
        self._zero = plan.zero
        self._plan = plan
        self._sending = len(self._connections)
        processes = len(plan.positions)
        for ordinal, connection in enumerate(self._connections):
            position = ordinal * processes + plan.positions[self.name]
            share = shares(plan, self.settings, position, plan.connections)
            self.begin(self._carry_out(connection, share))

    async def _carry_out(self, connection: "Connection", share: Share) -> None:
        try:
            await connection.carry_out(share)
        finally:
            self._sending -= 1

    def hear(self, message: dict[str, Any]) -> None:
        """Carries out a message of the locust process: open another connection, or send a plan."""
        if "plan" in message:
            self.take(Plan.of_message(message["plan"]))
        else:
            self.begin(self.open())

    def finished(self) -> int:
        """The number of the plan whose requests have all been sent and answered; -1: none."""
        idle = self._plan is not None and self._sending == 0 and self.in_flight == 0
        return self._plan.number if self._plan and idle else -1

    def record(self, ticket: Ticket, outcome: Outcome, version: int, problem: str) -> None:
        """Records a request that ends now."""
        self.recorder.add((ticket.due, ticket.sent, self.now(), ticket.kind, outcome, version))
        if problem:
            self.recorder.complain(problem)

    def note_observation_delay(self, ended: float) -> None:
        """Records that the loop sees a call now that ended at `ended` on the monotonic clock."""
        self.observation_delays.append(time.monotonic() - ended)

    def report(self) -> dict[str, Any]:
        """The message to the conductor: everything since the last report."""
        finished = self.finished()  # before the samples are taken, since a plan ends with its last sample
        samples, messages = self.recorder.take()
        observation_delays, self.observation_delays = self.observation_delays, []
        wall, cpu = self._cpu
        self._cpu = (time.monotonic(), time.process_time())
        elapsed = max(self._cpu[0] - wall, 1e-3)
        return {
            "test": self.test,
            "process": self.name,
            "users": len(self._connections),
            "columns": pack(samples),
            "messages": messages,
            "at": self.now(),
            "cpu": (self._cpu[1] - cpu) / elapsed,
            "finished": finished,
            "observation_delays": observation_delays,
        }


class Connection:
    """One connection, which sends each request of its share when it is due and never waits for an answer.

    Latency counts from the moment a request was due.
    """

    def __init__(self, sender: Sender, transport: Transport | None) -> None:
        self._sender = sender
        self._transport = transport

    async def carry_out(self, share: Share) -> None:
        """Sends every request of the share when it is due; an overdue one is sent at once, and counts as late."""
        sender = self._sender
        due_times, kinds, payloads = share.due.tolist(), share.kind.tolist(), share.payload.tolist()
        for due, kind, payload in zip(due_times, kinds, payloads, strict=True):
            while (wait := due - sender.now()) > 0:  # noqa: ASYNC110 -- a timer may be a fraction of a millisecond early
                await asyncio.sleep(wait + TIMER_SECONDS / 2)
            self.send(Ticket(due, sender.now(), kind, payload % len(sender.payloads[kind])))

    def send(self, ticket: Ticket) -> None:
        sender = self._sender
        if self._transport is None:
            sender.record(ticket, Outcome.UNAVAILABLE, 0, "not connected")
            return
        if sender.in_flight >= IN_FLIGHT_MAX:
            sender.record(ticket, Outcome.UNSENT, 0, "not sent: too many calls in flight")
            return
        sender.in_flight += 1
        timeout = max(ticket.due + sender.settings.deadline - ticket.sent, TIMEOUT_MIN)
        body = sender.payloads[ticket.kind][ticket.payload].body
        self._transport.send(body, timeout, sender.metadata[ticket.kind], partial(self.finish, ticket))

    def finish(self, ticket: Ticket, reply: Reply) -> None:
        """Checks and records one answer."""
        sender = self._sender
        version, problem = 0, ""
        if reply.code == "OK":
            version, problem = sender.examiners[ticket.kind].examine(ticket.payload, reply.body)
            outcome = Outcome.WRONG if problem else Outcome.OK
        else:
            outcome = outcome_of(reply.code, reply.trailers)
            problem = "" if outcome is Outcome.REFUSED else f"{reply.code}: {reply.details}"
        sender.in_flight -= 1
        sender.record(ticket, outcome, version, problem)


async def probe_forever(sender: Sender) -> None:
    """Measures the generator's own observation delay: from the end of a call to the moment the loop sees it.

    Answers queue for one of grpc's threads, and then for the loop. A call that ends without having been sent passes
    through the same queues, so its delay is the generator's and not the server's.
    """
    for number in itertools.count():
        await asyncio.sleep(PROBE_SECONDS)
        if sender.channels:
            end_at_once(
                sender.channels[number % len(sender.channels)], partial(sender.note_observation_delay, time.monotonic())
            )


async def flush_forever(sender: Sender, out: asyncio.WriteTransport) -> None:
    """Reports twice a second."""
    while True:
        await asyncio.sleep(FLUSH_SECONDS)
        out.write(msgpack.packb(sender.report()))


class InputEndedError(Exception):
    """The locust process has closed the pipe."""


async def converse(reader: asyncio.StreamReader, out: asyncio.WriteTransport, group: asyncio.TaskGroup) -> None:
    """Reads messages: the options of a test, connections, plans, stop. Raises InputEndedError at their end."""
    unpacker = msgpack.Unpacker()
    sender: Sender | None = None
    while chunk := await reader.read(READ_BYTES):
        unpacker.feed(chunk)
        for message in unpacker:
            if "options" in message:
                settings = settings_of(argparse.Namespace(**message["options"]))
                sender = Sender(settings, message["test"], message["name"], pools(settings), group)
                # A full collection of what exists now would stop the generator in the middle of the test.
                gc.collect()
                gc.freeze()
                sender.begin(flush_forever(sender, out))
                sender.begin(probe_forever(sender))
            elif sender and "stop" in message:
                await sender.stop()
                sender = None
            elif sender:
                sender.hear(message)
    raise InputEndedError


async def run() -> None:
    """Reads standard input to its end. A task that fails ends the process."""
    loop = asyncio.get_running_loop()
    # Standard output carries messages, so what libraries print goes to standard error.
    out = os.fdopen(os.dup(sys.stdout.fileno()), "wb", buffering=0)
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    reader = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    writer, _ = await loop.connect_write_pipe(asyncio.Protocol, out)
    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(converse(reader, writer, group))
    except* InputEndedError:
        pass


def main() -> None:
    signal.signal(
        signal.SIGINT, signal.SIG_IGN
    )  # sent by a terminal to the whole group; the locust process ends this one
    uvloop.run(run())


if __name__ == "__main__":
    main()
