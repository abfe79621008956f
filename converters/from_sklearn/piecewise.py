"""Piecewise functions of one column: KBinsDiscretizer, QuantileTransformer, IsotonicRegression."""

from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.stats import norm
from sklearn.preprocessing._data import BOUNDS_THRESHOLD

from onnxpress.converters.from_sklearn.emission import Doubles, Emission, ErrorBounds, Part, Registry, Value
from onnxpress.converters.from_sklearn.normal import inverse_normal
from onnxpress.converters.from_sklearn.steps import row_sum
from onnxpress.converters.graph.builder import DOUBLE, INT64

EMITTERS = Registry()

SPACING = float(np.spacing(1))


def reached(g: Emission, x: str, edges: Any) -> str:
    """DOUBLE [rows, 1]: how many of the ascending edges are at most x."""
    return row_sum(g, g.cast(g.add("GreaterOrEqual", x, g.double(np.asarray(edges).reshape(1, -1))), DOUBLE))


@EMITTERS.transformer("KBinsDiscretizer")
def k_bins(g: Emission, model: Any, value: Value) -> Value:
    parts = []
    for index, edges in enumerate(model.bin_edges_):
        inner = np.asarray(edges, np.float64)[1:-1]
        origin = value.origins[index]
        g.split(origin, inner)
        x = g.whole(g.take(value, [index]))
        code = reached(g, x, inner) if len(inner) else g.add("Mul", x, g.double(0.0))
        if model.encode == "ordinal":
            stepped = origin.then(_counting(inner)) if origin else None
            parts.append(Part(_unless_nan(g, x, code), (stepped,)))
        else:
            width = len(edges) - 1
            place = g.add("Reshape", g.cast(code, INT64), g.int64(-1))
            table = g.add("Gather", g.double(np.eye(width)), place, axis=0)
            parts.append(Part(_unless_nan(g, x, table), (None,) * width))
    return Value(tuple(parts), sparse=model.encode == "onehot")


def _counting(edges: Doubles) -> Callable[[Doubles], Doubles]:
    return lambda values: np.searchsorted(edges, values, side="right").astype(np.float64)


def _unless_nan(g: Emission, x: str, made: str) -> str:
    """NaN where x is no finite number, which the original refuses."""
    return g.add("Add", made, g.add("Mul", x, g.double(0.0)))


def interpolated(g: Emission, x: str, points: Any, heights: Any) -> str:
    """numpy.interp of DOUBLE [rows, 1]: linear between points, constant beyond them, NaN for NaN."""
    points, heights = np.asarray(points, np.float64), np.asarray(heights, np.float64)
    if len(points) == 1:
        return g.add("Add", g.double(heights[0]), g.add("Mul", g.add("IsNaN", x), x))
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = np.diff(heights) / np.diff(points)
    left = g.add("Max", g.add("Sub", reached(g, x, points), g.double(1.0)), g.double(0.0))
    left = g.add("Min", left, g.double(float(len(points) - 2)))
    place = g.add("Reshape", g.cast(left, INT64), g.int64(-1, 1))

    def at(numbers: Doubles) -> str:
        return g.add("Gather", g.double(numbers), g.add("Squeeze", place, g.int64(1)), axis=0)

    def column(numbers: Doubles) -> str:
        return g.add("Reshape", at(numbers), g.int64(-1, 1))

    inside = g.add("Add", g.add("Mul", column(slopes), g.add("Sub", x, column(points[:-1]))), column(heights[:-1]))
    above = g.add("GreaterOrEqual", x, g.double(points[-1]))
    below = g.add("LessOrEqual", x, g.double(points[0]))
    made = g.add("Where", above, g.double(heights[-1]), inside)
    made = g.add("Where", below, g.double(_first(points, heights)), made)
    return g.add("Where", g.add("IsNaN", x), x, made)


def _first(points: Doubles, heights: Doubles) -> float:
    """The value of numpy.interp at the first point: the height of the last point with the same x."""
    return float(heights[np.flatnonzero(points == points[0])[-1]])


@EMITTERS.transformer("QuantileTransformer")
def quantile(g: Emission, model: Any, value: Value) -> Value:
    """The mean of an interpolation from the left and one from the right, for repeated quantiles."""
    parts = []
    for index, origin in enumerate(value.origins):
        quantiles = model.quantiles_[:, index]
        x = g.whole(g.take(value, [index]))
        made = _unless_nan(g, x, _quantiles(g, model, x, quantiles))
        parts.append(Part(made, (origin.then(_quantile(model, quantiles), exact=False) if origin else None,)))
        g.split(origin, np.array([quantiles[0], quantiles[-1]]))
    return Value(tuple(parts), value.names)


def _quantiles(g: Emission, model: Any, x: str, quantiles: Doubles) -> str:
    references = model.references_
    low, high = g.double(quantiles[0]), g.double(quantiles[-1])
    rising = interpolated(g, x, quantiles, references)
    falling = interpolated(g, g.add("Neg", x), -quantiles[::-1], -references[::-1])
    made = g.add("Mul", g.double(0.5), g.add("Sub", rising, falling))
    if model.output_distribution == "uniform":
        made = g.add("Where", g.add("GreaterOrEqual", x, high), g.double(1.0), made)
        return g.add("Where", g.add("LessOrEqual", x, low), g.double(0.0), made)
    edge = g.double(BOUNDS_THRESHOLD)
    made = g.add("Where", g.add("Greater", g.add("Add", x, edge), high), g.double(1.0), made)
    made = g.add("Where", g.add("Less", g.add("Sub", x, edge), low), g.double(0.0), made)
    # scikit-learn clips the result to finite numbers.
    least, most = (float(norm.ppf(end)) for end in (BOUNDS_THRESHOLD - SPACING, 1 - (BOUNDS_THRESHOLD - SPACING)))
    return g.add("Min", g.add("Max", inverse_normal(g, made), g.double(least)), g.double(most))


def _quantile(model: Any, quantiles: Doubles) -> Callable[[Doubles], Doubles]:
    return lambda values: np.asarray(model._transform_col(values.copy(), quantiles, inverse=False))  # noqa: SLF001


@EMITTERS.regressor("IsotonicRegression")
def isotonic(g: Emission, model: Any, value: Value) -> str:
    g.split(value.origins[0], np.asarray(model.X_thresholds_, np.float64))
    return calibrated(g, model, g.whole(value))


def calibrated(g: Emission, model: Any, x: str) -> str:
    """An isotonic function of DOUBLE [rows, 1]."""
    made = interpolated(g, x, model.X_thresholds_, model.y_thresholds_)
    if model.out_of_bounds == "clip":
        return made
    outside = g.add("Or", g.add("Less", x, g.double(model.X_min_)), g.add("Greater", x, g.double(model.X_max_)))
    return g.add("Where", outside, g.double(np.nan), made)


@EMITTERS.error_bound("IsotonicRegression")
def isotonic_error_bound(_bounds: ErrorBounds, model: Any, _rows: Any) -> Any:
    """The error of slope times distance plus height in float64: a few roundings of the largest height."""
    return np.full((1, 1), 8 * np.finfo(np.float64).eps * np.abs(model.y_thresholds_).max())
