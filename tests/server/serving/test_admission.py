"""The forecast that admits or refuses, as sums."""

from types import SimpleNamespace
from typing import Any

import pytest

from onnxpress.server.serving.admission import LATELY_NS, Admission
from onnxpress.server.serving.cost import CostModel

MS = 1_000_000
TARGET_US = 100_000.0
# One row and a batch of 100 rows both take 10 ms, overhead included.
CURVE = {1: 9_960.0, 100: 9_960.0}


def lane(
    *, backlog: int = 0, large: int = 0, running: int = 0, batch: int = 100, urgent: int = 0, size: int = 0
) -> Any:
    """Whose queue was last empty at time 0; `size`: the bytes in it."""
    cost = CostModel(CURVE, TARGET_US)
    cost.batch_rows = cost.unsplit_rows_max = batch
    queue = SimpleNamespace(rows=backlog + large, large_rows=large, urgent_rows=urgent, bytes=size)
    return SimpleNamespace(cost=cost, queue=queue, running=running, queued_since=0)


def request(rows: int = 100, *, deadline: int = 0, priority: str = "") -> Any:
    metadata = (("x-onnxpress-priority", priority),) if priority else ()
    return SimpleNamespace(rows=rows, size=rows, deadline=deadline, metadata=metadata, urgent=False)


def rule(slots: int = 1, rows_max: int = 10**6) -> Admission:
    return Admission(slots, TARGET_US, rows_max, 10**9)


def admitted(one: Any, *requests: Any, now: int = 0, slots: int = 1, waiting: tuple[Any, ...] = ()) -> list[bool]:
    refused = [id(refusal[0]) for refusal in rule(slots).refuse(one, requests, waiting, now)]
    return [id(request) not in refused for request in requests]


@pytest.mark.parametrize(
    ("backlog", "priority", "burst", "overload"),
    [
        (0, "", True, True),
        (300, "", True, True),  # 30 ms ahead and 10 own
        (400, "", True, False),
        (500, "", True, False),  # 60 of the target's 100 ms: as much as a burst may ask of anybody
        (600, "", False, False),
        (100, "sheddable", True, True),  # 20 ms
        (200, "sheddable", True, False),
        (300, "sheddable", False, False),
        (400, "no such priority", True, False),
        (600, "no such priority", False, False),
    ],
)
def test_patience_by_priority(backlog: int, priority: str, burst: bool, overload: bool) -> None:
    """What waits longer than its priority may is refused; in a queue that has not been empty for long, sooner."""
    assert admitted(lane(backlog=backlog), request(priority=priority), now=LATELY_NS) == [burst]
    assert admitted(lane(backlog=backlog), request(priority=priority), now=LATELY_NS + 1) == [overload]


@pytest.mark.parametrize(("urgent", "burst", "overload"), [(0, True, True), (500, True, False), (700, False, False)])
def test_the_critical_wait_for_each_other_only(urgent: int, burst: bool, overload: bool) -> None:
    """They go before all others, and are refused when too many of them wait."""
    for now, welcome in ((LATELY_NS, burst), (LATELY_NS + 1, overload)):
        one = request(priority="critical")
        assert admitted(lane(backlog=900, urgent=urgent), one, now=now) == [welcome]
        assert one.urgent


def test_what_waited_longer_than_forecast_is_too_late() -> None:
    """Three quarters of the target in a burst, less in an overload."""
    assert rule().fresh_since(lane(backlog=1), LATELY_NS) == LATELY_NS - 75 * MS
    assert rule().fresh_since(lane(backlog=1), 2 * LATELY_NS) == 2 * LATELY_NS - 60 * MS


def test_those_that_come_together_wait_for_each_other() -> None:
    """Of ten that arrive at once the first six are admitted: each adds its own batch."""
    assert admitted(lane(), *(request() for _ in range(10))) == [True] * 6 + [False] * 4


def test_slots_work_side_by_side() -> None:
    """Two slots work off twice as much in the same time."""
    assert admitted(lane(), *(request() for _ in range(14)), slots=2) == [True] * 12 + [False] * 2


def test_a_deadline_that_cannot_be_met_is_refused_at_once() -> None:
    """40 ms of waiting are fine for most, and hopeless for a caller who leaves in 30."""
    busy = lane(backlog=300)
    assert admitted(busy, request(deadline=30 * MS), request(deadline=90 * MS), request()) == [False, True, True]


def test_other_lanes_take_their_turns() -> None:
    """A lane that waits too gets a batch for each of ours."""
    other = lane(backlog=1000)
    assert admitted(lane(backlog=300), request(), waiting=(other,)) == [False]
    assert admitted(lane(backlog=200), request(), waiting=(other,)) == [True]


def test_of_a_large_request_only_one_batch_stands_before_a_small_one() -> None:
    """10,000 rows take a second in all; a single row behind them waits for one batch, not for all."""
    large, small = request(10_000), request(1)
    assert admitted(lane(), large, small) == [True, True]
    assert admitted(lane(large=9_000), small, large) == [True, False]


def test_large_requests_wait_for_each_other() -> None:
    """The first is taken however long it takes, the next only when it can be done in time."""
    assert admitted(lane(), *(request(200) for _ in range(4))) == [True, True, True, False]


def test_an_idle_lane_takes_what_nobody_could_do_in_time() -> None:
    """A request that alone is slower than the target is answered where nothing waits, deadline or not."""
    slow = lane()
    slow.cost.scale = 50.0
    assert admitted(slow, request(deadline=5 * MS)) == [True]
    assert admitted(slow, request(), request()) == [True, False]


def test_hard_caps_hold_whatever_the_forecast_says() -> None:
    """Rows and bytes that wait are bounded even when they would be quick."""
    quick = lane()
    quick.cost.scale = 0.0
    requests = [request() for _ in range(4)]
    refused = rule(rows_max=250).refuse(quick, requests, (), 0)
    assert [refusal[0] for refusal in refused] == requests[2:]


@pytest.mark.parametrize(
    ("here", "elsewhere", "admitted_bytes", "welcome"),
    [
        (700, 0, 0, 3),
        (701, 0, 0, 2),
        (901, 0, 0, 0),
        (0, 800, 0, 2),
        (0, 901, 0, 0),
        (0, 0, 901, 0),
        (300, 300, 200, 2),
    ],
)
def test_bytes_are_one_budget(here: int, elsewhere: int, admitted_bytes: int, welcome: int) -> None:
    """What waits for one model, or is admitted to it just now, leaves less room for all others."""
    quick, other = lane(backlog=bool(here), size=here), lane(backlog=1, size=elsewhere)
    quick.cost.scale = other.cost.scale = 0.0
    requests = [request(100) for _ in range(3)]
    door = Admission(1, TARGET_US, 10**6, 1_000)
    refused = door.refuse(quick, requests, (quick, other), 0, admitted_bytes)
    assert [refusal[0] for refusal in refused] == requests[welcome:]
    assert all("all models are at their limit of 1000 bytes" in str(error) for _, error in refused)
    assert bool(door.refuse(quick, requests[:1], (quick, other), 0, admitted_bytes)) == (welcome == 0)


def test_where_nothing_waits_any_size_is_taken() -> None:
    """A request that is larger than the budget would never be answered otherwise."""
    door = Admission(1, TARGET_US, 10**6, 50)
    assert not door.refuse(lane(), [request(100)], (), 0)
    assert door.refuse(lane(), [request(100)], (lane(backlog=1, size=1),), 0)


def test_a_refusal_says_when_to_come_back() -> None:
    """The forecast is the retry time, in whole tens of milliseconds."""
    ((_, error),) = rule().refuse(lane(backlog=700), [request()], (), 0)
    assert error.retry_ms == 80
    assert "about 80 ms" in str(error)
    assert "limit is 60 ms" in str(error)
