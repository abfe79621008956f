"""The cost curve is measured as requests come, and decides how many rows a batch may have."""

import numpy as np
import pytest

from onnxpress.packages.golden import Golden
from onnxpress.server.serving import cost
from onnxpress.server.serving.tensors import Signature
from onnxpress.server.versions.loader import Feeds

CLEAN = {1: 100.0, 2: 150.0, 4: 280.0, 8: 500.0, 16: 950.0, 32: 1600.0, 64: 2950.0, 128: 5100.0, 256: 10_100.0}


@pytest.mark.parametrize(
    ("curve", "target_us", "chosen"),
    [
        (CLEAN, 100e3, 128),  # 256 is 2 % cheaper: not worth it
        (CLEAN | {32: 2100.0}, 100e3, 128),  # one bad measurement does not hide the larger sizes
        (CLEAN, 20e3, 64),  # 2 x 5.1 ms x 1.5 is more than 10 ms
        (CLEAN, 1, 1),  # one row always runs
        ({1: 100.0, 2: 300.0, 4: 600.0}, 100e3, 1),  # batches that cost more than their rows
    ],
)
def test_batch_is_as_large_as_it_is_worth_and_latency_allows(curve: cost.Curve, target_us: float, chosen: int) -> None:
    """The largest size that keeps half the target and is more than 5 % cheaper per row for each doubling."""
    assert cost.CostModel(curve, target_us).batch_rows == chosen


def test_a_slower_machine_gets_smaller_batches() -> None:
    """The live scale counts against the latency target."""
    assert cost.batch_rows(cost.fitting(CLEAN, 100e3, scale=4.0)) == 64
    model = cost.CostModel(CLEAN, 30e3)
    assert (model.batch_rows, model.unsplit_rows_max, model.shared_batch_rows) == (64, 64, 32)
    for _ in range(cost.CORRECT_EVERY):
        model.observe(64, 2.5 * model.micros(64))
    assert (model.batch_rows, model.unsplit_rows_max, model.shared_batch_rows) == (32, 32, 32)


def test_a_slower_machine_makes_no_size_dearer_than_another() -> None:
    """Where the latency target leaves room, batches stay as large as they were: smaller ones would only add to it."""
    model = cost.CostModel({rows: 4.0 * rows for rows in cost.SIZES}, 1e6)
    assert model.batch_rows == 128
    for _ in range(cost.CORRECT_EVERY):
        model.observe(128, 2.9 * model.micros(128))
    assert model.scale > 2.5
    assert model.batch_rows == 128


def test_a_request_runs_whole_however_little_batches_save() -> None:
    """What may run in one piece follows from the latency target alone, not from where batches stop being cheaper."""
    flat = {rows: 40.0 * rows for rows in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)}
    model = cost.CostModel(flat, 100e3)
    assert model.batch_rows < 128
    assert model.unsplit_rows_max == 256  # 2 x 20.5 ms x 1.5 is more than 50 ms


def test_every_measured_run_has_other_rows() -> None:
    """A run is never given the batch of the run before it, which caches and branch predictors would still know."""
    prepared = iter(range(1_000_000))
    runs: list[int] = []
    cost.measure(lambda _: next(prepared), runs.append, rows_max=2, budget_us=1e9)
    assert len(runs) > 2
    assert runs == sorted(set(runs))


def test_warm_up_rows_are_the_golden_rows_in_turn() -> None:
    """Batches go on where the last one stopped and start again at the end; every input stays in step."""
    inputs = {"a": np.arange(5).reshape(5, 1), "b": np.array([["v"], ["w"], ["x"], ["y"], ["z"]])}
    feeds = Feeds(Signature((), ()), Golden(inputs, {}, {}))
    assert [feeds.rows(2)["a"].ravel().tolist() for _ in range(3)] == [[0, 1], [2, 3], [4, 0]]
    both = feeds.rows(7)
    assert both["a"].ravel().tolist() == [1, 2, 3, 4, 0, 1, 2]
    assert both["b"].ravel().tolist() == ["w", "x", "y", "z", "v", "w", "x"]
    assert both["b"].dtype == object
