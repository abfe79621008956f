"""From events to answers with a fake front and a fake session: who is answered, who is told, and what never runs."""

import struct
from time import monotonic_ns

import pytest

from onnxpress.server.errors import ExpiredError, InvalidRequestError, OverloadedError
from onnxpress.server.serving.admission import Admission
from onnxpress.server.serving.contract import Contract
from onnxpress.server.serving.cost import CostModel
from onnxpress.server.serving.front import CALL, Event
from onnxpress.server.serving.lane import Lane
from onnxpress.server.serving.routing import CANARY, CHAMPION, PLACES, Route, Share, Target
from onnxpress.server.serving.runtime import RunError
from onnxpress.server.serving.scheduler import ACTIVE_NS
from tests.server.serving.bench import (
    BAD,
    ROWS_MAX,
    Bench,
    FakeSession,
    call,
    cancel,
)


def test_what_waits_runs_together(bench: Bench) -> None:
    """Three requests become one run, and each gets its own rows."""
    assert bench.handle(call(1, 1, 2), call(2, 3), call(3, 4, 5, 6)) == {1: [2, 4], 2: [6], 3: [8, 10, 12]}
    assert bench.session.batches == [[1, 2, 3, 4, 5, 6]]
    assert [(run.rows, len(run.calls.arrivals())) for run in bench.observer.runs] == [(6, 3)]
    assert bench.settled()


def test_large_requests_are_split_and_joined(bench: Bench) -> None:
    """A request of twenty rows runs in parts of eight, with a small one in between, and is answered whole, once."""
    told = bench.handle(call(1, *range(20)), call(2, 100))
    assert told == {1: [2.0 * n for n in range(20)], 2: [200]}
    assert max(map(len, bench.session.batches)) == ROWS_MAX
    assert sum(map(len, bench.session.batches)) == 21
    assert sum(len(run.calls.arrivals()) for run in bench.observer.runs) == 2
    assert bench.settled()


def test_runs_are_brief_while_others_have_callers(bench: Bench) -> None:
    """A run that another model's callers would feel is cut short for as long as there are any, and no longer."""
    bench.lane.cost.shared_batch_rows = 3
    others = Lane("n", 1, FakeSession(), "", Contract(), CostModel({1: 1.0}, 1e9))  # type: ignore[arg-type]
    bench.scheduler.replace_route(Route("n", 1, others, {"1": others}, {}))
    calls = [call(number, number) for number in range(8)]
    others.last_request_ns = monotonic_ns()
    bench.handle(*calls)
    assert [len(batch) for batch in bench.session.batches] == [3, 3, 2]
    others.last_request_ns -= ACTIVE_NS
    bench.front.told.clear()
    bench.handle(*calls)
    assert len(bench.session.batches[3]) == 8
    assert bench.settled()


def test_a_row_of_evil_hurts_its_own_request_only(bench: Bench) -> None:
    """When a run fails, every request runs alone, and only the one that makes it fail is told so."""
    told = bench.handle(call(1, 1), call(2, 2, BAD), call(3, 3))
    assert isinstance(told.pop(2), RunError)
    assert told == {1: [2], 3: [6]}
    assert bench.settled()


def test_an_error_of_ours_is_logged_where_it_gets_its_id(bench: Bench, caplog: pytest.LogCaptureFixture) -> None:
    """The front tells the caller an id and logs it with the trace: here the trace is told which version it was."""
    told = bench.handle(call(1, BAD))
    assert told[1].__notes__ == ["in a request to model 'm' version 1"]
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_a_part_that_fails_ends_its_request(bench: Bench) -> None:
    """A large request with an evil row is failed once; its other rows do not run, its neighbours are answered."""
    told = bench.handle(call(1, *range(9), BAD, *range(20)), call(2, 50), call(3, 60))
    assert isinstance(told.pop(1), RunError)
    assert told == {2: [100], 3: [120]}
    assert sum(len(batch) for batch in bench.session.batches) < 40
    assert bench.settled()


def test_too_few_rows_back_is_an_error(bench: Bench) -> None:
    """A model that returns fewer rows than it was given answers nobody with nothing: all are told."""
    bench.session.short = 1
    told = bench.handle(call(1, 1), call(2, 2))
    assert all(isinstance(error, RunError) for error in told.values())
    assert "shape [0, 1] for 1 rows" in str(told[1])
    assert bench.settled()


def test_a_panic_in_a_run_is_told(bench: Bench) -> None:
    """Native code that panics raises a BaseException: every caller of the batch is told, and the slot comes back."""

    def panic() -> None:
        raise SystemExit

    bench.session.meanwhile = panic
    told = bench.handle(call(1, 1), call(2, 2))
    assert [type(error) for error in told.values()] == [SystemExit, SystemExit]
    assert bench.handle(call(3, 3))[3] == [6]
    assert bench.settled()


def test_unreadable_requests_are_told_and_nobody_else(bench: Bench) -> None:
    """A request that cannot be read, or trips over a bug of ours, fails alone."""
    told = bench.handle(call(1, 1), (CALL, 2, 0, b"!", None, None), (CALL, 3, 0, b"bug", None, None), call(4, 4))
    assert isinstance(told.pop(2), InvalidRequestError)
    assert isinstance(told.pop(3), ZeroDivisionError)
    assert told == {1: [2], 4: [8]}
    assert bench.observer.codes() == {"InvalidRequestError": 1, "ZeroDivisionError": 1}
    assert bench.settled()


@pytest.mark.parametrize("alike", [False, True])
def test_expired_in_the_queue_never_runs(alike: bool) -> None:
    """A deadline that passes while a batch runs is told when the queue comes to it, and its rows never run."""
    # The door is open: what is tested is the second look, when a batch is taken.
    bench = Bench(alike=alike, door=Admission(1, float("inf"), 1_000, 10**9))

    def others() -> None:
        bench.handle(call(2, 2, left_s=1e-9), call(3, 3), call(4, 4, left_s=60))

    bench.session.meanwhile = others
    told = bench.handle(call(1, 1))
    assert isinstance(told.pop(2), ExpiredError | OverloadedError)
    assert told == {1: [2], 3: [6], 4: [8]}
    assert [row for batch in bench.session.batches for row in batch] == [1, 3, 4]
    assert bench.settled()


def test_cancelled_in_the_queue_never_runs(bench: Bench) -> None:
    """Callers who leave while they queue are told nothing and cost no run; their neighbours are answered."""
    bench.session.meanwhile = lambda: bench.handle(call(2, 2), call(3, 3), call(4, 4), cancel(3))
    assert bench.handle(call(1, 1)) == {1: [2], 2: [4], 4: [8]}
    assert bench.session.batches == [[1], [2, 4]]
    assert bench.observer.codes() == {"CANCELLED": 1}
    assert bench.settled()


def test_a_batch_of_cancelled_calls_only(bench: Bench) -> None:
    """When everybody who queued has left, nothing runs and the next request is answered."""
    observed: list[int] = []
    bench.lane.cost.observe = lambda rows, _micros: observed.append(rows)  # type: ignore[method-assign]
    bench.session.meanwhile = lambda: bench.handle(call(2, 2), call(3, 3), cancel(2), cancel(3))
    assert bench.handle(call(1, 1)) == {1: [2]}
    assert bench.session.batches == [[1]]
    assert bench.handle(call(4, 4))[4] == [8]
    assert bench.settled()
    assert observed == [1, 1], "what never ran teaches nothing about cost"


def test_cancelled_while_running_and_after(bench: Bench) -> None:
    """A caller who leaves during the run or after the answer changes nothing for anybody."""
    bench.session.meanwhile = lambda: bench.handle(cancel(1))
    bench.handle(call(1, 1), call(2, 2))
    bench.handle(cancel(2), cancel(99))
    assert bench.handle(call(3, 3)) == {1: [2], 2: [4], 3: [6]}
    assert bench.settled()


def test_cancelled_large_request_stops(bench: Bench) -> None:
    """A large request whose caller leaves while its first part runs takes no further slot."""
    bench.session.meanwhile = lambda: bench.handle(cancel(1), call(2, 50))
    assert bench.handle(call(1, *range(30))) == {2: [100]}
    assert bench.session.batches == [list(range(8)), [50]]
    assert bench.settled()


def test_routes_that_change_while_binding(bench: Bench) -> None:
    """A request that was bound before a deploy and submitted after it is bound again: no old answer after the flip."""
    session = FakeSession()
    newer = Lane("m", 2, session, "", Contract(), CostModel({1: 1.0}, 1e9))  # type: ignore[arg-type]
    flipped = Route("m", 2, newer, {"2": newer}, {})
    bench.codec.meanwhile = lambda: bench.scheduler.replace_route(flipped)
    assert bench.handle(call(1, 1)) == {1: [2]}
    assert (bench.session.batches, session.batches) == ([], [[1]])
    assert bench.settled()
    assert newer.held == 0


def test_full_queue_refuses_the_newcomer_only() -> None:
    """What does not fit into the queue is refused with a time to come back; what waits is answered."""
    bench = Bench(rows_max=4)
    bench.session.meanwhile = lambda: bench.handle(call(2, 2, 2, 2), call(3, 3, 3), call(4, 4))
    told = bench.handle(call(1, 1))
    refused = told.pop(3)
    assert isinstance(refused, OverloadedError)
    assert refused.retry_ms > 0
    assert told == {1: [2], 2: [4, 4, 4], 4: [8]}
    assert bench.settled()


def test_models_share_the_bytes_that_may_wait() -> None:
    """Requests to two models that come together wait within one budget, and leave it free when they are answered."""
    bench = Bench(door=Admission(1, 1e9, 1_000, 10))
    other = Lane("n", 1, FakeSession(), "", Contract(), CostModel({1: 1.0}, 1e9))  # type: ignore[arg-type]
    bench.scheduler.replace_route(Route("n", 1, other, {"1": other}, {}))
    bench.codec.models = {struct.pack("<f", 100 + number): "n" for number in range(4)}
    bench.session.meanwhile = lambda: bench.handle(call(0, 0), call(1, 101), call(2, 2), call(3, 103))
    told = bench.handle(call(9, 9))
    # Model m comes first: both its calls have room for 8 of 10 bytes, and then nothing of n has any.
    assert [number for number, answer in told.items() if isinstance(answer, OverloadedError)] == [1, 3]
    assert bench.scheduler.waiting_bytes() == 0


@pytest.mark.parametrize("bad", [call(1, BAD), (CALL, 1, 0, b"bug", None, None)])
def test_a_front_that_cannot_refuse_costs_no_slot(bench: Bench, monkeypatch: pytest.MonkeyPatch, bad: Event) -> None:
    """When telling a failure fails itself, the slot and the leases still come back, and others are answered."""

    def broken(*_: object) -> str:
        raise ValueError("reserved")

    monkeypatch.setattr(bench.front, "fail", broken)
    assert bench.handle(bad, call(2, 3.0)) == {2: [6.0]}
    assert bench.handle(bad) == {2: [6.0]}
    assert bench.settled()


def queued_in(lane: Lane) -> list[int]:
    """Counts the requests that are queued from now on."""
    counts: list[int] = []
    put = lane.queue.put
    lane.queue.put = lambda requests, rows: (counts.append(len(requests)), put(requests, rows))[1]  # type: ignore[func-returns-value,method-assign]
    return counts


def test_a_uniform_batch_runs_without_a_queue() -> None:
    """Calls that are alike and need not wait are one run, and none of them is ever queued."""
    bench = Bench(alike=True)
    counts = queued_in(bench.lane)
    assert bench.handle(call(1, 1), call(2, 2), call(3, 3, left_s=5.0)) == {1: [2], 2: [4], 3: [6]}
    assert bench.session.batches == [[1, 2, 3]]
    assert [(run.rows, len(run.calls.arrivals())) for run in bench.observer.runs] == [(3, 3)]
    assert counts == []
    assert bench.settled()


@pytest.mark.parametrize(
    "events",
    [
        [call(1, 1), call(2, 1, 2)],  # not alike
        [call(1, 1), cancel(9)],
        [call(number, 1) for number in range(ROWS_MAX + 1)],  # more than a batch
        [call(1, 1), call(2, 2, left_s=1e-9)],  # no time
        [call(1, 1), call(2, 2, left_s=0.0)],
    ],
)
def test_other_company_queues(events: list[Event]) -> None:
    """What may have to wait, expire or be split is queued, each call for itself."""
    bench = Bench(alike=True)
    counts = queued_in(bench.lane)
    bench.handle(*events)
    assert sum(counts) > 0
    assert bench.settled()


@pytest.mark.parametrize("slots", [1, 2])
def test_a_uniform_batch_waits_its_turn(slots: int) -> None:
    """While its lane runs a batch, newcomers that are alike queue, even beside a free slot."""
    bench = Bench(alike=True, slots=slots)
    counts = queued_in(bench.lane)
    bench.session.meanwhile = lambda: bench.handle(call(2, 2), call(3, 3))
    assert bench.handle(call(1, 1)) == {1: [2], 2: [4], 3: [6]}
    assert counts == [2]
    assert bench.session.batches == [[1], [2, 3]]
    assert bench.settled()


class Shared(Bench):
    """Two versions that share the calls: keys "in…" of the route go to the candidate, all others to the champion."""

    def __init__(self, candidate_us: float = 1.0, slots: int = 1) -> None:
        """`candidate_us`: forecast of a run of the candidate."""
        super().__init__(alike=True, slots=slots)
        self.candidate_session = FakeSession()
        cost = CostModel({1: candidate_us}, 1e9)
        cost.batch_rows = cost.unsplit_rows_max = cost.shared_batch_rows = ROWS_MAX
        self.candidate = Lane("m", 2, self.candidate_session, "", Contract(), cost)  # type: ignore[arg-type]
        self.shared = Route(
            "m", 2, self.lane, {"1": self.lane, "2": self.candidate}, {},
            shares=(Share(PLACES // 2, Target(self.candidate, CANARY)),), salt=b"m/2",
        )  # fmt: skip
        self.scheduler.replace_route(self.shared)
        self.keys = {
            variant: next(key for key in map(str, range(100)) if self.shared.choose(key, 0).variant == variant)
            for variant in (CHAMPION, CANARY)
        }

    def call(self, number: int, variant: str, *rows: float, left_s: float | None = None) -> Event:
        return call(number, *rows, left_s=left_s, metadata=(("route-key", self.keys[variant]),))

    def mixed(self) -> list[Event]:
        """Three calls for the champion and two for the candidate, in turn."""
        return [self.call(number, CANARY if number % 2 else CHAMPION, number) for number in range(5)]

    def all_settled(self) -> bool:
        return self.settled() and (self.candidate.held, self.candidate.running, self.shared.held) == (0, 0, 0)


MIXED_ANSWERS = {number: [2.0 * number] for number in range(5)}


def test_brief_groups_follow_each_other_without_a_queue() -> None:
    """Where two versions share the calls, each gets its group as one run, the larger first, and none is queued."""
    bench = Shared()
    counts = queued_in(bench.candidate)
    assert bench.handle(*bench.mixed()) == MIXED_ANSWERS
    assert (bench.session.batches, bench.candidate_session.batches) == ([[0, 2, 4]], [[1, 3]])
    assert [(run.lane.version, run.calls.variants()) for run in bench.observer.runs] == [
        ("1", [CHAMPION] * 3),
        ("2", [CANARY] * 2),
    ]
    assert counts == []
    assert bench.all_settled()


@pytest.mark.parametrize("slots", [1, 2])
def test_what_waits_goes_before_the_next_group(slots: int) -> None:
    """A call that arrives during the first group's run, and the groups that have not run, take their turns."""
    bench = Shared(slots=slots)
    bench.session.meanwhile = lambda: bench.handle(bench.call(9, CHAMPION, 9))
    assert bench.handle(*bench.mixed()) == {**MIXED_ANSWERS, 9: [18]}
    assert (bench.session.batches, bench.candidate_session.batches) == ([[0, 2, 4], [9]], [[1, 3]])
    assert bench.all_settled()


def test_long_groups_can_be_cancelled() -> None:
    """Where the groups take long together, the smaller ones are queued: a caller who leaves meanwhile costs no run."""
    bench = Shared(candidate_us=1e6)
    bench.session.meanwhile = lambda: bench.handle(cancel(1), cancel(3))
    assert bench.handle(*bench.mixed()) == {number: [2.0 * number] for number in (0, 2, 4)}
    assert bench.candidate_session.batches == []
    assert bench.observer.codes() == {"CANCELLED": 2}
    assert bench.all_settled()


def test_a_flip_between_two_groups_binds_the_second_again() -> None:
    """A promotion while the first group runs: the second group is bound by the new route."""
    bench = Shared()
    promoted = Route("m", 3, bench.candidate, bench.shared.lanes, {})
    bench.session.meanwhile = lambda: bench.scheduler.replace_route(promoted)
    assert bench.handle(*bench.mixed()) == MIXED_ANSWERS
    assert [run.calls.variants() for run in bench.observer.runs] == [[CHAMPION] * 3, [CHAMPION] * 2]
    assert [run.calls.columns().epochs for run in bench.observer.runs] == [[2] * 3, [3] * 2]
    assert bench.all_settled()


def test_the_first_group_takes_time_from_the_second(monkeypatch: pytest.MonkeyPatch) -> None:
    """A deadline that passed while the first group ran, slower than forecast, ends the second group's call."""
    bench, late_ns = Shared(), [0]
    monkeypatch.setattr("onnxpress.server.serving.pump.monotonic_ns", lambda: monotonic_ns() + late_ns[0])
    bench.session.meanwhile = lambda: late_ns.__setitem__(0, 10**10)
    events = [bench.call(1, CHAMPION, 1), bench.call(2, CHAMPION, 2), bench.call(3, CANARY, 3, left_s=5.0)]
    told = bench.handle(*events)
    assert isinstance(told.pop(3), ExpiredError)
    assert told == {1: [2], 2: [4]}
    assert bench.candidate_session.batches == []
    assert bench.all_settled()


def test_a_group_with_little_time_is_queued(monkeypatch: pytest.MonkeyPatch) -> None:
    """A second group whose deadline may pass before it has run goes through admission, like any call with one."""
    monkeypatch.setattr("onnxpress.server.serving.pump.monotonic_ns", lambda: 10**15)
    bench = Shared(candidate_us=500.0)
    counts = queued_in(bench.candidate)
    events = [bench.call(1, CHAMPION, 1), bench.call(2, CHAMPION, 2), bench.call(3, CANARY, 3, left_s=1e-4)]
    assert bench.handle(*events) == {1: [2], 2: [4], 3: [6]}
    assert counts == [1]
    assert bench.all_settled()
