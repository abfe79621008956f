"""Counts what the versions of a rollout do: an observer of the data plane, and a comparison on the same rows."""

from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from onnxpress.packages.errors import RunError
from onnxpress.server.facts import BatchRun, LaneId, Refusal
from onnxpress.server.rollouts.pairs import NO_PAIRS, Comparison, Kept, Pairs, columns, is_float
from onnxpress.server.rollouts.shadow import NO_COPIES, Copied
from onnxpress.server.rollouts.windows import BINS, NO_BINS, Arm, Bins, Window
from onnxpress.server.serving.assemble import run
from onnxpress.server.serving.lane import Lane
from onnxpress.server.serving.routing import CANARY, CHAMPION, NAMED
from onnxpress.server.serving.tensors import Flat, TensorSpec

# Reports that may wait to be counted. Overflow policy: what is newer is dropped and counted, since a rollout can wait.
BUFFER_MAX: Final = 20_000
# Runs of either version between two looks at the buffer whose outputs are kept; the others count without them.
DETAILED_MAX: Final = 100
# Rows a second that the champion answers too, so that labels can be compared; they cost as much as serving them.
PAIRS_PER_S: Final = 50
# Failures of one route key and kind count once; beyond so many keys every failure counts.
KEYS_MAX: Final = 100_000
# Runs of the champion whose run time over forecast gives the quantiles; slow runs are counted once there are so many.
REFERENCE_RUNS, REFERENCE_MIN = 1_000, 50
# Scores of the champion that give the bins.
SCORES_MIN: Final = 200
QUANTILES: Final = (90.0, 99.0, 100.0)
# A run of the candidate is slow beyond the champion's quantile by a quarter, and by 5 ms.
SLOWER, SLOWER_US = 1.25, 5_000
ERRORS: Final = frozenset({"INTERNAL", "UNKNOWN", "DATA_LOSS"})
# Of a request that the version cannot take: its data contract or its signature.
CONTRACT: Final = frozenset({"INVALID_ARGUMENT"})
NS_PER_US: Final = 1_000


class Pair(NamedTuple):
    """The versions of one rollout."""

    rollout: int
    champion: Lane
    candidate: Lane


class Ran(NamedTuple):
    """What is kept of a run. outputs: None of most runs at high rates. whole: of runs of the candidate with outputs.

    A thread that frees what another one allocated contends with it for the allocator: keeping everything halved the
    rate of a light model.
    """

    lane: LaneId
    calls: int  # that the deployment sent to this version
    rows: int
    took_ns: int
    outputs: Sequence[Flat] | None
    whole: BatchRun | None


Report = Ran | Refusal


class Buffer:
    """An Observer: keeps the reports of models that have a rollout until `take`.

    `watched`, the candidate's version by model, is replaced as a whole by the thread that takes; pumps append to the
    deque.
    """

    def __init__(self, buffer_max: int = BUFFER_MAX) -> None:
        self.watched: Mapping[str, str] = {}
        self.dropped = 0
        self._buffer_max = buffer_max
        self._reports: deque[Report] = deque()
        # Runs of champions and of candidates kept with their outputs since the last `take`; a race keeps one more.
        self._detailed = [0, 0]

    def run_done(self, run: BatchRun) -> None:
        candidate = self.watched.get(run.lane.model)
        if candidate is None:
            return
        variants = run.calls.variants()
        if calls := len(variants) - variants.count(NAMED):
            outputs = whole = None
            mine = run.lane.version == candidate
            if self._detailed[mine] < DETAILED_MAX:
                self._detailed[mine] += 1
                outputs, whole = run.outputs, run if mine else None
            self._keep(Ran(run.lane, calls, run.rows, run.finished - run.started, outputs, whole))

    def refused(self, refusal: Refusal) -> None:
        if refusal.model in self.watched:
            self._keep(refusal)

    def take(self) -> dict[str, list[Report]]:
        """What came since the last call, by model, in order."""
        taken: dict[str, list[Report]] = {}
        self._detailed = [0, 0]
        for _ in range(len(self._reports)):
            report = self._reports.popleft()
            taken.setdefault(report.lane.model if isinstance(report, Ran) else report.model, []).append(report)
        return taken

    def _keep(self, report: Report) -> None:
        if len(self._reports) >= self._buffer_max:
            self.dropped += 1
        else:
            self._reports.append(report)


class Counter:
    """Counts the reports of one rollout. Owned by the thread that counts.

    `add` counts what came since the last tick, all runs at once, since it competes with the pumps for the interpreter;
    `close` ends a window.
    """

    def __init__(self, pair: Pair, edges: Sequence[float] = ()) -> None:
        """`edges`: of the bins of scores, from an earlier Counter of the rollout; by default they are learned."""
        self._pair = pair
        self._window = Window()
        self._sample: list[BatchRun] = []  # runs of the candidate whose rows the champion will answer too
        self._failed: set[tuple[str, str, str]] = set()  # variant, kind, route key
        self._reference: deque[float] = deque(maxlen=REFERENCE_RUNS)  # the champion's run time / forecast
        self._limits: NDArray[np.float64] | None = None
        self._scores: list[float] = []  # of the champion, until the bins are known
        self._edges: NDArray[np.float64] | None = np.array(edges, np.float64) if edges else None
        self._score = _score_of(pair.champion)
        # Of the candidate's rows to the champion: the other way round the candidate answers.
        self._comparison = Comparison(pair.champion.signature, pair.candidate.signature)
        self.kept = Kept()

    @property
    def edges(self) -> tuple[float, ...]:
        """Of the bins of scores; empty until they are known."""
        return () if self._edges is None else tuple(self._edges.tolist())

    def add(self, reports: Sequence[Report]) -> int:
        """Counts `reports`. Returns the calls of the candidate in the window so far."""
        runs: dict[LaneId, list[Ran]] = {self._pair.champion.id: [], self._pair.candidate.id: []}
        arms = {CHAMPION: Arm(), CANARY: Arm()}
        for report in reports:
            if isinstance(report, Refusal):
                if report.variant in arms:
                    arms[report.variant] += self._of_refusal(report)
            elif report.lane in runs:
                runs[report.lane].append(report)
        for variant, lane in ((CHAMPION, self._pair.champion), (CANARY, self._pair.candidate)):
            arms[variant] += self._of_runs(runs[lane.id], lane, variant)
        self._window += Window(arms[CHAMPION], arms[CANARY])
        return self._window.candidate.calls

    def close(self, seconds: float, copied: Copied = NO_COPIES) -> Window:
        """The window, which lasted `seconds`, with what came of copies in it."""
        if len(self._reference) >= REFERENCE_MIN:  # by which the next window is judged
            self._limits = np.percentile(np.array(self._reference), QUANTILES)
        pairs = self._compared(seconds) + copied.pairs
        copies = replace(copied.arm, bins=self._bins(copied.scores, CANARY))
        window = replace(self._window, pairs=pairs.rows, flips=pairs.flips, largest=pairs.largest, copies=copies)
        self._window, self._sample = Window(), []
        return window

    def _of_refusal(self, refusal: Refusal) -> Arm:
        errors, contract = refusal.code in ERRORS, refusal.code in CONTRACT
        if not errors and not contract:
            return Arm()  # overload, deadlines and cancellations are not the version's
        if not self._first(refusal.variant, refusal.code, refusal.key):
            return Arm(calls=refusal.calls)
        return Arm(calls=refusal.calls, errors=errors * refusal.calls, refused=contract * refusal.calls)

    def _first(self, variant: str, kind: str, key: str) -> bool:
        """Whether a failure counts: calls without a key always, those with one once."""
        if not key:
            return True
        failed = (variant, kind, key)
        first = failed not in self._failed
        if first and len(self._failed) < KEYS_MAX:
            self._failed.add(failed)
        return first

    def _of_runs(self, runs: Sequence[Ran], lane: Lane, variant: str) -> Arm:
        if not runs:
            return Arm()
        if sum(one.rows for one in self._sample) < PAIRS_PER_S:
            self._sample += [one.whole for one in runs if one.whole is not None]
        return (
            self._speed(runs, variant)
            + Arm(calls=sum(one.calls for one in runs))
            + self._of_outputs([one for one in runs if one.outputs is not None], lane, variant)
        )

    def _of_outputs(self, runs: Sequence[Ran], lane: Lane, variant: str) -> Arm:
        """What the outputs of these runs say."""
        if not runs:
            return Arm()
        invalid, bins, rows = 0, NO_BINS, sum(one.rows for one in runs)
        for place, spec in enumerate(lane.signature.outputs):
            if not is_float(spec):
                continue
            joined = b"".join([one.outputs[place] for one in runs if one.outputs is not None])
            values = np.frombuffer(joined, spec.dtype).reshape(rows, -1)
            if not np.isfinite(values).all():
                invalid += sum(self._invalid_calls(one, place, spec, variant) for one in runs)
            if self._score == (place, spec):
                bins = self._bins(values[:, -1], variant)
        return Arm(checked=sum(one.calls for one in runs), invalid=invalid, bins=bins)

    def _speed(self, runs: Sequence[Ran], variant: str) -> Arm:
        """How many runs there were, and how many were slow by the champion's cost curve."""
        cost = self._pair.champion.cost
        by_rows = {rows: cost.micros(rows) for rows in {one.rows for one in runs}}
        forecast_us = np.array([by_rows[one.rows] for one in runs])
        took_us = np.array([one.took_ns for one in runs]) / NS_PER_US
        if variant == CHAMPION:
            self._reference.extend((took_us / forecast_us).tolist())
        if self._limits is None:
            return Arm()
        limits = np.outer(self._limits, forecast_us)
        if variant == CANARY:
            limits = np.maximum(SLOWER * limits, limits + SLOWER_US)
        q90, q99, most = (took_us > limits).sum(axis=1).tolist()
        return Arm(runs=len(runs), slow_q90=q90, slow_q99=q99, slow_max=most)

    def _invalid_calls(self, ran: Ran, place: int, spec: TensorSpec, variant: str) -> int:
        """How many calls of a run got a NaN or an infinity; of the champion's, which are not kept, how many rows."""
        assert ran.outputs is not None, "only these are checked"
        values = np.frombuffer(ran.outputs[place], spec.dtype).reshape(ran.rows, -1)
        wrong = ~np.isfinite(values).all(axis=1)
        if not wrong.any() or ran.whole is None:
            return min(int(wrong.sum()), ran.calls)
        columns, start, calls = ran.whole.calls.columns(), 0, 0
        for rows, chosen, key in zip(columns.rows, columns.variants, columns.keys, strict=True):
            if chosen == variant and wrong[start : start + rows].any():
                calls += self._first(variant, "invalid", key)
            start += rows
        return calls

    def _bins(self, scores: NDArray[Any], variant: str) -> Bins:
        """Rows by score, in tenths of the champion's first scores; none until those are known."""
        scores = scores[np.isfinite(scores)].astype(np.float64)
        if self._edges is None:
            if variant == CHAMPION:
                self._scores += scores.tolist()
                if len(self._scores) >= SCORES_MIN:
                    self._edges = np.unique(np.quantile(self._scores, np.arange(1, BINS) / BINS))
            return NO_BINS
        return tuple(np.bincount(np.searchsorted(self._edges, scores), minlength=BINS).tolist())

    def _compared(self, seconds: float) -> Pairs:
        """Rows of the candidate that the champion answers here too."""
        pairs = NO_PAIRS
        if self._comparison.unanswerable:
            return pairs
        champion, most = self._pair.champion, max(1, int(PAIRS_PER_S * seconds))
        specs = champion.signature.outputs, self._pair.candidate.signature.outputs
        for run_ in self._sample:
            rows = min(run_.rows, most - pairs.rows)
            if not rows:
                break
            try:
                feeds = {spec.name: run_.inputs[spec.name][:rows] for spec in champion.signature.inputs}
                outputs, _ = run(champion.session, champion.signature, feeds, rows)
            except (RunError, ValueError):
                continue  # what the champion cannot answer is no evidence
            theirs = [column[:rows] for column in columns(run_.outputs, specs[1], run_.rows)]
            pairs += self._comparison.compare(columns(outputs, specs[0], rows), theirs, feeds, self.kept)
        return pairs


def _score_of(lane: Lane) -> tuple[int, TensorSpec] | None:
    """Place and spec of the output that is a score: the first of floating-point numbers; its last column counts."""
    for place, spec in enumerate(lane.signature.outputs):
        if is_float(spec) and lane.signature.batchable:
            return place, spec
    return None
