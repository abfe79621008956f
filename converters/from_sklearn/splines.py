"""SplineTransformer: the basis splines of each column as one polynomial in each interval between knots."""

from typing import Any

import numpy as np
from scipy.interpolate import BSpline, PPoly

from onnxpress.converters.from_sklearn.emission import Doubles, Emission, Part, Registry, Value
from onnxpress.converters.from_sklearn.piecewise import reached
from onnxpress.converters.graph.builder import INT64

EMITTERS = Registry()


@EMITTERS.transformer("SplineTransformer")
def splines(g: Emission, model: Any, value: Value) -> Value:
    if model.extrapolation == "periodic" or getattr(model, "handle_missing", "error") != "error":
        raise g.refused("periodic extrapolation and handle_missing are not supported: use constant, linear or continue")
    if model.extrapolation == "linear" and model.degree <= 1 and len(model.bsplines_) > 1:
        raise g.refused(
            "scikit-learn takes the wrong knots for linear extrapolation of degree 1 behind the first column"
        )
    parts = []
    for index, spline in enumerate(model.bsplines_):
        x = g.whole(g.take(value, [index]))
        columns = spline.c.shape[1] - (0 if model.include_bias else 1)
        parts.append(Part(_column(g, model, spline, x, columns), (None,) * columns))
    return Value(tuple(parts), sparse=bool(getattr(model, "sparse_output", False)))


def _column(g: Emission, model: Any, spline: Any, x: str, columns: int) -> str:
    """DOUBLE [rows, columns] of DOUBLE [rows, 1]; NaN where the original refuses x."""
    low, high = float(spline.t[spline.k]), float(spline.t[-spline.k - 1])
    knots, powers = _polynomials(spline, columns)
    inside = g.add("Min", g.add("Max", x, g.double(low)), g.double(high))
    at = x if model.extrapolation == "continue" else inside
    steps = reached(g, inside, knots[1:-1]) if len(knots) > 2 else g.add("Mul", inside, g.double(0.0))
    finite = g.add("Where", g.add("IsNaN", steps), g.double(0.0), steps)
    place = g.add("Reshape", g.cast(finite, INT64), g.int64(-1))
    start = g.add("Reshape", g.add("Gather", g.double(knots[:-1]), place, axis=0), g.int64(-1, 1))
    made = _horner(g, powers, place, g.add("Sub", at, start))
    if model.extrapolation == "linear":
        slopes = powers[:-1] * np.arange(len(powers) - 1, 0, -1).reshape(-1, 1, 1)
        slope = _horner(g, slopes, place, g.add("Sub", inside, start))
        made = g.add("Add", made, g.add("Mul", slope, g.add("Sub", x, inside)))
    if model.extrapolation == "error":
        outside = g.add("Or", g.add("Less", x, g.double(low)), g.add("Greater", x, g.double(high)))
        made = g.add("Where", outside, g.double(np.nan), made)
    return g.add("Add", made, g.add("Mul", x, g.double(0.0)))


def _polynomials(spline: Any, columns: int) -> tuple[Doubles, Doubles]:
    """The knots between which x may lie, and coefficients [power, interval, column], the highest power first."""
    coefficients = np.asarray(spline.c, np.float64)[:, :columns]
    pieces = [PPoly.from_spline(BSpline(spline.t, coefficients[:, place], spline.k)) for place in range(columns)]
    first, last = spline.k, len(spline.t) - spline.k - 1
    return np.asarray(spline.t[first : last + 1]), np.stack([piece.c[:, first:last] for piece in pieces], axis=2)


def _horner(g: Emission, powers: Doubles, place: str, x: str) -> str:
    made = ""
    for table in powers:
        term = g.add("Gather", g.double(table), place, axis=0)
        made = g.add("Add", g.add("Mul", made, x), term) if made else term
    return made
