"""Targets of a load: a process tree with a data port, and its count of answers where it has one."""

import re
import sys
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc
from prometheus_client.parser import text_string_to_metric_families

from benchmarks.bodies import Bodies
from benchmarks.children import Child
from benchmarks.figures import Run, quantiles
from benchmarks.generator import METHOD, Generator, GeneratorError, Load, Shape

ASK_S = 30.0
# The generator closes its connections during its last requests.
CUT_OFF = "CANCELLED"


class Target:
    """One server. `expects` is the status that a request must get; it is not OK for a front without models."""

    name = ""
    expects = grpc.StatusCode.OK

    def __init__(self, child: Child, port: int) -> None:
        self.child = child
        self.port = port

    def check(self, bodies: Bodies) -> None:
        """One call by a real client. Raises GeneratorError when its status is not the expected one."""
        with grpc.insecure_channel(f"127.0.0.1:{self.port}") as channel:
            call = channel.unary_unary(METHOD, request_serializer=None, response_deserializer=None)
            try:
                call(bodies.one(), timeout=ASK_S)
                code, text = grpc.StatusCode.OK, ""
            except grpc.RpcError as error:
                code, text = error.code(), error.details() or ""
        if code != self.expects:
            raise GeneratorError(f"{self.name} answered {code.name} {text} where {self.expects.name} is expected")

    def answers(self) -> Mapping[str, int] | None:
        """Requests answered so far by status; None where the target has no such count."""
        return None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.child.stop()


class Echo(Target):
    """The front alone."""

    name = "echo"

    def __init__(self, logs: Path) -> None:
        child = Child([sys.executable, "-m", "benchmarks.echo"], logs / "echo.log")
        super().__init__(child, int(_or_stop(child, r"listening: (\d+)")[1]))


class Served(Target):
    """`onnxpress serve` with default settings; `command` is the `onnxpress` of another environment."""

    name = "onnxpress"

    def __init__(self, logs: Path, repository: Path, *flags: str, command: Path | None = None) -> None:
        name = "before" if command is not None else self.name
        child = Child(
            [
                *([str(command)] if command is not None else [sys.executable, "-m", "onnxpress"]), "serve",
                "--repository", str(repository), "--host", "127.0.0.1",
                "--grpc-port", "0", "--http-port", "0", "--admin-address", "127.0.0.1:0", *flags,
            ],
            logs / f"{name}.log",
        )  # fmt: skip
        self.name = name
        ports = _or_stop(child, r"listening: grpc (\d+), http (\d+)")
        super().__init__(child, int(ports[1]))
        self._metrics = f"http://127.0.0.1:{ports[2]}/metrics"
        _or_stop(child, r"ready: ")

    def answers(self) -> Mapping[str, int]:
        with urllib.request.urlopen(self._metrics, timeout=ASK_S) as answer:
            return count_answers(answer.read().decode())


def _or_stop(child: Child, pattern: str) -> re.Match[str]:
    try:
        return child.wait_for(pattern)
    except BaseException:
        child.stop()
        raise


def count_answers(exposition: str) -> dict[str, int]:
    """Requests by status, over all models, from the text of /metrics."""
    counts: dict[str, int] = {}
    for family in text_string_to_metric_families(exposition):
        for sample in family.samples:
            if sample.name == "onnxpress_requests_total":
                code = sample.labels["code"]
                counts[code] = counts.get(code, 0) + int(sample.value)
    return counts


def share_answered(before: Mapping[str, int] | None, after: Mapping[str, int] | None) -> float:
    """The share of requests between two counts that got OK, 0 to 1; gRPC errors are HTTP 200 as well.

    It is a share because the server counts requests that the generator cut off at its end.
    """
    if before is None or after is None:
        return 1.0
    counts = {code: count - before.get(code, 0) for code, count in after.items() if code != CUT_OFF}
    return counts.get("OK", 0) / max(sum(counts.values()), 1)


def to_run(load: Load, answered_share: float, cpu_s: float) -> Run:
    """The run from the figures of generator and server."""
    answered = round(load.requests * answered_share)
    return Run(
        answered, load.requests - answered, load.seconds, cpu_s, load.cpu_s, **quantiles(load.latencies_us)
    )  # fmt: skip


def measure(generator: Generator, target: Target, bodies: Bodies, shape: Shape, seconds: float) -> Run:
    """One run. Raises GeneratorError when the target's answers are not the expected ones before or after it."""
    target.check(bodies)
    answers, cpu_s = target.answers(), target.child.cpu_s()
    load = generator.run(target.port, bodies, shape, seconds)
    cpu_s = target.child.cpu_s() - cpu_s
    share = share_answered(answers, target.answers())
    target.check(bodies)
    return to_run(load, share, cpu_s)
