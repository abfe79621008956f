"""libsvm's coupling of pairwise probabilities."""

import numpy as np
from sklearn.svm import SVC

from onnxpress.converters.from_sklearn.coupling import FLOOR, coupled
from onnxpress.converters.from_sklearn.emission import Emission
from tests.converters.compiled import run

PAIRS = [(0, 1), (0, 2), (1, 2)]


def probabilities(pairwise: np.ndarray, pairs: list[tuple[int, int]] = PAIRS, classes: int = 3) -> np.ndarray:
    g = Emission()
    g.output("output", coupled(g, g.input("x", "FP64", len(pairs)), pairs, classes), "FP64", classes)
    return run(g, x=pairwise)["output"]


def test_consistent_pairs_give_their_probabilities_back() -> None:
    """For pairs p_i / (p_i + p_j) the result is p."""
    expected = np.array([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8], [1 / 3, 1 / 3, 1 / 3]])
    pairwise = np.column_stack([expected[:, i] / (expected[:, i] + expected[:, j]) for i, j in PAIRS])
    np.testing.assert_allclose(probabilities(pairwise), expected, atol=2e-3)


def test_rows_sum_to_one_and_do_not_depend_on_each_other() -> None:
    """Rows that converge early do not change afterwards: alone and in a batch they give the same float32."""
    pairwise = np.random.default_rng(1).uniform(0.01, 0.99, (40, 3))
    whole = probabilities(pairwise)
    np.testing.assert_allclose(whole.sum(axis=1), 1.0, rtol=1e-12)
    alone = np.concatenate([probabilities(pairwise[row : row + 1]) for row in range(40)])
    assert alone.astype(np.float32).tobytes() == whole.astype(np.float32).tobytes()


def test_certain_pairs_are_clipped() -> None:
    """0 and 1 count as FLOOR and 1 - FLOOR, as in libsvm."""
    assert (
        probabilities(np.array([[0.0, 1.0, 1.0]])).tolist()
        == probabilities(np.array([[FLOOR, 1 - FLOOR, 1 - FLOOR]])).tolist()
    )


def test_four_classes_have_six_pairs() -> None:
    """The pairs are in scikit-learn's order: an SVC of four classes has six columns."""
    pairs = [(i, j) for i in range(4) for j in range(i + 1, 4)]
    rows = np.random.default_rng(0).normal(size=(40, 2))
    model = SVC(decision_function_shape="ovo").fit(rows, np.arange(40) % 4)
    assert model.decision_function(rows).shape[1] == len(pairs)
    np.testing.assert_allclose(probabilities(np.full((2, 6), 0.5), pairs, 4), 0.25, rtol=1e-12)
