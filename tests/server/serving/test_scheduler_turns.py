"""Which of several pumps receives, with real threads and a front that is a queue."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from time import monotonic_ns
from typing import Any

import pytest

from onnxpress.server.errors import DrainingError
from onnxpress.server.serving.cost import CostModel
from onnxpress.server.serving.front import Event
from onnxpress.server.serving.pump_threads import PumpThreads
from tests.server.serving.bench import Bench, FakeFront, call

PATIENCE_S = 30.0
PUMPS = 3


class QueueFront(FakeFront):
    """Gives queued events one at a time, None at the end; records the receiving threads; tests can wait for answers."""

    def __init__(self) -> None:
        super().__init__()
        self.events: SimpleQueue[Event | None] = SimpleQueue()
        self.receivers: list[int] = []
        self.waiting = self.most_waiting = 0
        self._told = threading.Condition()

    def receive(self, _most: int) -> list[Event] | None:
        self.waiting += 1
        self.most_waiting = max(self.most_waiting, self.waiting)
        event = self.events.get()
        self.waiting -= 1
        with self._told:
            self.receivers.append(threading.get_ident())
            self._told.notify_all()
        return None if event is None else [event]

    def answer(self, call: int, payload: bytes) -> bool:
        with self._told:
            super().answer(call, payload)
            self._told.notify_all()
        return True

    def fail(self, call: int, error: BaseException) -> str:
        with self._told:
            name = super().fail(call, error)
            self._told.notify_all()
        return name

    def ask(self, number: int, row: float) -> None:
        """Sends one row and waits for its answer."""
        self.events.put(call(number, row))
        self.wait(number)

    def wait(self, number: int) -> None:
        with self._told:
            assert self._told.wait_for(lambda: number in self.told, PATIENCE_S), f"call {number} was not answered"

    def wait_received(self, count: int) -> None:
        with self._told:
            assert self._told.wait_for(lambda: len(self.receivers) == count, PATIENCE_S), "no pump received"

    def close(self) -> None:
        for _ in range(PUMPS):  # each pump receives one None
            self.events.put(None)


@pytest.fixture
def serving() -> Iterator[Callable[[float], tuple[Bench, QueueFront]]]:
    """`serving(micros)`: three running pumps, for a model whose cost curve says that a run takes that long."""
    fronts: list[QueueFront] = []
    pumps: list[PumpThreads] = []

    def starting(micros: float) -> tuple[Bench, QueueFront]:
        bench, front = Bench(), QueueFront()
        bench.lane.cost = CostModel({1: micros}, 1e9)
        fronts.append(front)
        pumps.append(PumpThreads(bench.pump, front, "fake", PUMPS, bench.observer.deaths.append, lambda: None))
        pumps[-1].start()
        return bench, front

    yield starting
    for front in fronts:
        front.close()
    for threads in pumps:
        assert threads.join(PATIENCE_S), "a pump did not end with its front"


def test_short_runs_are_served_by_one_pump(serving: Any) -> None:
    """While runs are short, the same pump receives, runs and receives again; the others stay parked."""
    _, front = serving(10.0)
    for number in range(200):
        front.ask(number, number)
    assert len(set(front.receivers)) == 1
    assert front.most_waiting == 1


def test_another_pump_receives_during_a_long_run(serving: Any) -> None:
    """While a pump is in a long run, another pump receives the next call."""
    bench, front = serving(50_000.0)

    def meanwhile() -> None:
        front.events.put(call(2, 2))
        front.wait_received(2)

    bench.session.meanwhile = meanwhile
    front.ask(1, 1)
    front.wait(2)
    assert len(set(front.receivers)) == 2


@pytest.mark.parametrize("scale", [1.0, 4.0])
@pytest.mark.parametrize(("calls", "is_long"), [(1, True), (200, False)])
def test_a_run_of_many_short_calls_is_not_long(calls: int, is_long: bool, scale: float) -> None:
    """A run of 2 ms is long if it has a single call, and not if it has 200 calls, for any slowdown of the machine."""
    bench = Bench(alike=True)
    bench.lane.cost = CostModel({1: 2_000.0 / calls, 200: 2_000.0}, 1e9)
    bench.lane.cost.batch_rows, bench.lane.cost.scale = 200, scale
    bench.handle(*(call(number, number) for number in range(calls)))
    assert [len(batch) for batch in bench.session.batches] == [calls]
    assert bench.scheduler.all_receive(monotonic_ns()) == is_long


@pytest.mark.parametrize("bug", [ZeroDivisionError, SystemExit])
def test_a_failed_submit_costs_no_pump(serving: Any, bug: type[BaseException]) -> None:
    """If submitting raises, the caller gets the error, no pump dies, and the next call is answered."""
    bench, front = serving(10.0)
    submit = bench.scheduler.submit
    failures = iter([bug])

    def failing(*arguments: Any, **named: Any) -> Any:
        for failure in failures:
            raise failure
        return submit(*arguments, **named)

    bench.scheduler.submit = failing
    front.ask(1, 1)
    front.ask(2, 2)
    assert isinstance(front.told[1], bug)
    assert front.told[2] == [4]
    assert bench.observer.deaths == []
    assert bench.scheduler.wait_idle(PATIENCE_S)


def test_idle_waits_for_events_in_hand() -> None:
    """`wait_idle` waits while a pump holds received events, until its next `turn`."""
    scheduler, front = Bench().scheduler, FakeFront()
    assert scheduler.turn(front, held=False) is None
    assert scheduler.wait_idle(0)
    scheduler.end_turn(front, held=True)
    assert not scheduler.wait_idle(0)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(scheduler.wait_idle, PATIENCE_S)
        assert scheduler.turn(front, held=True) is None
        assert waiting.result(PATIENCE_S)


def test_idle_waits_for_a_call_that_a_pump_decodes(serving: Any) -> None:
    """A call that a pump has received and not yet queued keeps the scheduler from being idle."""
    bench, front = serving(10.0)
    idle: list[bool] = []
    bench.codec.meanwhile = lambda: idle.append(bench.scheduler.wait_idle(0))
    front.ask(1, 1)
    assert idle == [False]
    assert bench.scheduler.wait_idle(PATIENCE_S)


def test_calls_of_a_draining_front_are_refused(serving: Any) -> None:
    """While a front refuses, new calls get DrainingError, and no events stay in hand."""
    bench, front = serving(10.0)
    front.ask(1, 1)
    front.refuses = True
    front.ask(2, 2)
    assert isinstance(front.told[2], DrainingError)
    assert bench.scheduler.wait_idle(PATIENCE_S)
