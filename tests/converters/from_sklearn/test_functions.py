"""Functions of single cells against numpy."""

import numpy as np
import pytest

from onnxpress.converters.from_sklearn.emission import Emission
from onnxpress.converters.from_sklearn.functions import expm1, log1p
from tests.converters.compiled import run

WIDE = np.concatenate([np.linspace(-40, 40, 321), 10.0 ** np.arange(-18, 0), -(10.0 ** np.arange(-18, 0))])


@pytest.mark.parametrize(
    ("emit", "function", "x"), [(log1p, np.log1p, WIDE[np.abs(WIDE) < 1]), (expm1, np.expm1, WIDE)]
)
def test_functions_are_accurate_to_the_last_digits_of_float64(emit, function, x) -> None:
    """The functions are accurate also where rounding 1 + x first would lose all digits."""
    g = Emission()
    g.output("output", emit(g, g.input("x", "FP64", 1)), "FP64", 1)
    np.testing.assert_allclose(run(g, x=x.reshape(-1, 1))["output"].ravel(), function(x), rtol=4e-15)
