"""Piecewise functions and the inverse normal against numpy and scipy."""

import numpy as np
import pytest
from scipy.stats import norm

from onnxpress.converters.from_sklearn.emission import Emission
from onnxpress.converters.from_sklearn.functions import expm1, log1p
from onnxpress.converters.from_sklearn.links import sigmoid
from onnxpress.converters.from_sklearn.normal import inverse_normal
from onnxpress.converters.from_sklearn.piecewise import interpolated
from tests.converters.compiled import run

TAILS = np.concatenate([10.0 ** np.arange(-200, -1, 3), np.linspace(0.01, 0.99, 99), 1 - 10.0 ** np.arange(-15, -1)])
WIDE = np.concatenate([np.linspace(-40, 40, 321), 10.0 ** np.arange(-18, 0), -(10.0 ** np.arange(-18, 0))])


def said(emit, values):
    g = Emission()
    g.output("output", emit(g, g.input("x", "FP64", 1)), "FP64", 1)
    return run(g, x=values.reshape(-1, 1))["output"].ravel()


def test_interpolates_as_numpy_does_with_repeated_points() -> None:
    """Between, on, and beyond the points; NaN stays NaN."""
    points, heights = np.array([0.0, 1.0, 1.0, 3.0]), np.array([0.0, 0.2, 0.6, 1.0])
    x = np.array([-1.0, 0.0, 0.5, 1.0, np.nextafter(1.0, 0), 2.0, 3.0, 9.0, np.nan])
    made = said(lambda g, tensor: interpolated(g, tensor, points, heights), x)
    np.testing.assert_allclose(made, np.interp(x, points, heights), rtol=1e-15)


@pytest.mark.parametrize(
    ("emit", "function", "x"),
    [
        (inverse_normal, norm.ppf, TAILS),
        (log1p, np.log1p, WIDE[np.abs(WIDE) < 1]),
        (expm1, np.expm1, WIDE),
        (sigmoid, lambda x: 1 / (1 + np.exp(-x)), WIDE),
    ],
)
def test_functions_are_good_to_the_last_digits_of_float64(emit, function, x) -> None:
    """Where rounding 1 + x first would lose all digits, too."""
    np.testing.assert_allclose(said(emit, x), function(x), rtol=4e-15)
