"""What a locust process knows of its sender: starts it, hands it connections and plans, and passes on what it tells."""

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
END_SECONDS = 5.0  # for a sender whose input has ended


class AnswerError(Exception):
    """What locust's own statistics are told of a request that failed."""


class SenderProcess:
    """One sender, for all tests of this locust process. Belongs to its greenlets.

    To be made before the first channel of the process: a fork beside grpc's threads may abort the child.
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

    def _tell(self, message: dict[str, Any]) -> None:
        try:
            self._process.stdin.write(msgpack.packb(message))
            self._process.stdin.flush()
        except BrokenPipeError:
            self._tell_of_its_end()

    def begin(self, kinds: tuple[Kind, ...]) -> None:
        """A test, with the options of this locust process."""
        self._kinds = kinds
        self._test += 1
        # Of locust's options those that are text, numbers and lists of them: ours all are.
        options = {
            key: value
            for key, value in vars(self._environment.parsed_options).items()
            if isinstance(value, str | int | float | list | type(None))
        }
        self._tell({"test": self._test, "name": self.name, "options": options})

    def open(self) -> None:
        """One more connection."""
        self._tell({"open": 1})

    def take(self, plan: dict[str, Any]) -> None:
        """A plan, as a message."""
        self._tell({"plan": plan})

    def stop(self) -> None:
        """Ends the test; calls in flight end with it."""
        self._tell({"stop": 1})

    def _listen(self) -> None:
        unpacker = msgpack.Unpacker(max_buffer_size=0)
        while chunk := self._process.stdout.read1(READ_BYTES):
            unpacker.feed(chunk)
            for report in unpacker:
                if report["test"] == self._test:  # not of one that was stopped
                    self._runner.send_message(SAMPLES_MESSAGE, report)
                    self._fire(report["columns"])
        if not self._ending:
            self._tell_of_its_end()

    def _tell_of_its_end(self) -> None:
        gone = f"generator process {self.name} ended with exit code {self._process.wait()}"
        self._runner.send_message(SAMPLES_MESSAGE, {"process": self.name, "gone": gone})

    def _fire(self, columns: dict[str, bytes]) -> None:
        """Tells locust's own, rounded statistics."""
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
