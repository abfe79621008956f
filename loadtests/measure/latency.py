"""Latencies in whole microseconds, kept in an HdrHistogram: three significant digits from 1 µs to 10 minutes."""

from collections.abc import Iterable

import numpy as np
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

HIGHEST_US = 600_000_000
DIGITS = 3
# The percentiles of the curve: evenly spaced in the number of nines.
CURVE = tuple(float(share) for share in 100 * (1 - np.logspace(0, -5, 61)))


class Latencies:
    """The distribution of latencies; cheap to merge, exact to three digits at every percentile."""

    def __init__(self) -> None:
        self.histogram = HdrHistogram(1, HIGHEST_US, DIGITS)

    def __len__(self) -> int:
        return int(self.histogram.get_total_count())

    def __repr__(self) -> str:
        return f"Latencies({len(self)} samples, p50 {self.percentile_us(50)} µs, p99 {self.percentile_us(99)} µs)"

    def record(self, latencies_us: NDArray[np.int64] | Iterable[int]) -> None:
        """Adds latencies in µs, [samples], clipped to the range from 1 µs to 10 minutes."""
        values, counts = np.unique(np.clip(np.asarray(latencies_us, np.int64), 1, HIGHEST_US), return_counts=True)
        for value, count in zip(values.tolist(), counts.tolist(), strict=True):
            self.histogram.record_value(value, count)

    def merge(self, other: "Latencies") -> None:
        self.histogram.add(other.histogram)

    def percentile_us(self, percent: float) -> int:
        """The smallest recorded latency that at least `percent` per cent of the samples do not exceed; µs, 0: empty.

        HdrHistogram rounds the rank to the nearest integer. A gate must round it up, so the rank is computed here.
        """
        total = len(self)
        if not total:
            return 0
        rank = min(total, max(1, int(np.ceil(percent / 100 * total - 1e-9))))
        return self.at_ranks([rank])[0]

    def at_ranks(self, ranks: list[int]) -> list[int]:
        """The latencies in µs of ascending ranks (1: the fastest)."""
        found: list[int] = []
        wanted = iter(ranks)
        rank = next(wanted, None)
        for item in self.histogram.get_recorded_iterator():
            while rank is not None and item.total_count_to_this_value >= rank:
                found.append(int(item.value_iterated_to))
                rank = next(wanted, None)
            if rank is None:
                break
        return found

    def mean_us(self) -> float:
        return float(self.histogram.get_mean_value()) if len(self) else 0.0

    def max_us(self) -> int:
        return int(self.histogram.get_max_value()) if len(self) else 0

    def curve(self) -> list[tuple[float, int]]:
        """(per cent, µs) for the percentiles for which there are enough samples."""
        total = len(self)
        if not total:
            return []
        percents = [percent for percent in CURVE if (100 - percent) / 100 * total >= 1] + [100.0]
        ranks = [min(total, max(1, int(np.ceil(percent / 100 * total - 1e-9)))) for percent in percents]
        return list(zip(percents, self.at_ranks(ranks), strict=True))

    def encode(self) -> str:
        """The histogram in HdrHistogram's compressed base64 format, which other tools read."""
        return bytes(self.histogram.encode()).decode()

    @classmethod
    def decode(cls, text: str) -> "Latencies":
        latencies = cls()
        latencies.histogram = HdrHistogram.decode(text.encode())
        return latencies
