"""Counts and histograms: exactly what numpy counts, and gone with their version."""

import re
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from onnxpress.server.facts import BatchRun, Columns, LaneId, Refusal
from onnxpress.server.telemetry.metrics import ROWS, SECONDS, Histogram, Metrics

US = 1_000
PATIENCE_S = 30.0


class Answered:
    """The calls of a run, of which metrics asks for the arrivals only."""

    def __init__(self, arrivals: list[int]) -> None:
        self._arrivals = arrivals

    def arrivals(self) -> list[int]:
        return self._arrivals

    def columns(self) -> Columns:
        raise AssertionError("metrics needs no columns, which take longer than the run of a small batch")


def batch(rows: int, arrivals: list[int], taken: int, version: str = "1") -> BatchRun:
    """A run that was assembled in 10 us, took 200 us and was answered in 30."""
    lane, calls = LaneId("m", version, ""), Answered(arrivals)
    return BatchRun(lane, calls, rows, {}, (), taken, taken + 10 * US, taken + 210 * US, taken + 240 * US)


def refusal(code: str, calls: int = 1, model: str = "m", version: str = "1") -> Refusal:
    return Refusal(model, version, "champion", 1, code, calls)


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    registry = CollectorRegistry()
    registry.register(metrics)
    families = text_string_to_metric_families(generate_latest(registry).decode())
    return {(s.name, tuple(sorted(s.labels.items()))): s.value for family in families for s in family.samples}


@given(st.lists(st.floats(0, 20) | st.sampled_from(SECONDS), max_size=200))
def test_histogram_is_numpys(values: list[float]) -> None:
    """Every value is in the bucket with the least bound that is not below it; sum and count agree."""
    histogram = Histogram(SECONDS)
    half = len(values) // 2
    for part in (values[:half], values[half:]):
        histogram.add(np.array(part, np.float64))
    array = np.array(values)
    cumulative = [float((array <= bound).sum()) for bound in SECONDS]
    assert [count for _, count in histogram.buckets()] == [*cumulative, float(len(values))]
    assert histogram.sum == pytest.approx(array.sum())


def test_one_batch_is_counted_once() -> None:
    """Requests, rows, runs and times of a batch come out as they went in, per version."""
    metrics = Metrics()
    metrics.run_done(batch(5, [0, 100 * US, 200 * US], taken=300 * US))
    metrics.run_done(batch(1, [1_000 * US], taken=1_000 * US, version="2"))
    of = metrics.versions()["m", "1"]
    assert (of.requests, of.rows, of.batches) == (3, 5, 1)
    assert of.queue_ns == (300 + 200 + 100) * US
    assert of.success_ns == (540 + 440 + 340) * US
    assert (of.assemble_ns, of.run_ns, of.answer_ns) == (10 * US, 200 * US, 30 * US)
    assert of.by_rows == {5: [1, 10 * US, 200 * US, 30 * US]}
    told = samples(metrics)
    labels = (("model", "m"), ("version", "1"))
    assert told["onnxpress_requests_total", (("code", "OK"), *labels)] == 3
    assert told["onnxpress_rows_total", labels] == 5
    assert told["onnxpress_request_duration_seconds_count", labels] == 3
    assert told["onnxpress_request_duration_seconds_sum", labels] == pytest.approx(1320e-6)
    assert told["onnxpress_inference_duration_seconds_count", labels] == 1
    assert told["onnxpress_batch_rows_bucket", (("le", "8.0"), *labels)] == 1
    assert told["onnxpress_batch_rows_bucket", (("le", "4.0"), *labels)] == 0
    assert len(ROWS) == 14


def test_many_batches_are_numpys_sum() -> None:
    """A thousand batches of every size add up, folded in one go or one by one."""
    rng = np.random.default_rng(3)
    facts = []
    for n in range(1_000):
        arrivals = sorted(rng.integers(0, 10**9, size=rng.integers(1, 6)).tolist())
        facts.append(batch(int(rng.integers(1, 200)), arrivals, taken=10**9 + n * US))
    together, single = Metrics(), Metrics()
    for told in facts:
        together.run_done(told)
        single.run_done(told)
        single.fold()
    one, other = together.versions()["m", "1"], single.versions()["m", "1"]
    assert one.rows == sum(told.rows for told in facts) == other.rows
    assert one.requests == sum(len(told.calls.arrivals()) for told in facts) == other.requests
    assert one.request_s.counts.tolist() == other.request_s.counts.tolist()
    assert one.by_rows == other.by_rows
    assert sum(batches for batches, *_ in one.by_rows.values()) == len(facts)


def test_refusals_by_code() -> None:
    """Refusals are counted by code, with and without a version; they are no requests answered OK."""
    metrics = Metrics()
    metrics.refused(refusal("RESOURCE_EXHAUSTED", 7))
    metrics.refused(refusal("RESOURCE_EXHAUSTED"))
    metrics.refused(refusal("NOT_FOUND", 2, "", ""))
    told = samples(metrics)
    assert told["onnxpress_requests_total", (("code", "RESOURCE_EXHAUSTED"), ("model", "m"), ("version", "1"))] == 8
    assert told["onnxpress_requests_total", (("code", "NOT_FOUND"), ("model", ""), ("version", ""))] == 2
    assert told["onnxpress_requests_total", (("code", "OK"), ("model", "m"), ("version", "1"))] == 0


class Slow(list[int]):
    """Arrivals that keep whoever folds them, who has the lock, until they are let go."""

    def __init__(self) -> None:
        super().__init__([0])
        self.begun, self.go = threading.Event(), threading.Event()

    def __iter__(self) -> Iterator[int]:
        self.begun.set()
        assert self.go.wait(PATIENCE_S)
        return super().__iter__()


def test_pumps_never_wait_for_the_counts() -> None:
    """Telling takes no lock: a thread that folds or reads may have it for milliseconds."""
    metrics, slow = Metrics(), Slow()
    metrics.run_done(batch(1, slow, taken=1))
    folding = threading.Thread(target=metrics.fold)
    folding.start()
    assert slow.begun.wait(PATIENCE_S)
    metrics.run_done(batch(3, [0, 1], taken=2))
    metrics.refused(refusal("CANCELLED"))
    assert metrics.buffered == (1, 1)
    slow.go.set()
    folding.join(PATIENCE_S)
    counts = metrics.versions()["m", "1"]
    assert (counts.requests, counts.failures["CANCELLED"]) == (3, 1)


def test_series_vanish_with_their_version() -> None:
    """An unloaded version leaves no series behind, told before the fold or after."""
    metrics = Metrics()
    metrics.run_done(batch(1, [0], taken=0))
    metrics.run_done(batch(1, [0], taken=0, version="2"))
    metrics.forget("m", "1")
    labels = {dict(key).get("version") for _, key in samples(metrics)}
    assert "1" not in labels
    assert "2" in labels


def test_what_waits_is_bounded() -> None:
    """When nobody folds, the pump that tells one too many folds them itself: nothing is lost, memory stays bounded."""
    metrics = Metrics(buffer_max=10)
    for n in range(25):
        metrics.run_done(batch(1, [n], taken=n))
        metrics.refused(refusal("CANCELLED"))
        assert max(metrics.buffered) <= 10
    counts = metrics.versions()["m", "1"]
    assert (counts.rows, counts.failures["CANCELLED"]) == (25, 25)


def test_no_payload_is_kept() -> None:
    """What a run was made of may be freed before it is folded."""
    metrics, run = Metrics(), batch(1, [0], taken=0)
    calls = weakref.ref(run.calls)
    metrics.run_done(run)
    del run
    assert metrics.buffered == (1, 0)
    assert calls() is None


def test_gauges_ask_the_present() -> None:
    """Queue and epoch gauges show what their sources say now, and nothing of what was."""
    metrics = Metrics()
    metrics.lanes = lambda: [("m", "1", 42)]
    metrics.epochs = lambda: [("m", 7)]
    told = samples(metrics)
    assert told["onnxpress_queue_rows", (("model", "m"), ("version", "1"))] == 42
    assert told["onnxpress_deployment_epoch", (("model", "m"),)] == 7
    metrics.lanes = list
    assert "onnxpress_queue_rows" not in {name for name, _ in samples(metrics)}


def test_every_metric_is_documented() -> None:
    """docs/metrics.md has each family with its type and labels, and no other."""
    metrics = Metrics()
    metrics.run_done(batch(1, [0], taken=0))
    metrics.refused(refusal("CANCELLED"))
    metrics.pump_died("native")
    metrics.admin_refused("UNAUTHENTICATED")
    metrics.lanes = lambda: [("m", "1", 0)]
    metrics.forests = lambda: [("m", "1", 1)]
    metrics.epochs = lambda: [("m", 1)]
    exposed = {
        (family.name + ("_total" if family.type == "counter" else ""), family.type, label)
        for family in metrics.collect()
        for sample in family.samples
        for label in sample.labels
        if label != "le"
    }
    page = (Path(__file__).parents[3] / "docs/metrics.md").read_text()
    rows = re.findall(r"^\| `(\w+)` \| (\w+) \| (.*?) \|", page, re.MULTILINE)
    assert exposed == {(name, kind, label) for name, kind, labels in rows for label in re.findall(r"\w+", labels)}
