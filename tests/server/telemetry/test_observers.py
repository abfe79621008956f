"""Several observers told as one, errors of theirs that reach the log only, and the thread in which one works."""

import logging
import threading

import pytest

from onnxpress.server.facts import BatchRun, Refusal
from onnxpress.server.telemetry.observers import LOG_EVERY_S, Observers, Worker
from tests.server.serving.bench import Bench, FakeObserver, call

PATIENCE_S = 30.0


class Broken:
    """Fails whatever it is told."""

    def run_done(self, _run: BatchRun) -> None:
        raise ZeroDivisionError

    def refused(self, _refusal: Refusal) -> None:
        raise ZeroDivisionError


def test_an_observer_that_fails_costs_nobody_an_answer(caplog: pytest.LogCaptureFixture) -> None:
    """Callers are answered and the observers after it are told; its errors are logged once in a while, counted."""
    bench, now = Bench(), [0.0]
    observers = Observers([Broken(), bench.observer], lambda: now[0])
    bench = Bench(observer=observers)
    told = bench.handle(call(1, 1), call(2, 2), (0, 3, 0, b"!", None, None))
    assert (told[1], told[2]) == ([2], [4])
    now[0] = LOG_EVERY_S
    bench.handle(call(4, 4))
    assert [record.getMessage() for record in caplog.records] == [
        "observer Broken failed 1 times since its last error was logged",
        "observer Broken failed 2 times since its last error was logged",
    ]
    assert all(record.exc_info for record in caplog.records)


def test_every_observer_is_told() -> None:
    """Of each run and each refusal, in the order in which they were given."""
    first, second = FakeObserver(), FakeObserver()
    Bench(observer=Observers([first, second])).handle(call(1, 1), (0, 2, 0, b"!", None, None))
    assert first.runs == second.runs
    assert len(first.runs) == 1
    assert first.refusals == second.refusals
    assert len(first.refusals) == 1


def test_a_worker_works_until_it_is_stopped_and_once_more(caplog: pytest.LogCaptureFixture) -> None:
    """In one thread of its own, whatever its work raises; what was told before the stop is worked off after it."""
    threads: list[int] = []
    enough = threading.Event()

    def work() -> None:
        threads.append(threading.get_ident())
        if len(threads) == 3:
            enough.set()
        raise ZeroDivisionError

    worker = Worker("metrics", work, 0.001)
    with caplog.at_level(logging.ERROR):
        worker.start()
        assert enough.wait(PATIENCE_S)
        before = len(threads)
        assert worker.stop(PATIENCE_S)
    assert len(threads) > before
    assert len({*threads}) == 1
    assert threading.get_ident() not in threads
    assert "metrics failed" in caplog.text


def test_a_worker_that_is_stopped_at_once_still_works_once() -> None:
    """A tick that never came is no reason to lose what was told."""
    done = threading.Event()
    worker = Worker("metrics", done.set, PATIENCE_S)
    worker.start()
    assert worker.stop(PATIENCE_S)
    assert done.is_set()
