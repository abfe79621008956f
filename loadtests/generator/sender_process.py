"""The locust side of a sender: starts it, sends it connections and plans, and forwards its reports."""

import sys
from typing import Any

import gevent
import msgpack
from gevent import subprocess

from onnxpress.loadtests.measure.answers import Outcome
from onnxpress.loadtests.measure.samples import unpack
from onnxpress.loadtests.measure.tally import Kind

SAMPLES_MESSAGE = "onnxpress-samples"
READ_BYTES = 1 << 20
END_SECONDS = 5.0  # for a sender to end after its input has


class AnswerError(Exception):
    """A failed request in locust's own statistics."""


class SenderProcess:
    """The sender of this locust process, for all its tests. Its state belongs to the process's greenlets.

    Must be created before the first channel of the process: a fork beside grpc's threads may abort the child.
    """

    def __init__(self, environment: Any, runner: Any, name: str) -> None:
        self.name = name
        self._environment = environment
        self._runner = runner
        self._kinds: tuple[Kind, ...] = ()
        self._test = 0
        self._ending = False
        self._process = subprocess.Popen(
            [sys.executable, "-m", "onnxpress.loadtests.generator.sender"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        self._listener = gevent.spawn(self._listen)

    def __repr__(self) -> str:
        return f"SenderProcess({self.name}, {self._process.pid})"

    def _send(self, message: dict[str, Any]) -> None:
        try:
            self._process.stdin.write(msgpack.packb(message))
            self._process.stdin.flush()
        except BrokenPipeError:
            self._report_end()

    def begin(self, kinds: tuple[Kind, ...]) -> None:
        """Begins a test with the options of this locust process."""
        self._kinds = kinds
        self._test += 1
        # Only the options that msgpack can carry; all of ours are text, numbers or lists of them.
        options = {
            key: value
            for key, value in vars(self._environment.parsed_options).items()
            if isinstance(value, str | int | float | list | type(None))
        }
        self._send({"test": self._test, "name": self.name, "options": options})

    def open(self) -> None:
        """Opens one more connection."""
        self._send({"open": 1})

    def take(self, plan: dict[str, Any]) -> None:
        """Sends a plan, as a message."""
        self._send({"plan": plan})

    def stop(self) -> None:
        """Ends the test and cancels the calls in flight."""
        self._send({"stop": 1})

    def _listen(self) -> None:
        unpacker = msgpack.Unpacker(max_buffer_size=0)
        while chunk := self._process.stdout.read1(READ_BYTES):
            unpacker.feed(chunk)
            for report in unpacker:
                if report["test"] == self._test:  # a report of an earlier test is dropped
                    self._runner.send_message(SAMPLES_MESSAGE, report)
                    self._fire(report["columns"])
        if not self._ending:
            self._report_end()

    def _report_end(self) -> None:
        gone = f"generator process {self.name} ended with exit code {self._process.wait()}"
        self._runner.send_message(SAMPLES_MESSAGE, {"process": self.name, "gone": gone})

    def _fire(self, columns: dict[str, bytes]) -> None:
        """Adds samples to locust's own statistics, which are rounded."""
        samples = unpack(columns)
        fire = self._environment.events.request.fire
        latencies = (samples.latencies_us() / 1000).tolist()
        for kind, outcome, latency in zip(samples.kind.tolist(), samples.outcome.tolist(), latencies, strict=True):
            fire(
                request_type="gRPC",
                name=self._kinds[kind].name,
                response_time=latency,
                response_length=0,
                exception=None if outcome == Outcome.OK else AnswerError(Outcome(outcome).name),
                context={},
            )

    def end(self) -> None:
        self._ending = True
        self._process.stdin.close()
        try:
            self._process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._listener.kill()
        self._process.stdout.close()
