"""Did a hot swap hold its promises? Pure analysis of who answered what, and when.

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

AFTERMATH_SECONDS = 0.5  # a swap's window reaches this far beyond its end: queues that it made count as its doing


@dataclass(frozen=True)
class Swap:
    """One Deploy call: the version that it made live, its beginning and end. `problem`: why it failed, or nothing."""

    version: int
    begin: float
    end: float
    problem: str = ""


@dataclass(frozen=True)
class SwapReport:
    """What the answers say about the swaps.

    `breaches`: answers by a version that could not be live between the request's leaving and its answer. `flips`:
    answers by the old version to requests that left after some answer of the new one was in hand.
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
class _Reign:
    """A version may answer from `begin` (its Deploy was called) until `end` (the next Deploy returned)."""

    version: int
    begin: float
    end: float


def analyse(samples: Samples, swaps: Sequence[Swap], first: int) -> SwapReport:
    """Judges answers in a test that began with version `first` live; failed swaps change nothing."""
    done = [swap for swap in swaps if not swap.problem]
    versions, begins = [first, *(swap.version for swap in done)], [-np.inf, *(swap.begin for swap in done)]
    ends = [*(swap.end for swap in done), np.inf]
    reigns = [_Reign(*reign) for reign in zip(versions, begins, ends, strict=True)]
    answered = samples.where(samples.outcome == Outcome.OK)
    allowed = np.zeros(len(answered), np.bool_)
    for reign in reigns:
        overlaps = (answered.done >= reign.begin) & (answered.sent <= reign.end)
        allowed |= (answered.version == reign.version) & overlaps
    flips = sum(_flips(answered, old, new) for old, new in pairwise(reigns))
    around = np.zeros(len(samples), np.bool_)
    for swap in swaps:
        around |= (samples.done >= swap.begin) & (samples.due <= swap.end + AFTERMATH_SECONDS)
    timed = np.isin(samples.outcome, TIMED)
    during, steady = Latencies(), Latencies()
    during.record(samples.latencies_us()[timed & around])
    steady.record(samples.latencies_us()[timed & ~around])
    return SwapReport(int(np.sum(~allowed)), flips, during, steady)


def _flips(answered: Samples, old: _Reign, new: _Reign) -> int:
    """Old answers after new ones, within the swap from `old` to `new`."""
    if old.version == new.version:
        return 0
    fresh = answered.done[(answered.version == new.version) & (answered.sent > new.begin)]
    if not len(fresh):
        return 0
    within = (answered.sent > fresh.min()) & (answered.sent <= old.end)
    return int(np.sum(within & (answered.version == old.version)))
