"""Samples of all processes, aggregated by phase, by class and by second."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.ma  # np.unique imports it at its first call, which would delay requests by 50 ms
from numpy.typing import NDArray

from onnxpress.loadtests.measure.answers import ERRORS, Outcome
from onnxpress.loadtests.measure.latency import Latencies
from onnxpress.loadtests.measure.samples import Samples
from onnxpress.loadtests.workload.shapes import Phase

# Outcomes whose latency counts. A refusal or a broken connection ends quickly and would lower the percentiles, so those
# count as refusals and errors only.
TIMED = (Outcome.OK, Outcome.WRONG, Outcome.DEADLINE)
KEPT_MAX = 20_000_000  # samples kept for the analysis of swaps: an hour at 5,000 requests/s


@dataclass(frozen=True)
class Kind:
    """A class of requests: one model, one number of rows, one priority."""

    model: str
    rows: int
    weight: float = 1.0
    priority: str = ""

    @property
    def name(self) -> str:
        return f"{self.model}, {self.rows} {'row' if self.rows == 1 else 'rows'}" + (
            f", {self.priority}" if self.priority else ""
        )


@dataclass
class Window:
    """Requests that were due in one stretch of time, or of one class."""

    latencies: Latencies = field(default_factory=Latencies)
    lags: Latencies = field(default_factory=Latencies)
    observation_delays: Latencies = field(default_factory=Latencies)  # from the end of a call until the loop saw it
    outcomes: Counter[int] = field(default_factory=Counter)
    rows: int = 0

    @property
    def due(self) -> int:
        return sum(self.outcomes.values())

    @property
    def answered(self) -> int:
        return self.outcomes[Outcome.OK]

    @property
    def refused(self) -> int:
        return self.outcomes[Outcome.REFUSED]

    @property
    def errors(self) -> int:
        return sum(self.outcomes[outcome] for outcome in ERRORS)

    def add(self, samples: Samples, rows: NDArray[np.int64]) -> None:
        """Adds samples; `rows` by class."""
        timed = np.isin(samples.outcome, TIMED)
        self.latencies.record(samples.latencies_us()[timed])
        self.lags.record(samples.lags_us())
        for outcome, count in zip(*np.unique(samples.outcome, return_counts=True), strict=True):
            self.outcomes[int(outcome)] += int(count)
        self.rows += int(rows[samples.kind[samples.outcome == Outcome.OK]].sum())

    def merge(self, other: "Window") -> None:
        self.latencies.merge(other.latencies)
        self.lags.merge(other.lags)
        self.observation_delays.merge(other.observation_delays)
        self.outcomes.update(other.outcomes)
        self.rows += other.rows


@dataclass(frozen=True)
class Second:
    """One second by due time: counts, and percentiles of the latency in µs (0 when nothing was timed)."""

    at: int
    due: int
    answered: int
    refused: int
    errors: int
    p50_us: int
    p95_us: int
    p99_us: int
    max_us: int
    lag_p99_us: int


def second_of(at: int, samples: Samples) -> Second:
    timed = np.sort(samples.latencies_us()[np.isin(samples.outcome, TIMED)])
    lags = np.sort(samples.lags_us())

    def at_percent(values: NDArray[np.int64], percent: float) -> int:
        return int(values[max(0, int(np.ceil(percent / 100 * len(values))) - 1)]) if len(values) else 0

    return Second(
        at=at,
        due=len(samples),
        answered=int(np.sum(samples.outcome == Outcome.OK)),
        refused=int(np.sum(samples.outcome == Outcome.REFUSED)),
        errors=int(np.sum(np.isin(samples.outcome, ERRORS))),
        p50_us=at_percent(timed, 50),
        p95_us=at_percent(timed, 95),
        p99_us=at_percent(timed, 99),
        max_us=int(timed[-1]) if len(timed) else 0,
        lag_p99_us=at_percent(lags, 99),
    )


@dataclass(frozen=True)
class Usage:
    """The share of one core that a generator process used in the second before `at` (seconds of the test)."""

    process: str
    at: float
    cpu: float


class Tally:
    """Everything measured so far; owned by the conductor. Phases are added when planned, samples in any order."""

    def __init__(self, kinds: Sequence[Kind], *, keep: bool = False) -> None:
        self.kinds = tuple(kinds)
        self.phases: list[Phase] = []
        self.planned: list[int] = []  # requests due by phase
        self.by_phase: list[Window] = []
        self.by_kind: list[list[Window]] = []  # by phase, then by class
        self.versions: Counter[tuple[int, int]] = Counter()  # (class, version) of right answers
        self.messages: Counter[str] = Counter()
        self.usage: list[Usage] = []
        self.kept: list[Samples] = []
        self._keep = keep
        self._rows = np.array([kind.rows for kind in kinds], np.int64)
        self._open: dict[int, list[Samples]] = {}
        self._closed: dict[int, Second] = {}

    def plan(self, phases: Sequence[Phase], planned: Sequence[int]) -> None:
        for phase, count in zip(phases, planned, strict=True):
            self.phases.append(phase)
            self.planned.append(count)
            self.by_phase.append(Window())
            self.by_kind.append([Window() for _ in self.kinds])

    def add(self, samples: Samples) -> None:
        for index, phase in enumerate(self.phases):
            mine = samples.where((samples.due >= phase.start) & (samples.due < phase.end))
            if not len(mine):
                continue
            self.by_phase[index].add(mine, self._rows)
            for kind, window in enumerate(self.by_kind[index]):
                own = mine if len(self.kinds) == 1 else mine.where(mine.kind == kind)
                if len(own):
                    window.add(own, self._rows)
        answered = samples.version > 0
        pairs = np.stack([samples.kind[answered].astype(np.uint64), samples.version[answered]], axis=1)
        for (kind, version), count in zip(*np.unique(pairs, axis=0, return_counts=True), strict=True):
            self.versions[(int(kind), int(version))] += int(count)
        for second in np.unique(samples.due.astype(np.int64)).tolist():
            mask = samples.due.astype(np.int64) == second
            self._open.setdefault(second, []).append(samples.where(mask))
        if self._keep and sum(map(len, self.kept)) < KEPT_MAX:
            self.kept.append(samples)

    def add_observation_delays(self, at: float, seconds: Sequence[float]) -> None:
        """Adds a process's measured observation delays, reported at `at` seconds of the test."""
        for phase, window in zip(self.phases, self.by_phase, strict=True):
            if phase.start <= at < phase.end:
                window.observation_delays.record(np.rint(np.asarray(seconds) * 1e6).astype(np.int64))

    def close(self, before: float) -> None:
        """Aggregates the seconds that end before `before`, for which no sample can arrive any more."""
        for second in [second for second in self._open if second + 1 <= before]:
            self._closed[second] = second_of(second, Samples.join(self._open.pop(second)))

    def seconds(self) -> list[Second]:
        """Every second with requests due in it, in order."""
        held = {second: second_of(second, Samples.join(parts)) for second, parts in self._open.items()}
        return [second for _, second in sorted({**self._closed, **held}.items())]

    def latest(self) -> Second | None:
        """The latest second that has ended."""
        seconds = sorted(self._open)[:-1]
        return second_of(seconds[-1], Samples.join(self._open[seconds[-1]])) if seconds else None

    def total(self, *, judged: bool = True) -> Window:
        """The sum of all judged phases, or of all phases."""
        total = Window()
        for phase, window in zip(self.phases, self.by_phase, strict=True):
            if phase.judged or not judged:
                total.merge(window)
        return total

    def cpu(self, phase: Phase) -> dict[str, float]:
        """By process, the mean share of a core that it used in the phase."""
        shares: dict[str, list[float]] = {}
        for usage in self.usage:
            if phase.start + 1 <= usage.at <= phase.end + 1 or (phase.seconds < 2 and phase.start <= usage.at):
                shares.setdefault(usage.process, []).append(usage.cpu)
        return {process: float(np.mean(values)) for process, values in shares.items()}

    def missing(self, index: int) -> int:
        """Requests of a phase that were due and never reported, since a process died or was cut off."""
        return self.planned[index] - self.by_phase[index].due
