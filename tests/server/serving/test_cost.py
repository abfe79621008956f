"""How the cost curve is measured, and how it determines the batch size."""

import time

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
        (CLEAN, 100e3, 128),  # 256 is only 2 % cheaper per row
        (CLEAN | {32: 2100.0}, 100e3, 128),  # one bad measurement does not hide larger sizes
        (CLEAN, 20e3, 64),  # 2 x 5.1 ms x 1.5 is more than 10 ms
        (CLEAN, 1, 1),  # one row is always allowed
        ({1: 100.0, 2: 300.0, 4: 600.0}, 100e3, 1),  # batches cost more than single rows
    ],
)
def test_batch_size_follows_from_curve_and_latency_target(curve: cost.Curve, target_us: float, chosen: int) -> None:
    """The batch size is the largest that meets the latency target and is 5 % cheaper per row for each doubling."""
    assert cost.CostModel(curve, target_us).batch_rows == chosen


def test_a_slower_machine_gets_smaller_batches() -> None:
    """The measured slowdown counts against the latency target."""
    assert cost.batch_rows(cost.fitting(CLEAN, 100e3, scale=4.0)) == 64
    model = cost.CostModel(CLEAN, 30e3)
    assert (model.batch_rows, model.unsplit_rows_max, model.shared_batch_rows) == (64, 64, 32)
    for _ in range(cost.CORRECT_EVERY):
        model.observe(64, 2.5 * model.micros(64))
    assert (model.batch_rows, model.unsplit_rows_max, model.shared_batch_rows) == (32, 32, 32)


def test_a_slower_machine_keeps_the_batch_size_within_the_target() -> None:
    """If the latency target still holds, a slowdown does not change the batch size."""
    model = cost.CostModel({rows: 4.0 * rows for rows in cost.SIZES}, 1e6)
    assert model.batch_rows == 128
    for _ in range(cost.CORRECT_EVERY):
        model.observe(128, 2.9 * model.micros(128))
    assert model.scale > 2.5
    assert model.batch_rows == 128


def test_unsplit_rows_follow_from_the_latency_target_alone() -> None:
    """A request may run in one piece up to the latency target, also beyond the size where batches stop saving time."""
    flat = {rows: 40.0 * rows for rows in (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)}
    model = cost.CostModel(flat, 100e3)
    assert model.batch_rows < 128
    assert model.unsplit_rows_max == 256  # 2 x 20.5 ms x 1.5 is more than 50 ms


def test_every_measured_run_has_new_rows() -> None:
    """No two measured runs get the same batch, which caches and branch predictors would favour."""
    prepared = iter(range(1_000_000))
    runs: list[int] = []
    cost.measure(lambda _: next(prepared), runs.append, rows_max=2, budget_us=1e9)
    assert len(runs) > 2
    assert runs == sorted(set(runs))


def test_warm_up_cycles_through_the_golden_rows() -> None:
    """Each batch continues after the one before and wraps around at the end, for all inputs alike."""
    inputs = {"a": np.arange(5).reshape(5, 1), "b": np.array([["v"], ["w"], ["x"], ["y"], ["z"]])}
    feeds = Feeds(Signature((), ()), Golden(inputs, {}, {}))
    assert [feeds.rows(2)["a"].ravel().tolist() for _ in range(3)] == [[0, 1], [2, 3], [4, 0]]
    both = feeds.rows(7)
    assert both["a"].ravel().tolist() == [1, 2, 3, 4, 0, 1, 2]
    assert both["b"].ravel().tolist() == ["w", "x", "y", "z", "v", "w", "x"]
    assert both["b"].dtype == object


RUNTIME = {1: 10.0, 2: 14.0, 4: 22.0, 8: 38.0, 16: 70.0, 32: 134.0}


@pytest.mark.parametrize(
    ("forest", "rows"),
    [
        ({1: 5.0, 2: 6.0, 4: 8.0, 8: 12.0, 16: 20.0, 32: 36.0}, 1),  # cheaper at every size
        ({1: 20.0, 2: 21.0, 4: 22.5, 8: 25.0, 16: 31.0, 32: 44.0}, 8),  # a fixed cost that large batches make up for
        ({1: 20.0, 2: 21.0, 4: 22.5, 8: 25.0, 16: 71.0, 32: 44.0}, 8),  # one bad measurement does not count
        ({1: 20.0, 2: 28.0, 4: 44.0, 8: 80.0, 16: 150.0, 32: 280.0}, 0),  # never
    ],
)
def test_the_cheaper_engine_runs_a_batch(forest: cost.Curve, rows: int) -> None:
    """The forest runs batches from the size on from which it is cheaper, and the curve is that of the engine chosen."""
    engines = cost.choose_engines(RUNTIME, forest)
    assert engines.forest_rows == rows
    assert engines.curve == {n: forest[n] if rows and n >= rows else RUNTIME[n] for n in RUNTIME}


def test_sizes_that_only_the_forest_was_measured_at() -> None:
    """ONNX Runtime is not measured further once it is clearly slower; the curve goes on with the forest's sizes."""
    sizes: list[tuple[str, int]] = []

    def spin(name: str, micros: float) -> None:
        until = time.thread_time_ns() + micros * 1e3
        while time.thread_time_ns() < until:
            pass
        sizes.append((name, int(micros)))

    engines = cost.measure_engines(
        lambda rows: rows, lambda rows: spin("runtime", 500 * rows), lambda rows: spin("forest", 50 * rows), 64, 1e9
    )
    assert engines.forest_rows == 1
    assert list(engines.curve) == [1, 2, 4, 8, 16, 32, 64]
    assert max(micros for name, micros in sizes if name == "runtime") == 500 * 4
