"""Arrival schedules and the search for capacity, as pure functions."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxpress.loadtests.workload.shapes import (
    Phase,
    Step,
    Trial,
    arrivals,
    capacity,
    draw,
    next_step,
    overload,
    schedule,
    share,
    spike,
)


def test_constant_arrivals_are_evenly_spaced():
    """A constant schedule sends every 1/rate seconds from the phase's start on, and never at its end."""
    due = arrivals(Phase("steady", 3.0, 2.0, 50.0), "constant", seed=1)
    assert len(due) == 100
    assert due[0] == 3.0
    assert due[-1] < 5.0
    np.testing.assert_allclose(np.diff(due), 0.02)


def test_poisson_arrivals_have_the_rate_and_the_spread_of_independent_clients():
    """Gaps of a Poisson schedule are exponential: their mean and standard deviation are both 1/rate."""
    due = arrivals(Phase("steady", 0.0, 100.0, 200.0), "poisson", seed=7)
    gaps = np.diff(due)
    assert len(due) == pytest.approx(20_000, rel=0.03)
    assert gaps.mean() == pytest.approx(1 / 200, rel=0.03)
    assert gaps.std() == pytest.approx(1 / 200, rel=0.05)
    assert np.quantile(gaps, 0.5) == pytest.approx(np.log(2) / 200, rel=0.05)


def test_the_same_seed_sends_at_the_same_times_and_another_does_not():
    """A schedule is a function of its seed."""
    phase = Phase("steady", 1.0, 5.0, 100.0)
    np.testing.assert_array_equal(arrivals(phase, "poisson", 3), arrivals(phase, "poisson", 3))
    assert not np.array_equal(arrivals(phase, "poisson", 3)[:50], arrivals(phase, "poisson", 4)[:50])


@given(
    rate=st.floats(0.5, 5000),
    seconds=st.floats(0.01, 20),
    start=st.floats(0, 1000),
    kind=st.sampled_from(["poisson", "constant"]),
)
@settings(max_examples=100, deadline=None)
def test_arrivals_stay_within_their_phase_in_order(rate, seconds, start, kind):
    """Whatever the phase, every request is due within it and none before its predecessor."""
    phase = Phase("any", start, seconds, rate)
    due = arrivals(phase, kind, 1)
    assert np.all(np.diff(due) >= 0)
    assert np.all((due >= phase.start) & (due < phase.end + 1e-9))


@given(count=st.integers(0, 500), of=st.integers(1, 40))
def test_shares_are_disjoint_and_complete(count, of):
    """Every request falls to exactly one connection."""
    parts = [share(count, position, of) for position in range(of)]
    assert sorted(np.concatenate(parts).tolist()) == list(range(count))


def test_classes_are_drawn_by_weight():
    """A class of weight 0.1 gets a tenth of the requests."""
    drawn = draw(20_000, [0.9, 0.1], seed=5)
    assert np.mean(drawn == 1) == pytest.approx(0.1, abs=0.01)


def test_a_spike_returns_to_calm_after_two_seconds():
    """Bursts may be refused, the two seconds after them too, and nothing afterwards."""
    phases = spike(100, 50, 0, (10, 100))
    assert [phase.name for phase in phases] == [
        "calm",
        "spike 10x",
        "recovery from 10x",
        "calm after 10x",
        "spike 100x",
        "recovery from 100x",
        "calm after 100x",
    ]
    assert [phase.rate for phase in phases] == [100, 1000, 100, 100, 10_000, 100, 100]
    assert [phase.refusals for phase in phases] == [False, True, True, False, True, True, False]
    assert phases[2].seconds == 2
    for before, after in pairwise(phases):
        assert before.end == pytest.approx(after.start)


def test_an_overload_begins_and_ends_below_capacity():
    """Calm is 0.8 of the capacity; the bursts are their factors of it."""
    phases = overload(1000, 50, 2, (2, 5, 10))
    assert [phase.rate for phase in phases] == [800, 800, 2000, 5000, 10_000, 800, 800]
    assert [phase.factor for phase in phases] == [0, 0, 2, 5, 10, 0, 0]


def test_a_schedule_of_no_phases_is_empty():
    """An empty plan has no requests."""
    assert len(schedule((), "poisson", 1)) == 0


def search(true_capacity: float, first: float, resolution: float = 0.1, highest: float = 1e5) -> list[Trial]:
    tried: list[Trial] = []
    while (step := next_step(tried, first, highest, resolution)) is not None:
        tried.append(Trial(step.rate, step.rate <= true_capacity, step.confirming))
        assert len(tried) < 60
    return tried


@given(true_capacity=st.floats(5, 50_000), first=st.floats(1, 5000))
def test_the_search_finds_the_capacity_within_its_resolution(true_capacity, first):
    """Whatever the capacity and the first rate, the confirmed rate is at most 10 % below it and never above."""
    found = capacity(search(true_capacity, first))
    assert true_capacity / 1.1 - 1e-6 <= found <= true_capacity


def test_the_search_stops_at_the_highest_rate():
    """A server faster than the highest rate is confirmed there."""
    assert capacity(search(1e9, 100, highest=1500)) == 1500


def test_a_rate_that_broke_once_is_tried_again():
    """A rate that broke is tried once more: what holds the second time held, what breaks twice is broken."""
    once = [Trial(100, held=True), Trial(200, held=False)]
    assert next_step(once, 100, 1000, 0.1) == Step(200)
    assert next_step([*once, Trial(200, held=True)], 100, 1000, 0.1) == Step(400)
    assert next_step([*once, Trial(200, held=False)], 100, 1000, 0.1).rate == pytest.approx(141.42, abs=0.01)


def test_a_capacity_that_fails_the_long_look_is_stepped_down():
    """A rate that breaks in its confirming step is followed by a confirming step at a rate 10 % lower."""
    tried = [Trial(100, held=True), Trial(105, held=False), Trial(100, held=False, confirming=True)]
    assert next_step(tried, 100, 1000, 0.1) == Step(90, confirming=True)


def test_a_server_that_holds_nothing_ends_the_search():
    """Below one request per second there is nothing to find."""
    assert capacity(search(0.1, 50)) == 0.0
