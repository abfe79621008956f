"""The CPU cost of metrics. They cannot be switched off, so their work is timed alone."""

from time import process_time
from typing import Any

from onnxpress.server.facts import BatchRun, LaneId
from onnxpress.server.serving.batching import Taken
from onnxpress.server.serving.request import Parsed, Request
from onnxpress.server.serving.tensors import Signature
from onnxpress.server.telemetry.metrics import Metrics

BATCHES = 20_000
# The server folds every 50 ms: at 50,000 requests a second in batches of 16 that is about 160 batches.
FOLD_EVERY = 160


def cpu_s_per_request(requests_per_batch: int) -> float:
    """CPU seconds to record and aggregate one batch, per request of the batch."""
    metrics, lane, taken = Metrics(), LaneId("light", "1", ""), Taken()
    nobody: Any = None
    parsed = Parsed(lane.model, lane.version, Signature((), ()), 1, (), 0, None, None, "")
    arrivals = [1_000_000_000 + 1000 * n for n in range(requests_per_batch)]
    taken.requests = [Request(parsed, None, "", nobody, nobody, arrival) for arrival in arrivals]
    start = process_time()
    for number in range(BATCHES):
        at = arrivals[0] + 100_000 * (number % 7)
        metrics.run_done(BatchRun(lane, taken, requests_per_batch, {}, (), at, at + 10_000, at + 60_000, at + 90_000))
        if number % FOLD_EVERY == 0:
            metrics.fold()
    metrics.fold()
    return (process_time() - start) / (BATCHES * requests_per_batch)
