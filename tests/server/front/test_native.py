"""How the native front waits for calls, with a fake of pygrpc-native's receive that records its timeouts."""

from collections.abc import Callable

import pytest

from onnxpress.server.front.native import SINGLES_MIN, WAKE_MS, Receiver
from onnxpress.server.serving.front import CALL, Event

POLL_US = 200
SOON_NS = 50_000
TICK_NS = 1_000  # that one call of `receive` takes


class FakeReceive:
    """Returns the planned calls when they are due; owns the clock and records the timeout of every call."""

    def __init__(self) -> None:
        self.now = 0
        self.planned: list[tuple[int, int]] = []  # (due at, number of calls)
        self.timeouts: list[int] = []

    def receive(self, _most: int, timeout_ms: int) -> list[Event]:
        self.timeouts.append(timeout_ms)
        self.now += TICK_NS
        if not self.planned:
            return []
        due, calls = self.planned[0]
        if due > self.now and not timeout_ms:
            return []
        self.now = max(self.now, due)
        del self.planned[0]
        return [(CALL, number, 0, b"", None, None) for number in range(calls)]


def receiving(poll_us: int = POLL_US) -> Callable[[int, int], list[int]]:
    """`receive(after_ns, calls)`: the timeouts it took until `calls` calls, due `after_ns` later, were received."""
    fake = FakeReceive()
    receiver = Receiver(fake.receive, poll_us, lambda: fake.now)

    def receive(after_ns: int, calls: int) -> list[int]:
        fake.timeouts.clear()
        fake.planned.append((fake.now + after_ns, calls))
        events = receiver.receive(256)
        assert events is not None
        assert len(events) == calls
        return list(fake.timeouts)

    return receive


def test_a_single_synchronous_client_is_polled_for() -> None:
    """After SINGLES_MIN receives of a single call, each within `poll_us`, the front polls until the next call."""
    receive = receiving()
    for _ in range(SINGLES_MIN):
        assert receive(SOON_NS, 1) == [WAKE_MS]
    polls = receive(SOON_NS, 1)
    assert set(polls) == {0}
    assert len(polls) == SOON_NS // TICK_NS


@pytest.mark.parametrize(
    ("after_ns", "calls"),
    [
        (SOON_NS, 2),  # two calls at once
        (0, 1),  # it was queued already: the server is behind
        (POLL_US * 1_000, 1),  # too late
    ],
)
def test_other_traffic_ends_polling(after_ns: int, calls: int) -> None:
    """After one receive that is not a single call within `poll_us`, the front sleeps again."""
    receive = receiving()
    for _ in range(SINGLES_MIN):
        receive(SOON_NS, 1)
    receive(after_ns, calls)
    assert receive(SOON_NS, 1) == [WAKE_MS]


def test_polling_is_bounded() -> None:
    """If no call comes within `poll_us`, the front sleeps and returns the call that comes later."""
    receive = receiving()
    for _ in range(SINGLES_MIN):
        receive(SOON_NS, 1)
    timeouts = receive(10 * POLL_US * 1_000, 1)
    assert timeouts[:-1] == [0] * (POLL_US * 1_000 // TICK_NS)
    assert timeouts[-1] == WAKE_MS


def test_polling_can_be_switched_off() -> None:
    """With `poll_us` 0 the front never polls."""
    receive = receiving(poll_us=0)
    for _ in range(SINGLES_MIN * 3):
        assert receive(SOON_NS, 1) == [WAKE_MS]
