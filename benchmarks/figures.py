"""Arithmetic on measurements: quantiles, medians, ratios of the same round. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from statistics import median
from typing import Any

import numpy as np

QUANTILES = {"p50": 50.0, "p95": 95.0, "p99": 99.0, "p99_9": 99.9}


@dataclass(frozen=True)
class Run:
    """One target under load once. Latencies in microseconds; `cpu_s` of the target's whole process tree."""

    answered: int  # with OK, or with the status that is expected of the target
    refused: int  # answered with any other status
    seconds: float
    cpu_s: float
    generator_cpu_s: float
    p50: float
    p95: float
    p99: float
    p99_9: float

    @property
    def rate(self) -> float:
        """Answered requests per second."""
        return self.answered / self.seconds

    @property
    def cpu_s_per_1000(self) -> float:
        """CPU seconds of the target per 1,000 answered requests."""
        return self.cpu_s / self.answered * 1000 if self.answered else float("nan")


def quantiles(latencies_us: Sequence[float] | np.ndarray) -> dict[str, float]:
    """By name; NaN where nothing was answered."""
    if not len(latencies_us):
        return dict.fromkeys(QUANTILES, float("nan"))
    return dict(zip(QUANTILES, np.percentile(latencies_us, list(QUANTILES.values())).tolist(), strict=True))


def middle(runs: Sequence[Run], name: str) -> float:
    """The median over rounds of one attribute."""
    return float(median(getattr(run, name) for run in runs))


def ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """The median of the ratios of each round, since a disturbance affects both sides of its round."""
    return median(a / b for a, b in zip(above, below, strict=True))


def rate_ratio(cell: Mapping[str, Sequence[Run]], above: str, below: str) -> float:
    """The rate of the target `above` over that of `below`, in one cell."""
    return ratio([run.rate for run in cell[above]], [run.rate for run in cell[below]])


def spread(runs: Sequence[Run]) -> float:
    """The largest difference of a round's rate from the median, as a share of the median: the noise.

    NaN where nothing was answered.
    """
    centre = middle(runs, "rate")
    return max(abs(run.rate - centre) for run in runs) / centre if centre else float("nan")


def as_json(cells: Mapping[str, Mapping[str, Sequence[Run]]]) -> dict[str, Any]:
    """The runs as plain values."""
    return {
        cell: {target: [asdict(run) for run in runs] for target, runs in targets.items()}
        for cell, targets in cells.items()
    }


def from_json(plain: Mapping[str, Any]) -> dict[str, dict[str, list[Run]]]:
    """The runs that `as_json` converted."""
    return {
        cell: {target: [Run(**run) for run in runs] for target, runs in targets.items()}
        for cell, targets in plain.items()
    }
