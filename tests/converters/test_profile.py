"""The profile: the reference statistics for live data."""

import numpy as np
import pytest

from onnxpress.converters.family import Column, Schema
from onnxpress.converters.profile import BINS, CATEGORIES_MAX, feature, profile_of
from onnxpress.converters.sample import assembled
from onnxpress.protos.package_pb2 import Layout, Task


def test_bins_hold_about_equal_shares() -> None:
    """A continuous column has quantile bins: ascending edges, one count more, all rows counted."""
    values = np.random.default_rng(0).normal(size=5_000)
    numeric = feature("x", "FP32", values).numeric
    assert len(numeric.edges) == BINS - 1
    assert len(numeric.counts) == BINS
    assert sum(numeric.counts) == 5_000
    assert list(numeric.edges) == sorted(set(numeric.edges))
    assert max(numeric.counts) - min(numeric.counts) <= 2


def test_counts_follow_the_rule_of_the_edges() -> None:
    """Bin i holds edges[i-1] <= x < edges[i], so a value on an edge belongs to the upper bin."""
    numeric = feature("n", "INT64", np.array([1, 1, 2, 3, 3, 3])).numeric
    assert list(numeric.edges) == [2.0, 3.0]
    assert list(numeric.counts) == [2, 1, 3]
    assert numeric.integral


def test_a_column_of_mostly_one_value_keeps_distinct_edges() -> None:
    """Many equal quantiles collapse into one edge."""
    values = np.concatenate([np.zeros(900), np.random.default_rng(1).random(100)])
    numeric = feature("x", "FP32", values).numeric
    assert len(set(numeric.edges)) == len(numeric.edges)
    assert sum(numeric.counts) == 1000
    assert numeric.counts[0] >= 900


def test_missing_and_infinite_values() -> None:
    """The missing rate counts NaN; infinities count in the outer bins, not in mean or range."""
    found = feature("x", "FP64", np.array([np.nan, 1.0, 2.0, np.inf, -np.inf]))
    assert found.missing_rate == pytest.approx(0.2)
    assert (found.numeric.min, found.numeric.max, found.numeric.mean) == (1.0, 2.0, 1.5)
    assert sum(found.numeric.counts) == 4


@pytest.mark.parametrize(
    ("values", "constant"),
    [([5.0, 5.0], True), ([5.0, np.nan], False), ([np.nan, np.nan], True), ([5.0, 6.0], False)],
)
def test_constant(values: list[float], constant: bool) -> None:
    """A column with one value in all rows, or without any value."""
    assert feature("x", "FP32", np.array(values)).constant is constant


def test_statistics_are_numpy_s() -> None:
    """Mean, deviation and the outer quantiles as numpy computes them."""
    values = np.random.default_rng(2).exponential(size=10_000)
    numeric = feature("x", "FP32", values).numeric
    assert numeric.mean == pytest.approx(values.mean())
    assert numeric.std == pytest.approx(values.std())
    assert numeric.p001 == pytest.approx(np.quantile(values, 0.001))
    assert numeric.p999 == pytest.approx(np.quantile(values, 0.999))


def test_categories_by_frequency() -> None:
    """Categories are listed most frequent first, ties by name; None is missing, the rest is counted as other."""
    values = np.array(["b", "a", "b", None, "c", "c"], dtype=object)
    found = feature("x", "BYTES", values)
    assert [(category.value, category.count) for category in found.categories.top] == [("b", 2), ("c", 2), ("a", 1)]
    assert found.missing_rate == pytest.approx(1 / 6)
    many = np.array([f"v{index}" for index in range(CATEGORIES_MAX + 20)], dtype=object)
    wide = feature("x", "BYTES", many).categories
    assert (len(wide.top), wide.other, wide.distinct) == (CATEGORIES_MAX, 20, CATEGORIES_MAX + 20)


def test_outputs_are_profiled_by_class_and_target() -> None:
    """There is a profile for the probabilities of each class, and for each target."""
    rows = assembled({"x": np.arange(4.0), "flag": np.array([True, False, True, True])})
    columns = (Column("x", "FP32"), Column("flag", "BOOL"))
    classes = Schema(columns, Layout.COLUMNS, Task.CLASSIFIER, classes=("no", "yes"))
    found = profile_of(rows, classes, {"probabilities": np.array([[0.2, 0.8]] * 4)})
    assert [output.name for output in found.outputs] == ["proba_no", "proba_yes"]
    assert found.features[1].numeric.mean == 0.75
    targets = Schema(columns, Layout.COLUMNS, Task.REGRESSOR, targets=2)
    assert [output.name for output in profile_of(rows, targets, {"prediction": np.zeros((4, 2))}).outputs] == [
        "prediction_0",
        "prediction_1",
    ]
