"""The cost curve: how long a batch of b rows runs, and from that how many rows a batch may have."""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from math import inf, log2
from time import thread_time_ns
from typing import TypeVar

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
REPEATS_MAX = 20
# A size is measured for about this long at most, so slower sizes get fewer repeats.
SECONDS_PER_SIZE = 0.01
# Microseconds that the pump adds to every run: assembling, answering, waking up.
OVERHEAD_US = 40
CHEAPER_BY = 0.05
# Once the forest takes less than this share of ONNX Runtime's time at so many sizes, it is cheaper at larger ones too.
CLEARLY_CHEAPER, SIZES_TO_DECIDE = 0.8, 3
P99_FACTOR = 1.5  # p99 / median, assumed: a size has too few repeats to measure its p99
# Live correction of the curve by a scale: weight of one batch, limits, and how often the batch size is recomputed.
LEARNING_RATE = 0.02
OUTLIER = 2.0  # a batch counts as at most this many times the scale, since it may have been preempted
SCALE_MIN, SCALE_MAX = 0.5, 20.0
# Beyond this scale other processes use the cores, and smaller batches would only use more of the remaining CPU.
BATCH_SCALE_MAX = 3.0
CORRECT_EVERY = 256  # batches
HEAVY_US = 1_000
# While other models have callers, batches are limited to this run time (but not below one row). With half of it a model
# of 45 us a row lost 9 to 14 % of its rate, and the p99 of the other models did not change measurably.
SHARED_RUN_US_MAX = 2_000

Curve = dict[int, float]  # rows -> microseconds
T = TypeVar("T")


@dataclass(frozen=True)
class Sharing:
    """Whether requests may share runs: batches of up to `rows_max` rows; if they may not, 1 and the reason."""

    rows_max: int
    reason: str = ""


@dataclass(frozen=True)
class Engines:
    """The curve of the cheaper engine at each size, and from how many rows on that is the compiled forest; 0: never."""

    curve: Curve
    forest_rows: int = 0


@dataclass(frozen=True)
class Measured:
    """What one process measured of a version, so that another one need not.

    without_forest: why its compiled forest runs no batches; empty if it runs some.
    """

    engines: Engines
    sharing: Sharing
    without_forest: str


def measure(
    prepare: Callable[[int], T],
    run: Callable[[T], object],
    rows_max: int,
    budget_us: float,
    enough: Callable[[Curve], bool] = lambda _curve: False,
) -> Curve:
    """Median microseconds of `run` on `prepare(rows)` for growing sizes, without the preparation.

    Stops after the first size that exceeds `budget_us`, or once `enough` holds of the curve so far.

    Measures CPU time of this thread, in which a session with one intra-op thread runs, so the figures do not depend on
    other load or on the priority of a preflight process.
    """
    curve: Curve = {}
    for rows in SIZES:
        if rows > rows_max:
            break
        times: list[float] = []
        run(prepare(rows))
        while len(times) < REPEATS_MAX and (not times or sum(times) < SECONDS_PER_SIZE * 1e6):
            batch = prepare(rows)  # new rows: on repeated rows caches and branch prediction are better than in service
            start = thread_time_ns()
            run(batch)
            times.append((thread_time_ns() - start) / 1e3)
        curve[rows] = sorted(times)[len(times) // 2]
        if curve[rows] > budget_us or enough(curve):
            break
    return curve


def measure_engines(
    prepare: Callable[[int], T],
    runtime: Callable[[T], object],
    forest: Callable[[T], object],
    rows_max: int,
    budget_us: float,
) -> Engines:
    """Measures both engines; ONNX Runtime only until the forest is clearly cheaper, since it is the slower one then."""
    walked = measure(prepare, forest, rows_max, budget_us)

    def cheaper(curve: Curve) -> bool:
        last = [*curve][-SIZES_TO_DECIDE:]
        return len(last) == SIZES_TO_DECIDE and all(walked.get(n, inf) < CLEARLY_CHEAPER * curve[n] for n in last)

    return choose_engines(measure(prepare, runtime, rows_max, budget_us, cheaper), walked)


def choose_engines(runtime: Curve, forest: Curve) -> Engines:
    """The size from which on the forest runs batches, so that all measured sizes together cost least. Pure."""
    common = [rows for rows in runtime if rows in forest]

    def cost(start: float) -> float:
        return sum((forest if rows >= start else runtime)[rows] / runtime[rows] for rows in common)

    start = min((*common, inf), key=cost)
    if start == inf:
        return Engines(runtime, 0)
    return Engines(
        {rows: micros for rows, micros in runtime.items() if rows < start}
        | {rows: micros for rows, micros in forest.items() if rows >= start},
        int(start),
    )


def fitting(curve: Curve, target_us: float, scale: float = 1.0) -> Curve:
    """The part of the curve whose batches meet the latency target, and always one row. Pure.

    A request may wait for one whole batch and then run in the next: 2 T(b) + overhead <= half of `target_us`. `scale`
    is the machine's present slowdown against the curve.
    """
    micros_max = (target_us / 2 - OVERHEAD_US) / (2 * P99_FACTOR)
    return {rows: micros for rows, micros in curve.items() if rows == 1 or micros * scale <= micros_max}


def batch_rows(fits: Curve) -> int:
    """The batch size to use: the largest of `fits` that still makes rows cheaper. Pure.

    A size is chosen over a smaller one if, per doubling, it is more than 5 % cheaper per row than the last size chosen,
    so one bad measurement does not hide larger sizes. The machine's slowdown does not count: it applies to the fixed
    cost of a batch as well.
    """
    chosen, cheapest = 1, inf
    for rows, measured in fits.items():
        per_row = (measured + OVERHEAD_US) / rows
        if per_row < (1 - CHEAPER_BY) ** log2(rows / chosen) * cheapest:
            chosen, cheapest = rows, per_row
    return chosen


class CostModel:
    """The curve of one version, corrected by the times of its batches. Changed under the Scheduler's lock only.

    batch_rows: the most rows of a batch of several requests. unsplit_rows_max: requests of more rows are split; at
    least `batch_rows`, since a request that meets the latency target runs in one piece even where larger batches make
    rows no cheaper. shared_batch_rows: the most rows of a batch while other models have callers; they run within
    SHARED_RUN_US_MAX, at least one.
    """

    def __init__(self, curve: Curve, target_us: float) -> None:
        """`curve` may be empty, for a version that cannot share runs: every run then counts as one row."""
        self.curve = curve or {1: float(OVERHEAD_US)}
        self.scale = 1.0
        self._target_us = target_us
        self._sizes = list(self.curve)
        self._batches = 0
        self.batch_rows = self.unsplit_rows_max = 1
        # Without the scale: on a machine that other load slows down, smaller batches would cost the others more.
        self.shared_batch_rows = max((rows for rows in self.curve if self.micros(rows) <= SHARED_RUN_US_MAX), default=1)
        self._size_batches()

    def _size_batches(self) -> None:
        scale = min(self.scale, BATCH_SCALE_MAX)
        fits = fitting(self.curve, self._target_us, scale)
        self.batch_rows, self.unsplit_rows_max = batch_rows(fits), max(fits, default=1)

    def micros(self, rows: int) -> float:
        """Microseconds of one batch without the scale, interpolated linearly between measured sizes."""
        place = bisect_left(self._sizes, rows)
        if place == len(self._sizes):
            return self.curve[self._sizes[-1]] * rows / self._sizes[-1] + OVERHEAD_US
        above = self._sizes[place]
        if above == rows or place == 0:
            return self.curve[above] + OVERHEAD_US
        below = self._sizes[place - 1]
        share = (rows - below) / (above - below)
        return self.curve[below] + share * (self.curve[above] - self.curve[below]) + OVERHEAD_US

    @property
    def heavy(self) -> bool:
        """Whether one batch takes long enough to delay other models' requests noticeably."""
        return self.micros(self.batch_rows) * self.scale > HEAVY_US

    def backlog_us(self, rows: int) -> float:
        """Microseconds to run `rows` rows in consecutive batches, with the scale."""
        whole, rest = divmod(rows, self.batch_rows)
        return (whole * self.micros(self.batch_rows) + (self.micros(rest) if rest else 0.0)) * self.scale

    def observe(self, rows: int, micros: float) -> None:
        """Corrects the scale by a batch of `rows` rows that took `micros` from being taken to being answered."""
        ratio = min(max(micros / self.micros(rows), SCALE_MIN), OUTLIER * self.scale, SCALE_MAX)
        self.scale += (ratio - self.scale) * LEARNING_RATE
        self._batches += 1
        if self._batches % CORRECT_EVERY == 0 and len(self.curve) > 1:
            self._size_batches()
