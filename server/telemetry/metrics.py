"""Counts and histograms of the data plane: reported per run, folded later, read by Prometheus and ModelStatistics.

A run costs the pump one append. Folding is vectorised; it happens every 50 ms and when the counts are read.
"""

import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric

from onnxpress.server.facts import BatchRun, Refusal

# Upper bounds in seconds: 50 us to 10 s, closest where most requests are.
SECONDS = (
    50e-6, 100e-6, 150e-6, 200e-6, 300e-6, 400e-6, 600e-6, 800e-6, 1e-3, 1.5e-3, 2e-3, 3e-3, 4e-3, 6e-3, 8e-3, 10e-3,
    15e-3, 20e-3, 30e-3, 40e-3, 60e-3, 80e-3, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.0, 5.0, 10.0,
)  # fmt: skip
ROWS = tuple(2.0**n for n in range(14))
# Runs, and refusals, that may wait to be folded. Overflow policy: the pump that adds one more folds them, since a
# count that misses requests is worse than one late batch.
BUFFER_MAX = 50_000
NS = 1e-9

Key = tuple[str, str]  # model, version


class Times(NamedTuple):
    """What is kept of a run until it is folded; no payload."""

    rows: int
    taken: int
    started: int
    finished: int
    answered: int
    arrivals: list[int]


class Histogram:
    """Counts by upper bound, and the sum; `add` takes an array."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = np.array(bounds)
        self.counts = np.zeros(len(bounds) + 1, np.int64)
        self.sum = 0.0

    def add(self, values: NDArray[np.floating[Any]]) -> None:
        places = np.searchsorted(self._bounds, values, side="left")
        self.counts += np.bincount(places, minlength=len(self.counts))
        self.sum += float(values.sum())

    def buckets(self) -> list[tuple[str, float]]:
        """Cumulative, as Prometheus wants them."""
        names = [repr(bound) for bound in self._bounds.tolist()] + ["+Inf"]
        return list(zip(names, np.cumsum(self.counts).astype(float).tolist(), strict=True))


@dataclass
class VersionCounts:
    """Everything counted of one version; nanoseconds are sums over batches (times) or requests (queue, success)."""

    requests: int = 0
    rows: int = 0
    batches: int = 0
    success_ns: int = 0
    queue_ns: int = 0
    assemble_ns: int = 0
    run_ns: int = 0
    answer_ns: int = 0
    last_ms: int = 0
    failures: Counter[str] = field(default_factory=Counter)
    by_rows: dict[int, list[int]] = field(default_factory=dict)  # batch rows -> [batches, assemble, run, answer ns]
    request_s: Histogram = field(default_factory=lambda: Histogram(SECONDS))
    queue_s: Histogram = field(default_factory=lambda: Histogram(SECONDS))
    run_s: Histogram = field(default_factory=lambda: Histogram(SECONDS))
    batch_rows: Histogram = field(default_factory=lambda: Histogram(ROWS))


class Metrics:
    """An Observer. Owns the counts under `_lock`; pumps append to the deques `_runs` and `_refusals` without it.

    The deques are emptied under the lock, so no pump waits for a thread that folds or reads.
    """

    def __init__(self, buffer_max: int = BUFFER_MAX) -> None:
        self._buffer_max = buffer_max
        self._runs: deque[tuple[Key, Times]] = deque()
        self._refusals: deque[Refusal] = deque()
        self._counts: dict[Key, VersionCounts] = defaultdict(VersionCounts)
        self._refused: Counter[str] = Counter()  # by code, of requests that were not bound to a version
        self._pump_deaths: Counter[str] = Counter()  # by front
        self._admin_refusals: Counter[str] = Counter()  # by code
        self._lock = threading.Lock()
        self._started = time.time()
        self.lanes: Callable[[], Iterable[tuple[str, str, int]]] = lambda: ()  # model, version, queued rows
        self.forests: Callable[[], Iterable[tuple[str, str, int]]] = lambda: ()  # model, version, smallest batch
        self.epochs: Callable[[], Iterable[tuple[str, int]]] = lambda: ()

    def run_done(self, run: BatchRun) -> None:
        lane, calls, rows, _, _, taken, started, finished, answered = run
        self._runs.append((lane[:2], Times(rows, taken, started, finished, answered, calls.arrivals())))
        if len(self._runs) > self._buffer_max:
            self.fold()

    def refused(self, refusal: Refusal) -> None:
        self._refusals.append(refusal)
        if len(self._refusals) > self._buffer_max:
            self.fold()

    @property
    def buffered(self) -> tuple[int, int]:
        """Runs and refusals that wait to be folded."""
        return len(self._runs), len(self._refusals)

    def pump_died(self, front: str) -> None:
        with self._lock:
            self._pump_deaths[front] += 1

    def admin_refused(self, code: str) -> None:
        with self._lock:
            self._admin_refusals[code] += 1

    def fold(self) -> None:
        """Folds the runs and refusals that pumps have added."""
        with self._lock:
            for _ in range(len(self._refusals)):
                model, version, _, _, code, calls, _ = self._refusals.popleft()
                (self._counts[model, version].failures if model else self._refused)[code] += calls
            groups: dict[Key, list[Times]] = defaultdict(list)
            for _ in range(len(self._runs)):
                key, times = self._runs.popleft()
                groups[key].append(times)
            now_ms = time.time_ns() // 1_000_000
            for key, runs in groups.items():
                _fold(self._counts[key], runs, now_ms)

    def forget(self, model: str, version: str) -> None:
        """Drops the series of an unloaded version."""
        self.fold()
        with self._lock:
            self._counts.pop((model, version), None)

    def versions(self) -> dict[Key, VersionCounts]:
        """The current counts by model and version. The objects are live: read them, do not keep them."""
        self.fold()
        with self._lock:
            return dict(self._counts)

    def collect(self) -> Iterator[Metric]:
        """For prometheus_client's registry."""
        counts = self.versions()
        yield from _histograms(counts)
        requests = CounterMetricFamily(
            "onnxpress_requests", "Requests answered, by status code", labels=["model", "version", "code"]
        )
        rows = CounterMetricFamily("onnxpress_rows", "Rows answered", labels=["model", "version"])
        for (model, version), of in counts.items():
            requests.add_metric([model, version, "OK"], of.requests)
            for code, count in of.failures.copy().items():
                requests.add_metric([model, version, code], count)
            rows.add_metric([model, version], of.rows)
        for code, count in self._refused.copy().items():
            requests.add_metric(["", "", code], count)
        yield requests
        yield rows
        deaths = CounterMetricFamily(
            "onnxpress_pump_deaths", "Pump threads that ended with an error and were replaced", labels=["front"]
        )
        for front, count in self._pump_deaths.copy().items():
            deaths.add_metric([front], count)
        yield deaths
        strangers = CounterMetricFamily(
            "onnxpress_admin_refusals", "Admin calls without valid credentials or the role they need", labels=["code"]
        )
        for code, count in self._admin_refusals.copy().items():
            strangers.add_metric([code], count)
        yield strangers
        queue = GaugeMetricFamily("onnxpress_queue_rows", "Rows that wait now", labels=["model", "version"])
        for model, version, waiting in self.lanes():
            queue.add_metric([model, version], waiting)
        yield queue
        forests = GaugeMetricFamily(
            "onnxpress_forest_batch_rows_min",
            "Rows of the smallest batch that the compiled forest runs; absent: ONNX Runtime runs all",
            labels=["model", "version"],
        )
        for model, version, smallest in self.forests():
            forests.add_metric([model, version], smallest)
        yield forests
        epochs = GaugeMetricFamily("onnxpress_deployment_epoch", "Revision of the deployment", labels=["model"])
        for model, epoch in self.epochs():
            epochs.add_metric([model], epoch)
        yield epochs


def _fold(counts: VersionCounts, runs: list[Times], now_ms: int) -> None:
    rows, taken, started, finished, answered = np.array([run[:5] for run in runs], np.int64).T
    sizes = np.array([len(run.arrivals) for run in runs])
    arrivals = np.array([*chain.from_iterable(run.arrivals for run in runs)], np.int64)
    request_ns = np.repeat(answered, sizes) - arrivals
    queue_ns = np.repeat(taken, sizes) - arrivals
    counts.requests += len(arrivals)
    counts.rows += int(rows.sum())
    counts.batches += len(runs)
    counts.success_ns += int(request_ns.sum())
    counts.queue_ns += int(queue_ns.sum())
    counts.assemble_ns += int((started - taken).sum())
    counts.run_ns += int((finished - started).sum())
    counts.answer_ns += int((answered - finished).sum())
    counts.last_ms = now_ms
    counts.request_s.add(request_ns * NS)
    counts.queue_s.add(queue_ns * NS)
    counts.run_s.add((finished - started) * NS)
    counts.batch_rows.add(rows.astype(np.float64))
    # Not np.unique: the first time it imports numpy.ma, which holds the interpreter for 50 ms.
    for size in {run.rows for run in runs}:
        of = rows == size
        parts = [of.sum(), (started - taken)[of].sum(), (finished - started)[of].sum(), (answered - finished)[of].sum()]
        kept = counts.by_rows.setdefault(size, [0, 0, 0, 0])
        counts.by_rows[size] = [before + int(more) for before, more in zip(kept, parts, strict=True)]


def _histograms(counts: dict[Key, VersionCounts]) -> Iterator[Metric]:
    families: tuple[tuple[str, str, Callable[[VersionCounts], Histogram]], ...] = (
        ("onnxpress_request_duration_seconds", "From received to answered", lambda of: of.request_s),
        ("onnxpress_queue_duration_seconds", "From received to taken by a batch", lambda of: of.queue_s),
        ("onnxpress_inference_duration_seconds", "One run of the model", lambda of: of.run_s),
        ("onnxpress_batch_rows", "Rows that one run answered", lambda of: of.batch_rows),
    )
    for name, text, choose in families:
        family = HistogramMetricFamily(name, text, labels=["model", "version"])
        for key, of in counts.items():
            histogram: Any = choose(of)
            family.add_metric(list(key), histogram.buckets(), histogram.sum)
        yield family
