"""What metrics cost: they cannot be switched off, so their part of the work is done here alone and timed."""

from time import process_time

from onnxpress.server.facts import BatchFacts
from onnxpress.server.telemetry.metrics import Metrics

BATCHES = 20_000
# The server folds every 250 ms: at 50,000 requests a second in batches of 16 that is about 800 batches.
FOLD_EVERY = 800


def cpu_s_per_request(requests_per_batch: int) -> float:
    """CPU seconds that telling and folding one batch takes, per request of it."""
    metrics = Metrics()
    arrivals = [1_000_000_000 + 1000 * n for n in range(requests_per_batch)]
    start = process_time()
    for number in range(BATCHES):
        at = arrivals[0] + 100_000 * (number % 7)
        metrics.batch_done(
            BatchFacts("light", "1", requests_per_batch, arrivals, at, at + 10_000, at + 60_000, at + 90_000)
        )
        if number % FOLD_EVERY == 0:
            metrics.fold()
    metrics.fold()
    return (process_time() - start) / (BATCHES * requests_per_batch)
