"""What a batch of b rows costs, and from that how many rows a batch may have."""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import dataclass
from math import inf, log2
from time import thread_time_ns
from typing import TypeVar

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
REPEATS_MAX = 20
# A size is measured for at most about this long; what is slower gets fewer repeats.
SECONDS_PER_SIZE = 0.02
# What the pump adds to every run, in microseconds: assembling, answering, waking up.
OVERHEAD_US = 40
CHEAPER_BY = 0.05
P99_FACTOR = 1.5  # of the median: a size has too few repeats to know its own p99
# Live correction: how much one batch moves the scale, how far it may go, how often the batch size follows.
LEARNING_RATE = 0.02
OUTLIER = 2.0  # times the scale: what one preempted batch may claim at most
SCALE_MIN, SCALE_MAX = 0.5, 20.0
# Beyond this others have the cores, and smaller batches would only cost more of what is left.
BATCH_SCALE_MAX = 3.0
CORRECT_EVERY = 256  # batches
HEAVY_US = 1_000
# While other models have callers no run takes longer, where its model lets that be. Half of it would cost a model of
# 45 us a row 9 to 14 % of its rate, and took nothing measurable off the p99 of the others.
SHARED_RUN_US_MAX = 2_000

Curve = dict[int, float]  # rows -> microseconds
T = TypeVar("T")


@dataclass(frozen=True)
class Sharing:
    """Whether requests may share runs: batches of up to `rows_max` rows; 1 and why where they may not."""

    rows_max: int
    reason: str = ""


def measure(prepare: Callable[[int], T], run: Callable[[T], object], rows_max: int, budget_us: float) -> Curve:
    """Median microseconds of `run(prepare(rows))` for growing sizes, without the preparation.

    Stops where a batch alone exceeds `budget_us`. Counted in CPU time of this thread, in which a session with one
    intra-op thread runs: so a busy machine, or a trial that yields to the server's requests, measures the same.
    """
    curve: Curve = {}
    for rows in SIZES:
        if rows > rows_max:
            break
        times: list[float] = []
        run(prepare(rows))
        while len(times) < REPEATS_MAX and (not times or sum(times) < SECONDS_PER_SIZE * 1e6):
            batch = prepare(rows)  # others each time: rows that repeat make caches and branches look better than life
            start = thread_time_ns()
            run(batch)
            times.append((thread_time_ns() - start) / 1e3)
        curve[rows] = sorted(times)[len(times) // 2]
        if curve[rows] > budget_us:
            break
    return curve


def fitting(curve: Curve, target_us: float, scale: float = 1.0) -> Curve:
    """The part of the curve whose batches keep the latency target; one row always does. Pure.

    A request may wait for one whole batch and then run in the next: 2 T(b) + overhead <= half of `target_us`. `scale`
    is how much slower than the curve the machine is now.
    """
    micros_max = (target_us / 2 - OVERHEAD_US) / (2 * P99_FACTOR)
    return {rows: micros for rows, micros in curve.items() if rows == 1 or micros * scale <= micros_max}


def batch_rows(fits: Curve) -> int:
    """The largest size that fits and is still worth it. Pure.

    A size is worth it when, per doubling, it is more than 5 % cheaper per row than the largest smaller one that is; so
    one size that was measured badly does not hide the larger ones. How slow the machine is now does not count: what a
    batch costs beside its rows is slower then, too.
    """
    chosen, cheapest = 1, inf
    for rows, measured in fits.items():
        per_row = (measured + OVERHEAD_US) / rows
        if per_row < (1 - CHEAPER_BY) ** log2(rows / chosen) * cheapest:
            chosen, cheapest = rows, per_row
    return chosen


class CostModel:
    """The curve of one version, corrected by what its batches really take. Changed under the Scheduler's lock only.

    batch_rows: how many rows are run together. unsplit_rows_max: a request of more is split; not fewer than
    `batch_rows`, since a request that keeps the latency target is better run in one piece, however little larger
    batches save.
    shared_batch_rows: as many rows as run within SHARED_RUN_US_MAX, at least one.
    """

    def __init__(self, curve: Curve, target_us: float) -> None:
        """`curve` may be empty, for a version that cannot share runs: then every run is taken as one row."""
        self.curve = curve or {1: float(OVERHEAD_US)}
        self.scale = 1.0
        self._target_us = target_us
        self._sizes = list(self.curve)
        self._batches = 0
        self.batch_rows = self.unsplit_rows_max = 1
        # Not corrected: on a machine that is slow because it is busy, smaller batches would cost the others more.
        self.shared_batch_rows = max((rows for rows in self.curve if self.micros(rows) <= SHARED_RUN_US_MAX), default=1)
        self._size_batches()

    def _size_batches(self) -> None:
        scale = min(self.scale, BATCH_SCALE_MAX)
        fits = fitting(self.curve, self._target_us, scale)
        self.batch_rows, self.unsplit_rows_max = batch_rows(fits), max(fits, default=1)

    def micros(self, rows: int) -> float:
        """Forecast of one batch, without the correction: between measured sizes a straight line."""
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
        """Whether one batch takes long enough for another model's callers to feel it."""
        return self.micros(self.batch_rows) * self.scale > HEAVY_US

    def backlog_us(self, rows: int) -> float:
        """Corrected forecast of working off `rows` rows in batches, one after the other."""
        whole, rest = divmod(rows, self.batch_rows)
        return (whole * self.micros(self.batch_rows) + (self.micros(rest) if rest else 0.0)) * self.scale

    def observe(self, rows: int, micros: float) -> None:
        """A batch of `rows` rows took `micros`, from taken to answered."""
        ratio = min(max(micros / self.micros(rows), SCALE_MIN), OUTLIER * self.scale, SCALE_MAX)
        self.scale += (ratio - self.scale) * LEARNING_RATE
        self._batches += 1
        if self._batches % CORRECT_EVERY == 0 and len(self.curve) > 1:
            self._size_batches()
