"""What a batch of b rows costs, and from that how many rows a batch may have."""

from collections.abc import Callable
from time import perf_counter_ns

SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
REPEATS_MAX = 20
# A version is measured for at most about this long; what is slower gets fewer repeats.
SECONDS_PER_SIZE = 0.02
# What the pump adds to every run, in microseconds: assembling, answering, waking up.
OVERHEAD_US = 40
CHEAPER_BY = 0.05
P99_FACTOR = 1.5  # of the median, for sizes with too few repeats to know their own p99

Curve = dict[int, float]  # rows -> microseconds


def measure(run: Callable[[int], object], rows_max: int, budget_us: float) -> Curve:
    """Median microseconds of `run(rows)` for growing sizes; stops where a batch alone exceeds `budget_us`."""
    curve: Curve = {}
    for rows in SIZES:
        if rows > rows_max:
            break
        times: list[float] = []
        run(rows)
        while len(times) < REPEATS_MAX and (not times or sum(times) < SECONDS_PER_SIZE * 1e6):
            start = perf_counter_ns()
            run(rows)
            times.append((perf_counter_ns() - start) / 1e3)
        curve[rows] = sorted(times)[len(times) // 2]
        if curve[rows] > budget_us:
            break
    return curve


def batch_rows(curve: Curve, target_us: float) -> int:
    """The largest size that keeps the latency target and is still worth it. Pure.

    A request may wait for one whole batch and then run in the next: 2 T(b) + overhead <= half of `target_us`. A
    size is worth it while it is more than 5 % cheaper per row than half of it.
    """
    chosen = 1
    for rows, micros in curve.items():
        if rows > 1 and 2 * micros * P99_FACTOR + OVERHEAD_US > target_us / 2:
            break
        half = curve.get(rows // 2)
        if half is not None and (micros + OVERHEAD_US) / rows > (1 - CHEAPER_BY) * (half + OVERHEAD_US) / (rows // 2):
            break
        chosen = rows
    return chosen
