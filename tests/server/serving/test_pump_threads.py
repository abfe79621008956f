"""Dead pump threads are replaced, counted and logged; after too many deaths they are not replaced."""

import logging
import threading
from collections.abc import Callable
from typing import Any

import pytest

from onnxpress.server.serving.front import Event
from onnxpress.server.serving.pump_threads import DEATHS_MAX, WINDOW_S, PumpThreads
from tests.server.serving.bench import Bench, FakeFront, call
from tests.server.serving.test_scheduler_turns import PATIENCE_S, QueueFront

ERRORS = [RuntimeError, MemoryError, SystemExit, BaseException]


class DyingFront(QueueFront):
    """`receive` raises the next of `errors` instead of waiting."""

    def __init__(self, *errors: type[BaseException]) -> None:
        super().__init__()
        self.errors = iter(errors)

    def receive(self, most: int) -> list[Event] | None:
        for error in self.errors:
            raise error("below the front")
        return super().receive(most)


class DyingPump:
    """`serve` calls `before` and raises, `deaths` times, and then returns as if the front had closed."""

    def __init__(self, deaths: int, before: Callable[[], object]) -> None:
        self._deaths = deaths
        self._before = before

    def serve(self, _front: Any) -> None:
        self._before()
        self._deaths -= 1
        if self._deaths >= 0:
            raise SystemExit


def run_to_the_end(deaths: int, apart_s: float) -> tuple[int, int]:
    """How often `died` and `lost` were called after `deaths` deaths of one pump at intervals of `apart_s`."""
    told: list[str] = []
    losses, now = [], [0.0]

    def wait() -> None:
        now[0] += apart_s

    def lose() -> None:
        losses.append(True)

    threads = PumpThreads(DyingPump(deaths, wait), FakeFront(), "f", 1, told.append, lose, lambda: now[0])
    threads.start()
    assert threads.join(PATIENCE_S)
    return len(told), len(losses)


@pytest.mark.parametrize("error", ERRORS)
def test_a_dead_pump_is_replaced(error: type[BaseException], caplog: pytest.LogCaptureFixture) -> None:
    """A pump whose front raises is replaced by one that serves; the death is logged and counted."""
    bench, front = Bench(), DyingFront(error)
    deaths: list[str] = []
    lost = threading.Event()
    threads = PumpThreads(bench.pump, front, "dying", 1, deaths.append, lost.set)
    with caplog.at_level(logging.CRITICAL):
        threads.start()
        front.ask(1, 1)
    assert front.told == {1: [2]}
    assert deaths == ["dying"]
    (record,) = caplog.records
    assert "front dying died: it is replaced" in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[0] is error
    front.close()
    assert threads.join(PATIENCE_S)
    assert not lost.is_set()


def test_a_pump_that_dies_in_the_scheduler_is_replaced() -> None:
    """If the scheduler raises in `turn`, a new pump takes that turn, and nothing stays in hand."""
    bench, front = Bench(), QueueFront()
    deaths: list[str] = []
    turn, failures = bench.scheduler.turn, iter([SystemExit])

    def failing(*arguments: Any, **named: Any) -> Any:
        for failure in failures:
            raise failure
        return turn(*arguments, **named)

    bench.scheduler.turn = failing  # type: ignore[method-assign]
    threads = PumpThreads(bench.pump, front, "f", 1, deaths.append, lambda: None)
    threads.start()
    front.events.put(call(1, 1))
    front.wait(1)
    assert deaths == ["f"]
    front.close()
    assert threads.join(PATIENCE_S)
    assert bench.scheduler.wait_idle(0)


def test_pumps_that_keep_dying_are_not_replaced() -> None:
    """After more than DEATHS_MAX deaths within the window the pump is not replaced, and `lost` is called."""
    assert run_to_the_end(DEATHS_MAX, 0.0) == (DEATHS_MAX, 0)
    assert run_to_the_end(1_000, 0.0) == (DEATHS_MAX + 1, 1)


def test_deaths_before_the_window_do_not_count() -> None:
    """A pump that dies at most DEATHS_MAX times within any window is always replaced."""
    assert run_to_the_end(50, WINDOW_S / DEATHS_MAX * 1.01) == (50, 0)
    assert run_to_the_end(50, WINDOW_S / DEATHS_MAX * 0.99)[1] == 1


def test_lost_is_called_even_if_counting_fails() -> None:
    """If counting the death raises, the thread ends with a call of `lost`."""
    lost = threading.Event()

    def uncountable(_name: str) -> None:
        raise MemoryError

    silence, threading.excepthook = threading.excepthook, lambda _: None
    try:
        threads = PumpThreads(DyingPump(1, lambda: None), FakeFront(), "f", 1, uncountable, lost.set)
        threads.start()
        assert threads.join(PATIENCE_S)
    finally:
        threading.excepthook = silence
    assert lost.is_set()
