"""How many refusals are recorded, whatever comes."""

import random

from onnxpress.server.rpc.refusal_window import RefusalWindow


def test_as_many_of_each_status_as_a_window_has() -> None:
    """What is beyond that is counted, by status; one status does not use up the records of another."""
    window = RefusalWindow(2, 60.0)
    assert [window.admit("A", now) for now in (100.0, 101.0, 102.0, 103.0)] == [True, True, False, False]
    assert [window.admit("B", now) for now in (104.0, 105.0, 106.0)] == [True, True, False]
    assert window.left(106.0) == 54.0
    assert window.close() == {"A": 2, "B": 1}
    assert [window.admit("A", 107.0), window.left(107.0)] == [True, 60.0]


def test_a_window_in_which_nothing_was_dropped_ends_by_itself() -> None:
    """The next refusal begins another."""
    window = RefusalWindow(1, 60.0)
    assert [window.admit("A", now) for now in (0.0, 60.0, 120.0)] == [True] * 3
    assert window.close() == {}


def test_what_was_dropped_is_told_before_more_is_recorded() -> None:
    """A window that is over and has dropped some goes on dropping until it is closed, so that no count is lost."""
    window = RefusalWindow(1, 60.0)
    assert [window.admit("A", now) for now in (0.0, 1.0, 61.0)] == [True, False, False]
    assert (window.left(61.0), window.close()) == (0.0, {"A": 2})


def test_nothing_is_lost_or_recorded_too_often() -> None:
    """At any times: recorded and counted add up, and no window records more than it may."""
    chance = random.Random(3)
    window, now, recorded, counted, begun = RefusalWindow(5, 60.0), 0.0, 0, 0, 0
    for _ in range(5000):
        now += chance.expovariate(0.3)
        if window.admit("A", now):
            recorded += 1
        elif window.left(now) == 0.0 or chance.random() < 0.01:
            counted += window.close()["A"]
            begun += 1
    counted += window.close().get("A", 0)
    assert recorded + counted == 5000
    assert 0 < recorded <= 5 * (begun + now / 60.0 + 1)
