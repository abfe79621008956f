"""Finds barrier breaches and flips around hot swaps, from which version answered what and when. Pure.

All times are in seconds from the beginning of the test. A swap begins when Deploy is called and ends when it
returns: between the two either version may answer, afterwards only the new one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from onnxpress.loadtests.measure.answers import Outcome
from onnxpress.loadtests.measure.latency import Latencies
from onnxpress.loadtests.measure.samples import Samples
from onnxpress.loadtests.measure.tally import TIMED

AFTERMATH_SECONDS = 0.5  # added to the end of a swap's window, for the queues that the swap has caused


@dataclass(frozen=True)
class Swap:
    """One Deploy call: the version that it made live, its begin and end. `problem`: why it failed, or empty."""

    version: int
    begin: float
    end: float
    problem: str = ""


@dataclass(frozen=True)
class SwapReport:
    """What the answers show about the swaps.

    `breaches`: answers by a version that could not be live between the sending of the request and its answer. `flips`:
    answers by the old version to requests that were sent after an answer of the new one had arrived. `during` and
    `steady`: latencies around swaps and elsewhere.
    """

    breaches: int
    flips: int
    during: Latencies
    steady: Latencies

    def ratio(self) -> float:
        """p99 around swaps over p99 elsewhere; 0 when either has no samples."""
        steady = self.steady.percentile_us(99)
        return self.during.percentile_us(99) / steady if steady and len(self.during) else 0.0


@dataclass(frozen=True)
class _Live:
    """A version may answer from `begin` (its Deploy was called) until `end` (the next Deploy returned)."""

    version: int
    begin: float
    end: float


def analyse(samples: Samples, swaps: Sequence[Swap], first: int) -> SwapReport:
    """Judges answers in a test that began with version `first` live; failed swaps change nothing."""
    done = [swap for swap in swaps if not swap.problem]
    versions, begins = [first, *(swap.version for swap in done)], [-np.inf, *(swap.begin for swap in done)]
    ends = [*(swap.end for swap in done), np.inf]
    periods = [_Live(*period) for period in zip(versions, begins, ends, strict=True)]
    answered = samples.where(samples.outcome == Outcome.OK)
    allowed = np.zeros(len(answered), np.bool_)
    for period in periods:
        overlaps = (answered.done >= period.begin) & (answered.sent <= period.end)
        allowed |= (answered.version == period.version) & overlaps
    flips = sum(_flips(answered, old, new) for old, new in pairwise(periods))
    around = np.zeros(len(samples), np.bool_)
    for swap in swaps:
        around |= (samples.done >= swap.begin) & (samples.due <= swap.end + AFTERMATH_SECONDS)
    timed = np.isin(samples.outcome, TIMED)
    during, steady = Latencies(), Latencies()
    during.record(samples.latencies_us()[timed & around])
    steady.record(samples.latencies_us()[timed & ~around])
    return SwapReport(int(np.sum(~allowed)), flips, during, steady)


def _flips(answered: Samples, old: _Live, new: _Live) -> int:
    """Answers by `old` after answers by `new`, within the swap from one to the other."""
    if old.version == new.version:
        return 0
    first_new = answered.done[(answered.version == new.version) & (answered.sent > new.begin)]
    if not len(first_new):
        return 0
    within = (answered.sent > first_new.min()) & (answered.sent <= old.end)
    return int(np.sum(within & (answered.version == old.version)))
