"""The times of a plan against simulations of the guards themselves: within a quarter, or a window of it."""

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import pytest

from onnxpress.server.rollouts import collector, controller
from onnxpress.server.rollouts.forecast import (
    CHAMPION_SLOW,
    EXCHANGED,
    PAIRS_PER_S,
    REFERENCE_RUNS,
    TICK_S,
    WINDOW_CALLS,
    WINDOW_S,
    Seen,
    StepForecast,
    Traffic,
    forecast,
)
from onnxpress.server.rollouts.guards import FLOORS, Guards
from onnxpress.server.rollouts.windows import Arm, Window
from onnxpress.server.versions.rollout import GuardPolicy, Plan, Step

ROLLOUTS = 250
WINDOWS_MAX = 20_000
FAULTS = {"errors": 0.05, "invalid": 0.01, "slow": 1.0, "disagree": EXCHANGED}


def planned(calls: float, *weights: float, baking_s: int = 60, **more: object) -> tuple[StepForecast, ...]:
    """Steps of a minute at so many calls of one row a second, each in a run of its own."""
    plan = Plan(tuple(Step(100 * weight, baking_s, 1) for weight in weights), **more)  # type: ignore[arg-type]
    return forecast(plan, Traffic(calls, calls, calls, 1.0), labels=True)


def seen(step: StepForecast, guard: str) -> Seen:
    return next(one for one in step.faults if one.guard == guard)


def only(guard: str) -> dict[str, GuardPolicy]:
    return {name: GuardPolicy(off=name != guard) for name in FLOORS}


def window_s(calls: float) -> float:
    """How long a window takes, which is looked at every tick."""
    return min(WINDOW_S, np.ceil(WINDOW_CALLS / calls / TICK_S) * TICK_S)


def drawn(guard: str, rng: np.random.Generator, calls: float, weight: float, *, faulty: bool) -> Window:
    """A window with random counts of what one guard looks at."""
    seconds = window_s(calls * weight)
    n0, n1 = int(rng.poisson(calls * (1 - weight) * seconds)), int(rng.poisson(calls * weight * seconds))
    wrong = int(rng.binomial(n1, FAULTS[guard])) if faulty else 0
    match guard:
        case "errors":
            return Window(Arm(calls=n0), Arm(calls=n1, errors=wrong))
        case "invalid":
            return Window(Arm(checked=n0), Arm(checked=n1, invalid=wrong))
        case "slow":
            q90, q99, q_max = (int(rng.binomial(n0, share)) for share in CHAMPION_SLOW)
            slow = Arm(runs=n0, slow_q90=q90, slow_q99=min(q90, q99), slow_max=min(q90, q99, q_max))
            return Window(slow, Arm(runs=n1, slow_q90=wrong, slow_q99=wrong, slow_max=wrong))
        case _:
            rows = min(n1, round(PAIRS_PER_S * seconds))
            return Window(pairs=rows, flips=int(rng.binomial(rows, EXCHANGED)) if faulty else 0)


def simulated(guard: str, calls: float, weight: float, before: Callable[[Guards], object]) -> tuple[float, float]:
    """Seconds until the guard convicts, in half of all rollouts and in 99 of 100; `before` the step."""
    rng, seconds = np.random.default_rng(31), []
    for _ in range(ROLLOUTS):
        guards = Guards(only(guard))
        before(guards)
        for count in range(1, WINDOWS_MAX):
            guards.add(drawn(guard, rng, calls, weight, faulty=True))
            if guards.readings()[0].convicts:
                seconds.append(count * window_s(calls * weight))
                break
    assert len(seconds) == ROLLOUTS
    return float(np.median(seconds)), float(np.quantile(seconds, 0.99))


def check(told: float | None, simulated: float, window: float) -> None:
    """Within a quarter, or a window."""
    assert told is not None
    assert abs(told - simulated) <= max(0.25 * simulated, 1.01 * window), (told, simulated)


CASES = [(5, 0.1), (50, 0.01), (50, 0.1), (50, 0.5), (400, 0.1), (2000, 0.1), (4000, 0.5)]
# One percent of NaN at low rates takes a thousand windows of each simulated rollout.
LONG = [
    pytest.param("invalid", *CASES[0], marks=pytest.mark.long),
    pytest.param("invalid", *CASES[1], marks=pytest.mark.long),
]


@pytest.mark.parametrize(
    ("guard", "calls", "weight"),
    [*((guard, *case) for guard in FAULTS for case in CASES if guard != "invalid"),
     *(("invalid", *case) for case in CASES[2:]), *LONG],
)  # fmt: skip
def test_faults_from_the_beginning(guard: str, calls: float, weight: float) -> None:
    """Of the first step, from 30 calls a minute to 2,000 a second of the candidate, and at every share."""
    (step,) = planned(calls, weight)
    told, window = seen(step, guard), window_s(calls * weight)
    # The simulation knows from the beginning which runs are slow; a server learns it from runs of the live version.
    known = np.ceil(REFERENCE_RUNS / (calls * (1 - weight)) / window) * window if guard == "slow" else 0.0
    median, p99 = simulated(guard, calls, weight, lambda _guards: None)
    assert told.median_s is not None
    assert told.p99_s is not None
    check(told.median_s - known, median, window)
    check(told.p99_s - known, p99, window)


@pytest.mark.parametrize("guard", FAULTS)
def test_faults_that_begin_with_a_later_step(guard: str) -> None:
    """Two minutes of a candidate without fault at 10 % come first; then it has one at half of 50 calls a second."""
    first, second = planned(50, 0.1, 0.5, baking_s=120)
    assert first.advance_s == 120

    def healthy(guards: Guards) -> None:
        rng = np.random.default_rng(32)
        for _ in range(120):
            guards.add(drawn(guard, rng, 50, 0.1, faulty=False))
        guards.start_step()

    median, p99 = simulated(guard, 50, 0.5, healthy)
    check(seen(second, guard).median_s, median, 1.0)
    check(seen(second, guard).p99_s, p99, 1.0)


def steady(calls: float, weight: float) -> Iterator[Window]:
    """Windows of two versions without faults, with the same counts in each."""
    seconds = window_s(calls * weight)
    mine = others = 0.0
    while True:
        mine, others = mine % 1 + calls * weight * seconds, others % 1 + calls * (1 - weight) * seconds
        n0, n1 = int(others), int(mine)
        champion = Arm(calls=n0, checked=n0, runs=n0, slow_q90=n0 // 10, slow_q99=n0 // 100)
        yield Window(champion, Arm(calls=n1, checked=n1, runs=n1))


@pytest.mark.parametrize(("calls", "weight"), [(5, 0.1), (50, 0.1), (50, 0.5), (400, 0.1), (4000, 0.5)])
def test_a_step_that_advances(calls: float, weight: float) -> None:
    """Once the guards have shown the absence of harm, if its time is over sooner."""
    (step,) = planned(calls, weight, baking_s=0)
    guards, seconds = Guards(), 0.0
    for window in steady(calls, weight):
        guards.add(window)
        seconds += window_s(calls * weight)
        if all(one.clears for one in guards.readings()):
            break
    check(step.advance_s, seconds, window_s(calls * weight))
    assert step.advance_why.startswith("evidence of ")


def test_what_a_step_waits_for() -> None:
    """The longest of its time, its calls and the evidence; with --advance-without-evidence its time alone."""
    off = dict.fromkeys(("errors", "refused", "invalid"), GuardPolicy(off=True))
    whole = partial(forecast, traffic=Traffic(50, 50, 50), labels=True)
    waits = {
        "its time": Plan((Step(10, 300, 1),)),
        "its calls": Plan((Step(10, 0, 5000),)),
        "evidence of errors": Plan((Step(10, 0, 1),)),
        "evidence of slow": Plan((Step(10, 0, 1),), off),
        "somebody decides": Plan((Step(10, 0, 1),), hold=True),
    }  # fmt: skip
    assert {why: whole(plan)[0].advance_why for why, plan in waits.items()} == {why: why for why in waits}
    assert whole(Plan((Step(10, 0, 5000),)))[0].advance_s == 1000
    assert whole(Plan((Step(10, 0, 1),), hold=True))[0].advance_s is None
    assert whole(Plan((Step(10, 7, 5000),), advance_without_evidence=True))[0].advance_s == 7


def test_what_is_not_seen() -> None:
    """With the reason: no calls, no labels, no guard, a tolerant guard, a model whose runs take long."""
    plan = Plan((Step(10, 60, 1),), {"errors": GuardPolicy(off=True), "invalid": GuardPolicy(floor=0.02)})
    (step,) = forecast(plan, Traffic(50, 50, 50, run_ms=200), labels=False)
    assert {one.guard: (one.median_s, one.p99_s, one.why) for one in step.faults} == {
        "errors": (None, None, "the guard errors is off"),
        "invalid": (None, None, "the guard invalid tolerates it"),
        "slow": (None, None, "a run takes 200 ms, and the guard slow tolerates a quarter of that"),
        "disagree": (None, None, "the model answers no label"),
    }
    (step,) = planned(0, 0.1)
    assert {one.why for one in step.faults} == {"there are no calls"}
    assert (step.advance_s, step.advance_why) == (None, "there are no calls")


def test_copies_are_calls_of_the_candidate() -> None:
    """A shadow of 10 % sees what a canary of 10 % sees, but how long copies take says nothing."""
    (shadow,) = planned(50, 0.0, shadow=10.0)
    (canary,) = planned(50, 0.1)
    assert shadow.calls == canary.calls == 5
    assert seen(shadow, "slow").why == "how long copies take says nothing"
    check(seen(shadow, "errors").median_s, seen(canary, "errors").median_s or 0.0, 1.0)


def test_calls_that_share_runs() -> None:
    """Ten calls a run: at 10 % two of three runs have a call of the candidate, so runs are no bottleneck."""
    plan = Plan((Step(10, 0, 1),))
    alone = forecast(plan, Traffic(1000, 1000, 1000), labels=True)[0]
    shared = forecast(plan, Traffic(1000, 1000, 100), labels=True)[0]
    assert (alone.advance_s or 0) <= (shared.advance_s or 0) < 10 * (alone.advance_s or 0)


def test_a_floor_of_the_labels_counts() -> None:
    """The more disagreement is tolerated, the more rows it takes."""
    times = [
        seen(planned(5, 0.1, guards={"disagree": GuardPolicy(floor=floor)})[0], "disagree").median_s or 0.0
        for floor in (0.1, 0.3, 0.6)
    ]
    assert times == sorted(times)
    assert times[0] < times[2]


def test_windows_are_those_of_the_server() -> None:
    """The constants here are copies, so that this module stays apart from threads and sessions."""
    assert (WINDOW_S, WINDOW_CALLS, TICK_S) == (controller.WINDOW_S, controller.WINDOW_CALLS, controller.TICK_S)
    assert (PAIRS_PER_S, REFERENCE_RUNS) == (collector.PAIRS_PER_S, collector.REFERENCE_MIN)
    assert tuple(1 - quantile / 100 for quantile in collector.QUANTILES[:2]) == pytest.approx(CHAMPION_SLOW[:2])
    assert pytest.approx(1 / collector.REFERENCE_RUNS) == CHAMPION_SLOW[2]
