"""Arithmetic of the benchmarks."""

import json

import numpy as np
import pytest

from benchmarks.figures import Run, as_json, from_json, middle, quantiles, rate_ratio, ratio, spread


def run(answered: int, seconds: float = 1.0, cpu_s: float = 0.5) -> Run:
    return Run(answered, 0, seconds, cpu_s, 0.1, 1.0, 2.0, 3.0, 4.0)


def test_rates_count_answered_requests_only() -> None:
    """A refused request is no prediction: neither the rate nor the CPU per prediction counts it."""
    refused = Run(100, 900, 2.0, 0.5, 0.1, 1.0, 2.0, 3.0, 4.0)
    assert refused.rate == 50.0
    assert refused.cpu_s_per_1000 == 5.0


def test_nothing_answered_costs_nothing_that_can_be_named() -> None:
    """No answers give no cost per answer, rather than a division by zero."""
    assert np.isnan(run(0).cpu_s_per_1000)


def test_ratio_is_the_median_of_same_round_ratios() -> None:
    """A round in which the machine was slow for both sides does not change the ratio, as a ratio of medians would."""
    assert ratio([80, 8, 40, 79, 82], [100, 10, 50, 100, 100]) == 0.8
    assert ratio([80, 8, 45], [100, 10, 10]) == 0.8


def test_ratio_needs_both_sides_of_every_round() -> None:
    """A missing run is an error, not a shorter comparison."""
    with pytest.raises(ValueError, match="shorter"):
        ratio([1.0, 2.0], [1.0])


def test_rate_ratio_takes_targets_of_one_cell() -> None:
    """Served over echo, by their rates."""
    cell = {"echo": [run(100), run(10, 0.1)], "onnxpress": [run(80), run(8, 0.1)]}
    assert rate_ratio(cell, "onnxpress", "echo") == pytest.approx(0.8)


def test_median_and_spread_over_rounds() -> None:
    """The median ignores one disturbed round, the spread shows it."""
    runs = [run(100), run(102), run(50)]
    assert middle(runs, "rate") == 100
    assert spread(runs) == 0.5
    assert np.isnan(spread([run(0)]))


def test_quantiles_are_by_name_and_nan_of_nothing() -> None:
    """Latencies from 1 to 1,000 give the quantiles that their names say."""
    found = quantiles(np.arange(1, 1001))
    assert {name: round(value) for name, value in found.items()} == {"p50": 500, "p95": 950, "p99": 990, "p99_9": 999}
    assert all(np.isnan(value) for value in quantiles([]).values())


def test_results_survive_their_file() -> None:
    """What is written for the docs can be read again."""
    cells = {"light": {"echo": [run(100)], "onnxpress": [run(80), run(81)]}}
    assert from_json(json.loads(json.dumps(as_json(cells)))) == cells
