"""Which requests admission refuses, for lanes with a planted backlog and cost curve."""

from types import SimpleNamespace
from typing import Any

import pytest

from onnxpress.server.serving.admission import BURST_NS, Admission
from onnxpress.server.serving.cost import CostModel

MS = 1_000_000
TARGET_US = 100_000.0
# One row and a batch of 100 rows both take 10 ms, overhead included.
CURVE = {1: 9_960.0, 100: 9_960.0}


def lane(
    *, backlog: int = 0, large: int = 0, running: int = 0, batch: int = 100, urgent: int = 0, size: int = 0
) -> Any:
    """A lane whose queue was last empty at time 0; `size`: bytes that wait in it."""
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
        (500, "", True, False),  # 60 ms, the limit of a burst for the default priority
        (600, "", False, False),
        (100, "sheddable", True, True),  # 20 ms
        (200, "sheddable", True, False),
        (300, "sheddable", False, False),
        (400, "no such priority", True, False),
        (600, "no such priority", False, False),
    ],
)
def test_wait_limits_by_priority(backlog: int, priority: str, burst: bool, overload: bool) -> None:
    """A request is refused if its wait exceeds its priority's limit, which is lower in an overload than in a burst."""
    assert admitted(lane(backlog=backlog), request(priority=priority), now=BURST_NS) == [burst]
    assert admitted(lane(backlog=backlog), request(priority=priority), now=BURST_NS + 1) == [overload]


@pytest.mark.parametrize(("urgent", "burst", "overload"), [(0, True, True), (500, True, False), (700, False, False)])
def test_critical_requests_wait_for_each_other_only(urgent: int, burst: bool, overload: bool) -> None:
    """Critical requests go before all others; one is refused only if too many critical ones wait."""
    for now, expected in ((BURST_NS, burst), (BURST_NS + 1, overload)):
        one = request(priority="critical")
        assert admitted(lane(backlog=900, urgent=urgent), one, now=now) == [expected]
        assert one.urgent


def test_stale_limit() -> None:
    """An admitted request is stale after 75 % of the target in a burst, after 60 % in an overload."""
    assert rule().fresh_since(lane(backlog=1), BURST_NS) == BURST_NS - 75 * MS
    assert rule().fresh_since(lane(backlog=1), 2 * BURST_NS) == 2 * BURST_NS - 60 * MS


def test_requests_received_together_wait_for_each_other() -> None:
    """Of ten requests received together the first six are admitted, since each adds a batch to the wait of the next."""
    assert admitted(lane(), *(request() for _ in range(10))) == [True] * 6 + [False] * 4


def test_slots_run_in_parallel() -> None:
    """With two slots twice as many requests are admitted."""
    assert admitted(lane(), *(request() for _ in range(14)), slots=2) == [True] * 12 + [False] * 2


def test_a_deadline_that_cannot_be_met_is_refused() -> None:
    """A forecast wait of 40 ms is refused with a deadline in 30 ms, and admitted with a later one or none."""
    busy = lane(backlog=300)
    assert admitted(busy, request(deadline=30 * MS), request(deadline=90 * MS), request()) == [False, True, True]


def test_other_lanes_add_to_the_wait() -> None:
    """Another waiting lane runs a batch for each batch of this one."""
    other = lane(backlog=1000)
    assert admitted(lane(backlog=300), request(), waiting=(other,)) == [False]
    assert admitted(lane(backlog=200), request(), waiting=(other,)) == [True]


def test_a_small_request_waits_for_one_batch_of_a_large_one() -> None:
    """A row behind 10,000 rows, which run for a second, is admitted, since it waits for one batch of them only."""
    large, small = request(10_000), request(1)
    assert admitted(lane(), large, small) == [True, True]
    assert admitted(lane(large=9_000), small, large) == [True, False]


def test_large_requests_wait_for_each_other() -> None:
    """The first large request is admitted however long it runs, the next ones only within the wait limit."""
    assert admitted(lane(), *(request(200) for _ in range(4))) == [True, True, True, False]


def test_an_idle_lane_admits_any_request() -> None:
    """If nothing waits, a request is admitted even if it alone takes longer than the target or its deadline."""
    slow = lane()
    slow.cost.scale = 50.0
    assert admitted(slow, request(deadline=5 * MS)) == [True]
    assert admitted(slow, request(), request()) == [True, False]


def test_waiting_rows_are_bounded() -> None:
    """Requests beyond `rows_max` are refused even if the forecast wait is 0."""
    quick = lane()
    quick.cost.scale = 0.0
    requests = [request() for _ in range(4)]
    refused = rule(rows_max=250).refuse(quick, requests, (), 0)
    assert [refusal[0] for refusal in refused] == requests[2:]


@pytest.mark.parametrize(
    ("here", "elsewhere", "admitted_bytes", "expected"),
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
def test_waiting_bytes_are_bounded_for_all_lanes_together(
    here: int, elsewhere: int, admitted_bytes: int, expected: int
) -> None:
    """Bytes that wait in any lane, or are admitted to another one in the same receive, count against one limit."""
    quick, other = lane(backlog=bool(here), size=here), lane(backlog=1, size=elsewhere)
    quick.cost.scale = other.cost.scale = 0.0
    requests = [request(100) for _ in range(3)]
    door = Admission(1, TARGET_US, 10**6, 1_000)
    refused = door.refuse(quick, requests, (quick, other), 0, admitted_bytes)
    assert [refusal[0] for refusal in refused] == requests[expected:]
    assert all("all models are at their limit of 1000 bytes" in str(error) for _, error in refused)
    assert bool(door.refuse(quick, requests[:1], (quick, other), 0, admitted_bytes)) == (expected == 0)


def test_any_size_is_admitted_if_nothing_waits() -> None:
    """A request larger than the byte limit is admitted if nothing waits, since it could never be answered otherwise."""
    door = Admission(1, TARGET_US, 10**6, 50)
    assert not door.refuse(lane(), [request(100)], (), 0)
    assert door.refuse(lane(), [request(100)], (lane(backlog=1, size=1),), 0)


def test_a_refusal_has_a_retry_delay() -> None:
    """The retry delay is the forecast wait rounded to 10 ms; the message names forecast and limit."""
    ((_, error),) = rule().refuse(lane(backlog=700), [request()], (), 0)
    assert error.retry_ms == 80
    assert "about 80 ms" in str(error)
    assert "limit is 60 ms" in str(error)
