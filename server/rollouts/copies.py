"""Keeps the runs of live versions whose calls are copied to a candidate: an observer of the data plane."""

from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from numpy.typing import NDArray

from onnxpress.server.facts import BatchRun, LaneId, Refusal, RunCalls
from onnxpress.server.serving.routing import CHAMPION
from onnxpress.server.serving.tensors import Flat

# What may wait to be copied, in all models. Overflow policy: newer runs are dropped and counted.
COPIED_ROWS_MAX, COPIED_BYTES_MAX = 20_000, 64 * 1024 * 1024


class Copy(NamedTuple):
    """A run of the champion that answered `calls` calls. chosen_from: None if all of them are copied."""

    lane: LaneId
    rows: int
    calls: int
    inputs: Mapping[str, NDArray[Any]]
    outputs: Sequence[Flat]
    chosen_from: RunCalls | None


class Wanted(NamedTuple):
    """Whose runs are copied. whole: all of its calls, so that nobody needs to choose."""

    version: str
    whole: bool


class Copies:
    """An Observer: keeps the runs of live versions whose calls are copied, until `take`.

    `wanted`, by model, is replaced as a whole by the thread that takes; pumps append. Runs in which no call ended are
    not copied: those of large requests but the last.
    """

    def __init__(self, rows_max: int = COPIED_ROWS_MAX, bytes_max: int = COPIED_BYTES_MAX) -> None:
        self.wanted: Mapping[str, Wanted] = {}
        self._most = rows_max, bytes_max
        self._copies: deque[Copy] = deque()
        self._dropped: deque[tuple[str, int]] = deque()  # model, rows
        self._kept = [0, 0]  # rows, bytes since the last `take`; a race of two pumps keeps one run more

    def run_done(self, run: BatchRun) -> None:
        wanted = self.wanted.get(run.lane.model)
        if wanted is None or wanted.version != run.lane.version:
            return
        variants = run.calls.variants()
        count = variants.count(CHAMPION)
        if not count:
            return
        size = sum([values.nbytes for values in run.inputs.values()]) + sum(map(len, run.outputs))
        kept, (rows_max, bytes_max) = self._kept, self._most
        if kept[0] + run.rows > rows_max or kept[1] + size > bytes_max:
            self._dropped.append((run.lane.model, run.rows))
            return
        kept[0] += run.rows
        kept[1] += size
        chosen_from = None if wanted.whole and count == len(variants) else run.calls
        self._copies.append(Copy(run.lane, run.rows, count, run.inputs, run.outputs, chosen_from))

    def refused(self, _refusal: Refusal) -> None:
        """What the live version did not answer is not copied."""

    def take(self) -> tuple[list[Copy], dict[str, int]]:
        """What came since the last call, and how many rows were dropped, by model."""
        copies = [self._copies.popleft() for _ in range(len(self._copies))]
        dropped: dict[str, int] = {}
        for _ in range(len(self._dropped)):
            model, rows = self._dropped.popleft()
            dropped[model] = dropped.get(model, 0) + rows
        self._kept = [0, 0]
        return copies, dropped
