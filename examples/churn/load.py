"""Clients under load: processes with threads that call one after the other and compare every answer."""

import multiprocessing
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from time import monotonic_ns
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from examples.churn.calls import Raw, infer_of
from onnxpress.protos.inference_pb2 import ModelInferResponse

FAILED = 0  # in the place of a version
DEADLINE_S = 5.0
START_S = 60.0
# Failures at which a client stops: a server that is gone fails thousands of calls a second.
FAILURES_MAX = 1000


@dataclass(frozen=True)
class Work:
    """The work of every client. The right answer of version v to request i is the bytes `answers[v][i]`."""

    target: str
    requests: list[bytes]
    rows: int  # of each request
    answers: dict[int, list[Raw]]
    threads: int = 4


@dataclass(frozen=True)
class Records:
    """Every call of one load, in order of sending; times in nanoseconds on the machine's monotonic clock."""

    sent: NDArray[np.int64]
    done: NDArray[np.int64]
    version: NDArray[np.int64]  # the one that answered, or FAILED
    right: NDArray[np.bool_]  # bit for bit the offline answer of that version
    rows: int = 1
    errors: Counter[str] = field(default_factory=Counter)  # status and message -> how often

    def between(self, start: int, stop: int) -> "Records":
        """The calls sent from `start` on and before `stop`."""
        kept = (self.sent >= start) & (self.sent < stop)
        return Records(self.sent[kept], self.done[kept], self.version[kept], self.right[kept], self.rows)


class Clients:
    """Running clients; `records` is set when the `with` block of `clients` ends."""

    def __init__(self) -> None:
        self.records: Records


@contextmanager
def clients(work: Work, processes: int) -> Iterator[Clients]:
    """Load during the block; every client has got one answer before the block begins.

    Raises RuntimeError when a client cannot start or does not report.
    """
    spawn = multiprocessing.get_context("spawn")  # grpc does not survive a fork
    stop = spawn.Event()
    pipes = [spawn.Pipe(duplex=False) for _ in range(processes)]
    children = [
        spawn.Process(target=_client, args=(work, number, stop, pipe[1]), daemon=True)
        for number, pipe in enumerate(pipes)
    ]
    load = Clients()
    try:
        for child in children:
            child.start()
        for receiver, _ in pipes:
            _expect(receiver)
        yield load
        stop.set()
        load.records = _joined([_expect(receiver) for receiver, _ in pipes], work.rows)
    finally:
        stop.set()
        for child in children:
            child.join(DEADLINE_S)
            if child.is_alive():
                child.kill()


def _expect(receiver: "Connection[Any, Any]") -> Any:
    if not receiver.poll(START_S):
        raise RuntimeError(f"a load client sent nothing for {START_S:.0f} s")
    return receiver.recv()


def _joined(parts: list[tuple[list[tuple[int, int, int, bool]], Counter[str]]], rows: int) -> Records:
    calls = np.array(sorted(call for part, _ in parts for call in part), np.int64).reshape(-1, 4)
    errors: Counter[str] = sum((errors for _, errors in parts), Counter())
    return Records(calls[:, 0], calls[:, 1], calls[:, 2], calls[:, 3].astype(bool), rows, errors)


def _client(work: Work, number: int, stop: Any, sender: "Connection[Any, Any]") -> None:
    """One process: reports that it is ready, calls until it is stopped, and sends its records."""
    with grpc.insecure_channel(work.target) as channel:
        infer = infer_of(channel)
        infer(work.requests[0], timeout=DEADLINE_S, wait_for_ready=True)
        sender.send("ready")
        calls: list[tuple[int, int, int, bool]] = []
        errors: Counter[str] = Counter()
        starts = [number * work.threads + thread for thread in range(work.threads)]
        threads = [threading.Thread(target=_call, args=(work, infer, start, stop, calls, errors)) for start in starts]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        sender.send((calls, errors))


def _call(work: Work, infer: Any, start: int, stop: Any, calls: list[Any], errors: Counter[str]) -> None:
    place = start
    while not stop.is_set() and errors.total() < FAILURES_MAX:
        place = (place + 1) % len(work.requests)
        sent = monotonic_ns()
        try:
            payload = infer(work.requests[place], timeout=DEADLINE_S)
        except grpc.RpcError as error:
            calls.append((sent, monotonic_ns(), FAILED, False))
            errors[f"{error.code().name}: {error.details()}"] += 1
            continue
        done = monotonic_ns()
        answer = ModelInferResponse.FromString(payload)
        version = int(answer.model_version)
        expected = work.answers.get(version)
        calls.append(
            (sent, done, version, expected is not None and tuple(answer.raw_output_contents) == expected[place])
        )
