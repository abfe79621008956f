"""How long each step of a rollout will take to see a fault, and to advance, at a given rate of calls. Pure.

The times follow from the evidence itself. While the live version has none of a fault, every event of the candidate
multiplies the evidence by about one over the candidate's share, so a verdict takes a known number of events, and the
time until they have come has a gamma distribution. A window adds WINDOW_MAX at most, so a verdict takes three windows
at any rate. tests/server/rollouts/test_forecast.py compares the times with simulations of the guards.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import ceil, log, log1p, sqrt
from typing import Final, NamedTuple

import numpy as np

from onnxpress.server.rollouts import evidence
from onnxpress.server.rollouts.evidence import CLEARS, CONVICTS, TIMES_WEIGHTS, WINDOW_MAX, Floats
from onnxpress.server.rollouts.guards import EVENT_HARM, FLOORS, SLOW_HARM
from onnxpress.server.versions.rollout import GuardPolicy, Plan, Step

# As in controller.py and collector.py: when a window ends, when it is looked at, and how many rows are compared.
WINDOW_S, WINDOW_CALLS, TICK_S = 1.0, 50, 0.1
PAIRS_PER_S, REFERENCE_RUNS = 50, 50
# The faults: shares of calls, milliseconds of each run, and of exchanged labels the share that differs.
FAILING, INVALID, SLOWER_MS, EXCHANGED = 0.05, 0.01, 30.0, 0.9
# Of a candidate: runs are slow beyond a quarter more than the live version's own; of those as many are beyond q90, q99.
SLOWER: Final = 0.25
CHAMPION_SLOW: Final = (0.10, 0.01, 0.001)
# Standard normal quantiles: of half of all cases, and of 99 of 100.
MEDIAN, P99 = 0.0, 2.326
WINDOWS_MAX: Final = 1_000_000
YEAR_S: Final = 365 * 24 * 3600.0


@dataclass(frozen=True)
class Traffic:
    """What a model was asked lately, per second: calls, rows, and runs that answered them. run_ms: of one run."""

    calls: float
    rows: float
    runs: float
    run_ms: float = 0.0


@dataclass(frozen=True)
class Seen:
    """How long until a fault is seen: in half of all cases, and in 99 of 100. None: never; why says so."""

    fault: str
    guard: str
    median_s: float | None = None
    p99_s: float | None = None
    why: str = ""


@dataclass(frozen=True)
class StepForecast:
    """One step. calls: that the candidate answers per second, copies included.

    advance_s: how long it lasts if nothing is wrong, None for ever; advance_why: what it waits for longest.
    """

    step: Step
    calls: float
    faults: tuple[Seen, ...]
    advance_s: float | None
    advance_why: str


def forecast(plan: Plan, traffic: Traffic, *, labels: bool) -> tuple[StepForecast, ...]:
    """Each step of a plan at this rate of calls. labels: whether the model answers any, so that they can be compared.

    A fault is assumed to begin with the step, in a candidate that had none of it before, beside a live version that has
    none; the more the live version has of it, the longer it takes.
    """
    steps: list[StepForecast] = []
    past = _Past()
    for step in plan.steps:
        rates = _Rates(traffic, step.weight / 100, plan.shadow / 100)
        told = StepForecast(
            step, rates.calls, _faults(plan.guards, rates, past, labels=labels), *_advance(plan, step, rates)
        )
        steps.append(told)
        past = past.after(told.advance_s or 0.0, rates)
    return tuple(steps)


class _Past(NamedTuple):
    """The steps before, in which nothing was wrong. pairs: rows that both versions answered."""

    windows: float = 0.0
    seconds: float = 0.0
    pairs: float = 0.0

    def after(self, seconds: float, rates: "_Rates") -> "_Past":
        return _Past(
            self.windows + seconds / rates.window_s, self.seconds + seconds, self.pairs + seconds * rates.pairs
        )

    def stake(self, lost: Floats) -> Floats:
        """The logarithm of what is staked on this step, where the evidence before it `lost` so much.

        Evidence that began earlier has lost what the live version's own events cost it; what begins now has little
        stake, since it might have begun in any window.
        """
        if not self.windows:
            return np.zeros_like(lost)
        return np.logaddexp(-lost, log(0.5) - log(self.windows * (self.windows + 1)))


class _Rates:
    """What comes to each version in a step, per second. Copies count as calls and as pairs, not as runs."""

    def __init__(self, traffic: Traffic, weight: float, shadow: float = 0.0) -> None:
        """`weight`: the candidate's share of the calls; `shadow`: of the others, the share that it gets copies of."""
        self.champion_calls = traffic.calls * (1 - weight)
        self.calls = traffic.calls * weight + self.champion_calls * shadow
        together = traffic.calls / traffic.runs if traffic.runs else 1.0  # calls that one run answers
        # A run of the live version becomes one of each version that has a call in it.
        self.runs = traffic.runs * (1 - (1 - weight) ** together)
        self.champion_runs = traffic.runs * (1 - weight**together)
        self.run_ms = traffic.run_ms
        windows = WINDOW_CALLS / self.calls if self.calls else WINDOW_S
        self.window_s = min(WINDOW_S, ceil(windows / TICK_S - 1e-9) * TICK_S)
        self.pairs = min(traffic.rows * weight, PAIRS_PER_S) + traffic.rows * (1 - weight) * shadow


def _faults(policies: Mapping[str, GuardPolicy], rates: _Rates, past: _Past, *, labels: bool) -> tuple[Seen, ...]:
    """Every fault that begins now."""

    def guarded(fault: str, guard: str, size: float, times: Callable[[float], tuple[float, float]]) -> Seen:
        policy = policies.get(guard, GuardPolicy())
        floor = FLOORS[guard] if policy.floor is None else policy.floor
        why = ""
        if policy.off:
            why = f"the guard {guard} is off"
        elif size <= floor:
            why = f"the guard {guard} tolerates it"
        elif not rates.calls:
            why = "there are no calls"
        elif guard == "slow" and not rates.runs:
            why = "how long copies take says nothing"
        elif guard == "disagree" and not labels:
            why = "the model answers no label"
        elif guard == "slow" and rates.run_ms * SLOWER > SLOWER_MS:
            why = f"a run takes {rates.run_ms:.0f} ms, and the guard slow tolerates a quarter of that"
        if why:
            return Seen(fault, guard, why=why)
        median, late = times(floor)
        return Seen(fault, guard, median, late)

    def failing(share: float) -> Callable[[float], tuple[float, float]]:
        return lambda _floor: _events(rates, rates.calls * share, (0.0,), rates.calls, rates.champion_calls, past)

    return (
        guarded("5 % of the calls fail", "errors", FAILING, failing(FAILING)),
        guarded("1 % of the answers are NaN", "invalid", INVALID, failing(INVALID)),
        guarded("30 ms more", "slow", 1.0, lambda _floor: _slower(rates, past)),
        guarded("labels exchanged", "disagree", EXCHANGED, lambda floor: _exchanged(rates, floor, past)),
    )


def _slower(rates: _Rates, past: _Past) -> tuple[float, float]:
    """Every run of the candidate is slow, once there are enough runs of the live version to say what that is."""
    times = _events(rates, rates.runs, CHAMPION_SLOW, rates.runs, rates.champion_runs, past)
    known = 0.0 if past.windows or not rates.champion_runs else REFERENCE_RUNS / rates.champion_runs
    wait = ceil(known / rates.window_s) * rates.window_s
    return times[0] + wait, times[1] + wait


def _events(
    rates: _Rates, per_s: float, base: tuple[float, ...], units: float, champion_units: float, past: _Past
) -> tuple[float, float]:
    """Seconds until events of the candidate convict: in half of all cases, and in 99 of 100.

    per_s: its events; base: shares of the live version's units that are events too, one for each part of the guard.
    """
    # A window with an event has a unit of the candidate more than others: at low rates that is much of its share.
    mine, others = 1 + units * rates.window_s, champion_units * rates.window_s
    share = mine / (mine + others)
    log_times, log_mixed = np.log(evidence.TIMES), np.log1p(share * (evidence.TIMES - 1))
    # One row for each part of the guard, a column for each alternative: nats by event, and what came before.
    champion = np.array(base)[:, None] * champion_units
    gain = log_times - (1 + champion / per_s) * log_mixed
    before = past.stake(past.seconds * champion * log_mixed)
    in_window = per_s * rates.window_s
    stake = log(1 - 0.5 / (past.windows + 1 / in_window + 1))  # on windows until the first event

    def convicts(count: int, factor: float) -> bool:
        """Whether so many windows do, of `factor` events each."""
        mixed = np.log(TIMES_WEIGHTS) + before + count * np.minimum(factor * gain, WINDOW_MAX)
        return float(evidence.average(np.logaddexp.reduce(mixed, axis=1))) + stake >= CONVICTS

    single = _first(lambda count: convicts(count, 1.0))
    least = _first(lambda count: convicts(count, in_window)) if in_window > 1 else 1
    return _rounded(rates, least, _gamma(single, MEDIAN) / per_s, _gamma(single, P99) / per_s)


def _exchanged(rates: _Rates, floor: float, past: _Past) -> tuple[float, float]:
    """Seconds until rows that both answered convict, of which nine in ten have another label."""
    worse = floor + (1 - floor) * evidence.STAKES
    won, lost = np.log(worse / floor), np.log((1 - worse) / (1 - floor))
    gain = EXCHANGED * won + (1 - EXCHANGED) * lost
    in_window = rates.pairs * rates.window_s
    before = past.stake(-past.pairs * lost)  # pairs that agreed speak against every alternative
    stake = log(1 - 0.5 / (past.windows + 1 / in_window + 1))

    def mixed(total: Floats) -> bool:
        return float(np.logaddexp.reduce(before + total - log(len(worse)))) + stake >= CONVICTS

    least = _first(lambda count: mixed(count * np.minimum(in_window * gain, WINDOW_MAX)))
    single = _first(lambda count: mixed(count * gain))
    best = int(np.argmax(gain))
    # The rows come one by one, and which of them differ is chance as well.
    spread = gain[best] ** 2 + EXCHANGED * (1 - EXCHANGED) * (won[best] - lost[best]) ** 2
    late = _beyond(single * gain[best], gain[best], spread)
    # Of all rows of the rollout more than `floor` must differ before the guard convicts.
    agreed = past.pairs * floor
    excess = agreed / (EXCHANGED - floor)
    excess_late = _beyond(agreed, EXCHANGED - floor, EXCHANGED * (1 - EXCHANGED))
    return _rounded(rates, least, max(single, excess) / rates.pairs, max(late, excess_late) / rates.pairs)


def _advance(plan: Plan, step: Step, rates: _Rates) -> tuple[float | None, str]:
    """How long the step lasts if nothing is wrong, and what it waits for."""
    if plan.hold and step is plan.steps[-1]:
        return None, "somebody decides"
    waits = {"its time": float(step.baking_s)}
    if not plan.advance_without_evidence:
        if not rates.calls:
            return None, "there are no calls"
        waits["its calls"] = step.calls_min / rates.calls
        counted = dict.fromkeys(("errors", "refused", "invalid"), (rates.calls, EVENT_HARM))
        counted["slow"] = (rates.runs, CHAMPION_SLOW[1] + SLOW_HARM)
        for guard, (per_s, harm) in counted.items():
            if per_s and not plan.guards.get(guard, GuardPolicy()).off:
                waits[f"evidence of {guard}"] = _cleared_s(per_s, harm, rates.window_s)
    reason = max(waits, key=lambda one: waits[one])
    return waits[reason], reason


def _cleared_s(per_s: float, harm: float, window_s: float) -> float:
    """Seconds until units without an event exclude this harm."""
    gain = np.log1p(-harm * evidence.SHARES_OF_HARM) - log1p(-harm)

    def cleared(count: int, units: float) -> bool:
        stake = log(1 - 0.5 / max(1.0, count / 8))  # most of it is on an eighth of so many windows
        mixed = count * np.minimum(units * gain, WINDOW_MAX) - log(len(gain))
        return float(np.logaddexp.reduce(mixed)) + stake >= CLEARS

    in_window = per_s * window_s
    if in_window < 1:
        return _first(lambda count: cleared(count, 1.0)) / per_s
    return _first(lambda count: cleared(count, in_window)) * window_s


def _rounded(rates: _Rates, least: int, median_s: float, late_s: float) -> tuple[float, float]:
    """At the end of a window, of which there are `least` at least."""
    return tuple(max(least, ceil(one / rates.window_s)) * rates.window_s for one in (median_s, late_s))  # type: ignore[return-value]


def _first(enough: Callable[[int], bool]) -> int:
    """The smallest count that is enough; `enough` stays true once it is."""
    high = 1
    while not enough(high):
        if high > WINDOWS_MAX:
            return high
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def _gamma(count: int, z: float) -> float:
    """When the last of `count` events comes, one a second on average: a quantile, by Wilson and Hilferty.

    `z`: the same quantile of a standard normal.
    """
    return count * (1 - 1 / (9 * count) + z / (3 * sqrt(count))) ** 3


def _beyond(total: float, gain: float, spread: float) -> float:
    """The steps after which a walk is beyond `total` in 99 of 100 cases; mean and second moment of one step."""
    return ((P99 * sqrt(spread) + sqrt(P99**2 * spread + 4 * gain * total)) / (2 * gain)) ** 2
