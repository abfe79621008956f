"""Thresholds carried back to the client's units, and columns selected in order."""

import numpy as np
import pytest

from onnxpress.converters.from_sklearn.emission import (
    Emission,
    ErrorBounds,
    Origin,
    Part,
    Readings,
    Registry,
    Value,
    carried_back,
)
from onnxpress.converters.graph.builder import DOUBLE
from onnxpress.packages.errors import ConversionRefused
from tests.converters.compiled import run

SCALED = Origin("x", "", lambda values: (values - 0.3) / 7.1)


def test_a_threshold_carried_back_is_the_last_double_below_it() -> None:
    """The result x is not above the threshold, and the next double is."""
    thresholds = np.array([-1e3, -0.1, 0.0, 1e-9, 0.7, 1e6])
    found = carried_back(SCALED, thresholds)
    assert (SCALED.forward(found) <= thresholds).all()
    assert (SCALED.forward(np.nextafter(found, np.inf)) > thresholds).all()


def test_a_threshold_is_carried_back_through_a_logarithm() -> None:
    """Left of the logarithm's domain numpy returns NaN, which counts as below the threshold."""
    origin = Origin("x", "", np.log1p)
    found = carried_back(origin, np.array([-3.0, 0.0, 2.0]))
    assert (origin.forward(found) <= [-3.0, 0.0, 2.0]).all()
    assert (origin.forward(np.nextafter(found, np.inf)) > [-3.0, 0.0, 2.0]).all()


def test_a_falling_function_is_carried_back_too() -> None:
    """For a decreasing function the result is the smallest x whose image is at most the threshold."""
    assert carried_back(Origin("x", "", np.negative), np.array([-2.5])) == pytest.approx(2.5, abs=1e-15)


def test_a_threshold_that_nothing_reaches_is_infinite() -> None:
    """If every x or no x is below the threshold, the result is infinite."""
    origin = Origin("x", "", lambda values: np.clip(values, 0, 1))
    assert carried_back(origin, np.array([2.0, -1.0])).tolist() == [np.inf, -np.inf]


def test_columns_are_selected_across_parts_in_order() -> None:
    """Columns 3, 0 and 1 are selected from a tensor of one column and one of three."""
    g = Emission()
    first, second = g.input("a", "FP64", 1), g.input("b", "FP64", 3)
    value = Value((Part(first, (None,)), Part(second, (None,) * 3)), ("a", "b", "c", "d"))
    taken = g.take(value, [3, 0, 1])
    g.output("output", g.whole(taken), "FP64", 3)
    said = run(g, a=np.array([[1.0]]), b=np.array([[2.0, 3.0, 4.0]]))
    assert said["output"].tolist() == [[4.0, 1.0, 2.0]]
    assert taken.names == ("d", "a", "b")


def test_text_where_numbers_are_needed_is_refused_by_column() -> None:
    """The refusal names the step and the column."""
    g = Emission()
    text = Value((Part(g.input("plan", "BYTES", 1), (Origin("plan", "", lambda values: values),), text=True),))
    with g.step("model", object()), pytest.raises(ConversionRefused, match=r"step model \(object\): .*column plan"):
        g.whole(text)


def test_equal_nodes_are_computed_once_and_unused_ones_left_out() -> None:
    """The finished graph has equal nodes once, and only nodes that its outputs need."""
    g = Emission()
    x = g.input("x", "FP64", 1)
    assert g.add("Neg", x) == g.add("Neg", x)
    g.add("Abs", x)
    g.output("output", g.cast(g.add("Neg", x), DOUBLE), "FP64", 1)
    assert [node.op_type for node in g.model().graph.node] == ["Neg", "Cast", "Identity"]


def test_a_class_is_registered_once() -> None:
    """A second emitter for a class is an error at registration and when registries are merged."""
    first, second = Registry(), Registry()
    first.transformer("Scaler")(lambda _g, _model, value: value)
    second.transformer("Scaler")(lambda _g, _model, value: value)
    with pytest.raises(ValueError, match="registered twice: Scaler"):
        first.transformer("Other", "Scaler")(lambda _g, _model, value: value)
    with pytest.raises(ValueError, match="registered twice: Scaler"):
        first.include(second)


def test_a_booster_is_parsed_once_for_each_model() -> None:
    """The same object is parsed once; another object is parsed again."""
    parsed: list[object] = []
    readings, one, other = Readings(), object(), object()
    for model in (one, one, other, one):
        assert readings.of(model, lambda model: parsed.append(model) or model) is model
    assert parsed == [one, other]


def test_an_error_bound_is_zero_where_none_is_registered() -> None:
    """Without a registered bound it is 0; a registered one can query the bounds of its parts."""

    class Piece:
        pass

    class Whole:
        part = Piece()

    registry = Registry()
    registry.error_bound("Whole")(lambda bounds, model, rows: bounds.of(model.part, rows) + 1.0)
    bounds = ErrorBounds(registry)
    assert bounds.of(Piece(), None).tolist() == [[0.0]]
    assert bounds.of(Whole(), None).tolist() == [[1.0]]
