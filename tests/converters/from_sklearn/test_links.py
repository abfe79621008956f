"""The links of scikit-learn's losses, and the effect of a margin's error on the answer."""

import numpy as np
import pytest
from scipy.special import expit

from onnxpress.converters.from_sklearn.emission import Emission
from onnxpress.converters.from_sklearn.links import INVERSES, carried, normalized, sigmoid
from tests.converters.compiled import run

MARGINS = np.array([[-700.0, -30.0, -1.0], [0.0, 1e-9, 0.5], [2.0, 30.0, 300.0]])


def emitted(emit, values: np.ndarray) -> np.ndarray:
    g = Emission()
    g.output("output", emit(g, g.input("x", "FP64", values.shape[1])), "FP64", values.shape[1])
    return run(g, x=values)["output"]


@pytest.mark.parametrize("name", sorted(INVERSES))
def test_graph_and_numpy_agree(name: str) -> None:
    """The inverse link as a graph and in numpy agree to float64."""
    emit, apply = INVERSES[name]
    np.testing.assert_allclose(emitted(emit, MARGINS), apply(MARGINS), rtol=1e-14, atol=1e-300)


def test_the_sigmoid_is_accurate_in_its_tail() -> None:
    """The emitted sigmoid is accurate where ONNX's Sigmoid is not."""
    np.testing.assert_allclose(emitted(sigmoid, MARGINS), expit(MARGINS), rtol=1e-14)


def test_rows_are_normalized_by_their_sum() -> None:
    """Each row sums to 1."""
    assert emitted(normalized, np.array([[1.0, 3.0], [2.0, 2.0]])).tolist() == [[0.25, 0.75], [0.5, 0.5]]


@pytest.mark.parametrize("name", sorted(INVERSES))
def test_the_carried_error_covers_every_margin_within_the_loss(name: str) -> None:
    """For random margins changed by at most `lost`, no answer changes by more than the bound."""
    random = np.random.default_rng(0)
    apply = INVERSES[name][1]
    margin, lost = random.normal(size=(200, 3)), np.full((200, 3), 1e-3)
    bound = carried(name, margin, lost)
    for _ in range(20):
        moved = np.abs(apply(margin + random.uniform(-1, 1, margin.shape) * lost) - apply(margin))
        assert (moved <= bound + 1e-15).all()
    assert bound.max() < 0.1
