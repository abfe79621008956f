"""The histogram keeps the digits that locust's own statistics round."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onnxpress.loadtests.measure.latency import Latencies


def test_a_p99_of_105_ms_is_not_100():
    """Locust rounds above 100 ms to two digits, so that 105 passes for 100; three digits do not."""
    latencies = Latencies()
    latencies.record(np.full(1000, 105_000))
    assert latencies.percentile_us(99) == pytest.approx(105_000, rel=0.001)


@given(values=st.lists(st.integers(1, 10_000_000), min_size=1, max_size=300), percent=st.floats(0.1, 100))
@settings(max_examples=100, deadline=None)
def test_percentiles_are_those_of_the_sorted_samples(values, percent):
    """At every percentile the histogram is the sorted samples' value, to three digits, and never below it."""
    latencies = Latencies()
    latencies.record(values)
    rank = max(1, int(np.ceil(percent / 100 * len(values) - 1e-9)))
    exact = sorted(values)[rank - 1]
    assert exact <= latencies.percentile_us(percent) <= exact * 1.001 + 1


def test_one_slow_request_of_a_hundred_and_one_is_its_p99_plus():
    """The rank is rounded up: with 101 samples the p99.5 is the slowest, which rounding to nearest would hide."""
    latencies = Latencies()
    latencies.record([1000] * 100 + [500_000])
    assert latencies.percentile_us(99.2) == pytest.approx(500_000, rel=0.001)


def test_merged_histograms_are_the_histogram_of_all():
    """Processes measure apart and are judged together."""
    first, second, both = Latencies(), Latencies(), Latencies()
    source = np.random.default_rng(1)
    a, b = source.integers(1, 5000, 400), source.integers(4000, 900_000, 100)
    first.record(a)
    second.record(b)
    both.record(np.concatenate([a, b]))
    first.merge(second)
    assert len(first) == 500
    assert first.curve() == both.curve()


def test_a_histogram_survives_its_own_encoding():
    """What report.json carries can be read back, by this and by other HdrHistogram tools."""
    latencies = Latencies()
    latencies.record(np.random.default_rng(2).integers(1, 10_000, 1000))
    assert Latencies.decode(latencies.encode()).curve() == latencies.curve()


def test_the_curve_promises_no_more_nines_than_there_are_samples():
    """The curve ends at the percentile for which there are enough samples."""
    latencies = Latencies()
    latencies.record(range(1, 1001))
    percents = [percent for percent, _ in latencies.curve()]
    assert max(percent for percent in percents if percent < 100) <= 99.9 + 1e-9
    assert percents[-1] == 100


def test_an_empty_histogram_has_no_percentiles():
    """Nothing measured is zero samples, not an error."""
    assert Latencies().percentile_us(99) == 0
    assert Latencies().curve() == []
