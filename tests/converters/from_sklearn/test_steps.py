"""Finding the emitter of a step, and the small graphs that emitters share."""

import numpy as np
import pytest
from sklearn.linear_model import LinearRegression
from sklearn.preprocessing import StandardScaler

from onnxpress.converters.from_sklearn import steps
from onnxpress.converters.from_sklearn.emission import Emission, Part, Registry, Value
from onnxpress.packages.errors import ConversionRefused
from tests.converters.compiled import run

ROWS = np.array([[1.0, 2.0], [3.0, 5.0], [4.0, 9.0]])


def emitted(emit, values: np.ndarray, datatype: str = "FP64", width: int | None = None) -> np.ndarray:
    g = Emission()
    g.output("output", emit(g, g.input("x", "FP64", values.shape[1])), datatype, width)
    return run(g, x=values)["output"]


def value(g: Emission, *, sparse: bool = False) -> Value:
    return Value((Part(g.input("x", "FP64", 2), (None, None)),), sparse=sparse)


def test_the_first_of_equal_scores_wins() -> None:
    """The first of equal scores wins, as in numpy's argmax."""
    scores = np.array([[0.2, 0.4, 0.4], [0.5, 0.5, 0.0], [0.1, 0.2, 0.7]])
    assert emitted(steps.first_of_largest, scores, "INT64").tolist() == [1, 0, 2]


def test_a_single_margin_decides_between_two_classes() -> None:
    """The class is 1 above 0, and at 0 only with `ties_win`."""
    margin = np.array([[-1.0], [0.0], [1.0]])
    assert emitted(steps.first_of_two, margin, "INT64").tolist() == [0, 0, 1]
    assert emitted(lambda g, x: steps.first_of_two(g, x, ties_win=True), margin, "INT64").tolist() == [0, 1, 1]


def test_both_sides_of_a_probability() -> None:
    """The result is [1 - p, p]."""
    assert emitted(steps.both_sides, np.array([[0.25]]), width=2).tolist() == [[0.75, 0.25]]


def test_a_tie_mask_marks_decisions_within_the_error() -> None:
    """A tie is a single score within `lost` of 0, or the two largest of several within twice `lost`."""
    single = steps.tie_mask(np.array([0.05, -0.2]), np.array([[0.1]]))
    assert single.ravel().tolist() == [1.0, 0.0]
    several = steps.tie_mask(np.array([[1.0, 0.9, 0.0], [1.0, 0.7, 0.6]]), np.array([[0.1]]))
    assert several.ravel().tolist() == [1.0, 0.0]


def test_an_estimator_without_an_emitter_is_refused_by_its_name() -> None:
    """A subclass of a supported estimator is refused too, since its `predict` may differ."""

    class Own(LinearRegression):
        pass

    registry = Registry()
    registry.regressor("LinearRegression", "Own")(lambda g, _model, given: g.whole(given))
    g = Emission(registry)
    model = Own().fit(ROWS, ROWS[:, 0])
    with pytest.raises(ConversionRefused, match=r"step last \(Own\): .*Own is not supported as a regressor"):
        steps.regress(g, model, value(g), "last")
    with pytest.raises(ConversionRefused, match="StandardScaler is not supported as a transformer"):
        steps.transform(g, StandardScaler().fit(ROWS), value(g), "scale")


def test_rows_that_an_estimator_refuses_are_nan_unless_inner_models_check_them() -> None:
    """Rows with NaN or infinity give NaN; with checks_rows=False the emitter's output is unchanged."""
    rows = np.array([[1.0, 2.0], [1.0, np.nan], [1.0, np.inf]])
    model = LinearRegression().fit(ROWS, ROWS[:, 0])
    for checks, expected in ((True, [False, True, True]), (False, [False, False, False])):
        registry = Registry()
        registry.regressor("LinearRegression", checks_rows=checks)(
            lambda g, _model, given: steps.column(g, g.whole(given), 0)
        )
        g = Emission(registry)
        g.output("output", steps.regress(g, model, value(g)), "FP64", 1)
        assert np.isnan(run(g, x=rows)["output"]).ravel().tolist() == expected


@pytest.mark.parametrize("keeps", [True, False])
def test_sparseness_survives_the_transformers_that_keep_it(keeps: bool) -> None:
    """A value stays sparse after a transformer that is registered with `keeps_sparse`."""
    registry = Registry()
    registry.transformer("StandardScaler", keeps_sparse=keeps)(lambda g, _model, given: g.opaque(g.whole(given), 2))
    g = Emission(registry)
    assert steps.transform(g, StandardScaler().fit(ROWS), value(g, sparse=True)).sparse == keeps


def test_classes_are_integers_or_text() -> None:
    """Whole floats and booleans become integers; fractions and mixtures are refused."""
    assert steps.whole_classes([1.0, 2.0]) == (1, 2)
    assert steps.whole_classes([False, True]) == (0, 1)
    assert steps.whole_classes(["a", "b"]) == ("a", "b")
    with pytest.raises(ConversionRefused, match="fractions"):
        steps.whole_classes([0.5, 1.0])
    with pytest.raises(ConversionRefused, match="neither all text nor all integers"):
        steps.whole_classes(np.array(["a", 1], object))
