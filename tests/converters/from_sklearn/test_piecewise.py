"""Piecewise functions against numpy."""

import numpy as np

from onnxpress.converters.from_sklearn.emission import Emission
from onnxpress.converters.from_sklearn.piecewise import interpolated
from tests.converters.compiled import run


def said(emit, values):
    g = Emission()
    g.output("output", emit(g, g.input("x", "FP64", 1)), "FP64", 1)
    return run(g, x=values.reshape(-1, 1))["output"].ravel()


def test_interpolates_as_numpy_does_with_repeated_points() -> None:
    """Interpolation equals numpy's between, at and beyond the points; NaN stays NaN."""
    points, heights = np.array([0.0, 1.0, 1.0, 3.0]), np.array([0.0, 0.2, 0.6, 1.0])
    x = np.array([-1.0, 0.0, 0.5, 1.0, np.nextafter(1.0, 0), 2.0, 3.0, 9.0, np.nan])
    made = said(lambda g, tensor: interpolated(g, tensor, points, heights), x)
    np.testing.assert_allclose(made, np.interp(x, points, heights), rtol=1e-15)
