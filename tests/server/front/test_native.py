"""How the native front waits for calls, told with a stand-in for the Rust below it that says when it was asked how."""

from collections.abc import Callable
from typing import Any

import pytest

from onnxpress.server.front import native as native_front
from onnxpress.server.front.native import ALONE_MIN, WAKE_MS, NativeFront
from onnxpress.server.serving.front import CALL, Event

POLL_NS = 200_000
SOON_NS = 50_000


class Beneath:
    """Gives what the test has planned, each with how long it takes to come; owns the clock."""

    def __init__(self) -> None:
        self.now = 0
        self.planned: list[tuple[int, int]] = []  # when it comes, how many calls; counted from the answer before
        self.asked: list[int] = []  # timeouts, in order

    def receive(self, _most: int, timeout_ms: int) -> list[Event]:
        self.asked.append(timeout_ms)
        self.now += 1_000
        if not self.planned:
            return []
        at, calls = self.planned[0]
        if at > self.now and not timeout_ms:
            return []
        self.now = max(self.now, at)
        del self.planned[0]
        return [(CALL, number, 0, b"", None, None) for number in range(calls)]


@pytest.fixture
def beneath(monkeypatch: pytest.MonkeyPatch) -> Beneath:
    rust = Beneath()
    monkeypatch.setattr(native_front, "monotonic_ns", lambda: rust.now)
    return rust


def receiving(rust: Beneath, poll_ns: int = POLL_NS) -> Callable[[int, int], list[int]]:
    """`receive(after_ns, calls)`: the timeouts that the front asked with until those calls had come."""
    front: Any = NativeFront.__new__(NativeFront)
    front._receive, front._poll_ns, front._alone, front.refuses = rust.receive, poll_ns, 0, False

    def receive(after_ns: int, calls: int) -> list[int]:
        rust.asked.clear()
        rust.planned.append((rust.now + after_ns, calls))
        events = front.receive(256)
        assert len(events) == calls
        return list(rust.asked)

    return receive


def test_a_lone_caller_is_waited_for_awake(beneath: Beneath) -> None:
    """After a few calls that came one by one, each soon, the front asks without sleeping until the next is there."""
    receive = receiving(beneath)
    for _ in range(ALONE_MIN):
        assert receive(SOON_NS, 1) == [WAKE_MS]
    awake = receive(SOON_NS, 1)
    assert set(awake) == {0}
    assert len(awake) == SOON_NS // 1_000


@pytest.mark.parametrize(
    ("after_ns", "calls"),
    [
        (SOON_NS, 2),  # in company
        (0, 1),  # it was there already: the server is behind
        (POLL_NS, 1),  # too late
    ],
)
def test_others_are_slept_for(beneath: Beneath, after_ns: int, calls: int) -> None:
    """One call that is not a lone caller's next, and the front sleeps again."""
    receive = receiving(beneath)
    for _ in range(ALONE_MIN):
        receive(SOON_NS, 1)
    receive(after_ns, calls)
    assert receive(SOON_NS, 1) == [WAKE_MS]


def test_waiting_awake_ends(beneath: Beneath) -> None:
    """When nothing comes within the window the front goes to sleep, and takes what comes then."""
    receive = receiving(beneath)
    for _ in range(ALONE_MIN):
        receive(SOON_NS, 1)
    asked = receive(10 * POLL_NS, 1)
    assert asked[:-1] == [0] * (POLL_NS // 1_000)
    assert asked[-1] == WAKE_MS


def test_waiting_awake_can_be_switched_off(beneath: Beneath) -> None:
    """`poll_us` 0: every wait is a sleep."""
    receive = receiving(beneath, poll_ns=0)
    for _ in range(ALONE_MIN * 3):
        assert receive(SOON_NS, 1) == [WAKE_MS]
