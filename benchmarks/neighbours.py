"""Interference: a light model beside a saturated heavy one, single rows beside requests of 10,000 rows."""

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import grpc

from benchmarks.bodies import Bodies
from benchmarks.figures import Run
from benchmarks.generator import METHOD, Generator, GeneratorError, Shape
from benchmarks.rounds import PACED, USUAL, Plan
from benchmarks.targets import Target, share_answered, to_run

HUGE_ROWS = 10_000
HUGE_EVERY_S = 1.0
CALL_S = 60.0


@dataclass(frozen=True)
class Disturbed:
    """Runs of the same client alone and beside a neighbour, by round."""

    alone: list[Run]
    beside: list[Run]


def beside_heavy(
    generator: Generator, served: Target, light: Bodies, heavy: Bodies, shape: Shape, plan: Plan
) -> Disturbed:
    """`light` at `shape`, alone and while `heavy` is sent as fast as it is answered."""

    @contextmanager
    def saturated() -> Iterator[None]:
        running = generator.start(served.port, heavy, USUAL, plan.neighbour_s + 1.0)
        try:
            threading.Event().wait(0.5)
            yield
        finally:
            running.finish()

    return _disturbed(generator, served, light, shape, plan, saturated)


def beside_huge(generator: Generator, served: Target, single: Bodies, huge: Bodies, plan: Plan) -> Disturbed:
    """Single rows, alone and with one request of HUGE_ROWS rows of the same model each second."""

    @contextmanager
    def sending() -> Iterator[None]:
        stop, failures = threading.Event(), list[str]()
        thread = threading.Thread(target=_send_huge, args=(served.port, huge.one(), stop, failures))
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()
        if failures:
            raise GeneratorError(f"a request of {HUGE_ROWS} rows failed: {failures[0]}")

    return _disturbed(generator, served, single, PACED, plan, sending)


def _disturbed(
    generator: Generator, served: Target, bodies: Bodies, shape: Shape, plan: Plan,
    neighbour: Callable[[], AbstractContextManager[None]],
) -> Disturbed:  # fmt: skip
    disturbed = Disturbed([], [])
    for _ in range(plan.rounds):
        disturbed.alone.append(_run(generator, served, bodies, shape, plan.neighbour_s))
        with neighbour():
            disturbed.beside.append(_run(generator, served, bodies, shape, plan.neighbour_s))
    return disturbed


def _run(generator: Generator, served: Target, bodies: Bodies, shape: Shape, seconds: float) -> Run:
    """`measure` without its checks, which would wait for the neighbour; CPU includes the neighbour's."""
    before, cpu_s = served.answers(), served.child.cpu_s()
    load = generator.run(served.port, bodies, shape, seconds)
    share = share_answered(before, served.answers())
    return to_run(load, share, served.child.cpu_s() - cpu_s)


def _send_huge(port: int, message: bytes, stop: threading.Event, failures: list[str]) -> None:
    with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
        call = channel.unary_unary(METHOD, request_serializer=None, response_deserializer=None)
        while not stop.is_set():
            try:
                call(message, timeout=CALL_S)
            except grpc.RpcError as error:
                failures.append(f"{error.code().name} {error.details()}")
                return
            stop.wait(HUGE_EVERY_S)
