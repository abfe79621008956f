"""The inverse of the normal distribution."""

import numpy as np
from scipy.stats import norm

from onnxpress.converters.from_sklearn.emission import Emission
from onnxpress.converters.from_sklearn.normal import inverse_normal
from tests.converters.compiled import run

TAILS = np.concatenate([10.0 ** np.arange(-200, -1, 3), np.linspace(0.01, 0.99, 99), 1 - 10.0 ** np.arange(-15, -1)])


def inverse(values: np.ndarray) -> np.ndarray:
    g = Emission()
    g.output("output", inverse_normal(g, g.input("x", "FP64", 1)), "FP64", 1)
    return run(g, x=values.reshape(-1, 1))["output"].ravel()


def test_is_scipys_to_fifteen_digits_even_in_the_tails() -> None:
    """The result equals scipy's to 15 digits from 1e-200 to 1 - 1e-15."""
    np.testing.assert_allclose(inverse(TAILS), norm.ppf(TAILS), rtol=2e-15, atol=1e-15)


def test_is_odd_about_one_half() -> None:
    """Both halves mirror each other bit by bit if the arguments do."""
    values = np.array([0.25, 0.125, 2.0**-30])
    assert inverse(1 - values).tolist() == (-inverse(values)).tolist()


def test_the_ends_are_large_numbers_of_their_sign() -> None:
    """0 and 1 give finite numbers, as in the original, which clips them."""
    low, high = inverse(np.array([0.0, 1.0]))
    assert np.isfinite([low, high]).all()
    assert low < -30
    assert high > 30
