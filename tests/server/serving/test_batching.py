"""Which waiting rows form a batch, with fake requests."""

from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxpress.server.serving.batching import Queue, Taken


def request(call: int, rows: int, deadline: int = 0, arrival: int = 0, *, urgent: bool = False) -> Any:
    return SimpleNamespace(call=call, rows=rows, deadline=deadline, arrival=arrival, urgent=urgent, taken=0, size=rows)


def queue(*requests: Any, rows_max: int = 10) -> Queue:
    waiting = Queue()
    waiting.put(requests, rows_max)
    return waiting


def shown(taken: Taken) -> str:
    """`1:3 2:4 9[0-3]`: whole requests with their rows, then the part."""
    whole = [f"{request.call}:{request.rows}" for request in taken.requests]
    part = taken.part
    return " ".join([*whole, *([f"{part.request.call}[{part.start}-{part.stop}]"] if part else [])])


def run(waiting: Queue, rows_max: int = 10, now: int = 0, cancelled: frozenset[int] = frozenset()) -> list[str]:
    """All batches until nothing waits; a part's request is put back as the scheduler does."""
    batches = []
    while waiting:
        taken = waiting.take(rows_max, now, cancelled)
        batches.append(shown(taken))
        if taken.part is not None and not taken.part.last:
            waiting.put_back(taken.part.request)
    assert (waiting.rows, waiting.large_rows, waiting.bytes) == (0, 0, 0)
    return batches


@pytest.mark.parametrize(
    ("rows", "batches"),
    [
        ([1], ["1:1"]),  # a single request runs alone
        ([3, 4, 3], ["1:3 2:4 3:3"]),  # waiting requests share a batch
        ([3, 4, 4], ["1:3 2:4", "3:4"]),  # a small request is never split
        ([25], ["1[0-10]", "1[10-20]", "1[20-25]"]),  # a large one is
        ([4, 25], ["1:4 2[0-6]", "2[6-16]", "2[16-25]"]),  # and fills the room that small ones leave
        ([25, 10, 10], ["2:10", "1[0-10]", "3:10", "1[10-20]", "1[20-25]"]),  # small and large ones alternate
        ([12, 13], ["1[0-10]", "1[10-12]", "2[0-10]", "2[10-13]"]),  # large ones are first in, first out
    ],
)
def test_batches(rows: list[int], batches: list[str]) -> None:
    """Batches have at most ten rows and run in the expected order."""
    assert run(queue(*(request(call, count) for call, count in enumerate(rows, 1)))) == batches


def test_expired_and_cancelled_never_run() -> None:
    """Cancelled and expired requests, small or large, are removed into separate lists and not run."""
    waiting = queue(request(1, 2, deadline=5), request(2, 2), request(3, 2, deadline=9), request(4, 30, deadline=5))
    taken = waiting.take(10, 5, {2})
    assert shown(taken) == "3:2"
    assert [request.call for request in taken.expired] == [1, 4]
    assert [request.call for request in taken.cancelled] == [2]
    assert (waiting.rows, waiting.bytes, bool(waiting)) == (0, 0, False)


def test_urgent_requests_go_first() -> None:
    """Urgent small requests go before other small ones; large and small batches alternate all the same."""
    waiting = queue(request(1, 8), request(2, 30), request(3, 6, urgent=True), request(4, 6, urgent=True))
    assert waiting.urgent_rows == 12
    assert run(waiting) == ["3:6 2[0-4]", "4:6 2[4-8]", "1:8 2[8-10]", "2[10-20]", "2[20-30]"]


def test_urgent_large_requests_go_first_too() -> None:
    """Urgent large requests go before other large ones, but after the rest of one whose first part has run."""
    waiting = queue(request(1, 25))
    first = waiting.take(10, 0, ())
    waiting.put_back(first.part.request)
    waiting.put([request(2, 15, urgent=True)], 10)
    waiting.put([request(3, 15)], 10)
    assert waiting.urgent_rows == 30
    assert run(waiting) == ["1[10-20]", "1[20-25]", "2[0-10]", "2[10-15]", "3[0-10]", "3[10-15]"]


def test_stale_requests_are_not_run() -> None:
    """Requests that arrived before `fresh_since` are stale, except the newest, so that a slow model answers some."""
    waiting = queue(*(request(call, 2, arrival=call) for call in range(1, 5)), request(9, 30, arrival=1))
    taken = waiting.take(4, 0, (), fresh_since=3)
    assert ([one.call for one in taken.stale], shown(taken)) == ([1, 2], "3:2 4:2")
    assert (waiting.rows, waiting.bytes) == (30, 30)
    waiting.put([request(10, 30, arrival=4)], 4)
    taken = waiting.take(4, 0, (), fresh_since=3)
    assert ([one.call for one in taken.stale], shown(taken)) == ([9], "10[0-4]")
    assert shown(queue(request(1, 2), request(2, 2)).take(4, 0, (), fresh_since=3)) == "2:2"


def test_a_queue_of_cancelled_calls_gives_an_empty_batch() -> None:
    """If all waiting calls are cancelled, the batch is empty."""
    taken = queue(request(1, 2), request(2, 20)).take(10, 0, {1, 2})
    assert (taken.rows, taken.requests, taken.part, len(taken.cancelled)) == (0, [], None, 2)


def test_a_small_request_stays_whole_when_the_batch_size_shrinks() -> None:
    """A request that was small when it was queued runs in one piece even if the batch size has become smaller."""
    assert run(queue(request(1, 8), request(2, 1)), rows_max=4) == ["1:8", "2:1"]


@given(st.lists(st.integers(1, 60), max_size=12), st.integers(1, 20), st.sets(st.integers(0, 11)))
def test_every_row_runs_once(rows: list[int], rows_max: int, cancelled: set[int]) -> None:
    """For any requests, each row of each call that is not cancelled is in one batch, and no batch is too large."""
    waiting = queue(*(request(call, count) for call, count in enumerate(rows)), rows_max=rows_max)
    ran: dict[int, list[tuple[int, int]]] = {}
    while waiting:
        taken = waiting.take(rows_max, 0, cancelled)
        assert taken.rows <= rows_max
        assert taken.rows == sum(one.rows for one in taken.requests) + (
            taken.part.stop - taken.part.start if taken.part else 0
        )
        for one in taken.requests:
            ran.setdefault(one.call, []).append((0, one.rows))
        if taken.part is not None:
            ran.setdefault(taken.part.request.call, []).append((taken.part.start, taken.part.stop))
            if not taken.part.last:
                waiting.put_back(taken.part.request)
    expected = {call: count for call, count in enumerate(rows) if call not in cancelled}
    assert set(ran) == set(expected)
    for call, pieces in ran.items():
        assert [start for start, _ in pieces] == [0, *(stop for _, stop in pieces[:-1])]
        assert pieces[-1][1] == expected[call]
