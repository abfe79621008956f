"""When requests are due: every load shape as a pure function of its settings and a seed.

Arrivals are open loop: they are computed before the first request is sent and never wait for an answer, so a server
that stalls gets every request that its clients would have sent in the meantime.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

Arrivals = Literal["poisson", "constant"]

RECOVERY_SECONDS = 2.0  # within which a server must recover after an overload
CALM = 0.8  # of capacity: the load before and after an overload


@dataclass(frozen=True)
class Phase:
    """A period of constant rate.

    `start` and `seconds` count from the beginning of the test; `rate` is requests per second. `judged`: latency
    objectives apply. `refusals`: RESOURCE_EXHAUSTED with a retry time is a right answer. `factor`: of the
    capacity, in an overload; 0 elsewhere.
    """

    name: str
    start: float
    seconds: float
    rate: float
    judged: bool = True
    refusals: bool = False
    factor: float = 0.0

    @property
    def end(self) -> float:
        return self.start + self.seconds


def _chain(*parts: Phase, start: float = 0.0) -> tuple[Phase, ...]:
    """The parts one after another, the first at `start`, without empty ones."""
    chained = []
    for part in parts:
        if part.seconds > 0:
            chained.append(Phase(**{**vars(part), "start": start}))
            start += part.seconds
    return tuple(chained)


def steady(rate: float, seconds: float, warmup: float = 0.0, name: str = "steady") -> tuple[Phase, ...]:
    """One rate, after a warm-up at the same rate, which is shown and not judged by latency."""
    return _chain(Phase("warm-up", 0, warmup, rate, judged=False), Phase(name, 0, seconds, rate))


def spike(rate: float, seconds: float, warmup: float, factors: Sequence[float]) -> tuple[Phase, ...]:
    """Calm, then for each factor a burst at `factor` times the rate, two seconds to recover, calm again.

    Calm and bursts share `seconds` evenly. In a burst and in the recovery refusals are right answers.
    """
    each = seconds / (2 * len(factors) + 1)
    parts = [Phase("warm-up", 0, warmup, rate, judged=False), Phase("calm", 0, each, rate)]
    for factor in factors:
        parts += [
            Phase(f"spike {factor:g}x", 0, each, rate * factor, refusals=True),
            Phase(f"recovery from {factor:g}x", 0, RECOVERY_SECONDS, rate, judged=False, refusals=True),
            Phase(f"calm after {factor:g}x", 0, each, rate),
        ]
    return _chain(*parts)


def overload(capacity: float, seconds: float, warmup: float, factors: Sequence[float]) -> tuple[Phase, ...]:
    """0.8 of the capacity, then each factor of it, two seconds to recover, 0.8 again. `capacity` in requests/s."""
    each = seconds / (len(factors) + 2)
    calm = capacity * CALM
    bursts = [Phase(f"{factor:g}x", 0, each, capacity * factor, refusals=True, factor=factor) for factor in factors]
    return _chain(
        Phase("warm-up", 0, warmup, calm, judged=False),
        Phase("calm", 0, each, calm),
        *bursts,
        Phase("recovery", 0, RECOVERY_SECONDS, calm, judged=False, refusals=True),
        Phase("calm after", 0, each, calm),
    )


def arrivals(phase: Phase, kind: Arrivals, seed: int) -> NDArray[np.float64]:
    """Ascending due times in seconds from the beginning of the test, all within the phase; float64, [requests].

    Poisson: exponential gaps, as independent clients make them. Constant: evenly spaced.
    """
    expected = phase.rate * phase.seconds
    if kind == "constant":
        count = int(np.floor(expected + 1e-9))
        return phase.start + np.arange(count, dtype=np.float64) / phase.rate
    source = np.random.default_rng([seed, round(phase.start * 1e6)])
    # The number of arrivals is Poisson, and given the number they are uniform order statistics.
    count = int(source.poisson(expected))
    return phase.start + np.sort(source.random(count)) * phase.seconds


def schedule(phases: Sequence[Phase], kind: Arrivals, seed: int) -> NDArray[np.float64]:
    """The due times of every phase, one after another; float64, [requests], seconds."""
    if not phases:
        return np.empty(0)
    return np.concatenate([arrivals(phase, kind, seed) for phase in phases])


def share(count: int, position: int, of: int) -> NDArray[np.int64]:
    """Which of `count` requests the connection `position` of `of` sends; the shares are disjoint and complete."""
    return np.arange(position, count, of, dtype=np.int64)


def draw(count: int, weights: Sequence[float], seed: int) -> NDArray[np.int64]:
    """The class of each request, drawn by weight; the same for the same seed in every process."""
    if len(weights) == 1:
        return np.zeros(count, np.int64)
    odds = np.asarray(weights, np.float64)
    chosen: NDArray[np.int64] = np.random.default_rng([seed, 0xC1A55]).choice(len(odds), count, p=odds / odds.sum())
    return chosen


@dataclass(frozen=True)
class Trial:
    """A rate that was tried, and whether the objectives held at it."""

    rate: float
    held: bool
    confirming: bool = False


@dataclass(frozen=True)
class Step:
    """The rate to try next. `confirming`: long enough for the full sample count."""

    rate: float
    confirming: bool = False


CONFIRMATIONS = 4  # confirming steps, at most


def next_step(tried: Sequence[Trial], first: float, highest: float, resolution: float) -> Step | None:
    """The next step of a search for the capacity; None when it is over. Rates in requests per second.

    Doubles from `first` until the objectives break, bisects until the highest held and the lowest broken rate are
    within `resolution` (0.1: 10 %), then confirms the highest held rate with a long step, and steps down by
    `resolution` while that fails. A rate is broken when it broke twice, since other work on the machine may
    break it once and would hide every rate above it.
    """
    if not tried:
        return Step(first)
    confirming = [trial for trial in tried if trial.confirming]
    if confirming:
        last = confirming[-1]
        if last.held or len(confirming) >= CONFIRMATIONS:
            return None
        return Step(last.rate * (1 - resolution), confirming=True)
    if not tried[-1].held and sum(trial.rate == tried[-1].rate for trial in tried) == 1:
        return Step(tried[-1].rate)
    best = max((trial.rate for trial in tried if trial.held), default=0.0)
    broken = min((trial.rate for trial in tried if not trial.held and trial.rate > best), default=0.0)
    if not best:
        return Step(broken / 4) if broken / 4 >= 1 else None
    return _between(best, broken, highest, resolution)


def _between(best: float, broken: float, highest: float, resolution: float) -> Step:
    """The next step once a rate has held; `broken`: the lowest rate above it that broke, 0: none."""
    if not broken and best < highest:
        return Step(min(best * 2, highest))
    if broken and broken / best > 1 + resolution:
        return Step(float(np.sqrt(best * broken)))
    return Step(best, confirming=True)


def capacity(tried: Sequence[Trial]) -> float:
    """The highest rate that held in a confirming step, in requests per second; 0 when none did."""
    return max((trial.rate for trial in tried if trial.held and trial.confirming), default=0.0)
