"""Comparing two answers: tolerances, NaN and infinity, labels that tie, sums, and shapes."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxpress.converters.family import Answer, Schema
from onnxpress.converters.gate import compare
from onnxpress.packages.errors import ConversionRefused
from onnxpress.packages.golden import Golden
from onnxpress.protos.package_pb2 import Layout, Task

REGRESSOR = Schema((), Layout.MATRIX, Task.REGRESSOR, targets=2)
CLASSIFIER = Schema((), Layout.MATRIX, Task.CLASSIFIER, classes=("no", "yes"))


def predicted(values: list[list[float]], tolerance: float = 0.1) -> Answer:
    array = np.array(values)
    return Answer({"prediction": array}, {"prediction": np.full(array.shape, tolerance)})


def classified(labels: list[str], probabilities: list[list[float]], tolerance: float = 0.01) -> Answer:
    array = np.array(probabilities)
    return Answer(
        {"label": np.array(labels, object), "probabilities": array}, {"probabilities": np.full(array.shape, tolerance)}
    )


def test_a_row_is_outside_where_any_entry_exceeds_its_tolerance() -> None:
    """The entry reported for a row is the one farthest beyond its tolerance."""
    found = compare.float_difference(
        predicted([[1.0, 2.0], [1.0, 2.0]]), {"prediction": np.array([[1.05, 2.0], [1.15, 2.5]])}
    )
    assert found.outside.tolist() == [False, True]
    assert found.size[1] == pytest.approx(0.5)


def test_nan_equals_nan_only() -> None:
    """NaN on one side alone is an infinite difference."""
    nan = float("nan")
    found = compare.float_difference(
        predicted([[nan], [nan], [1.0]]), {"prediction": np.array([[nan], [1.0], [nan]], np.float32)}
    )
    assert found.outside.tolist() == [False, True, True]
    assert found.size.tolist() == [0.0, np.inf, np.inf]


def test_what_float32_cannot_hold_may_be_infinite_of_the_same_sign() -> None:
    """1e300 may become infinity in a float32 output, but not minus infinity."""
    found = compare.float_difference(
        predicted([[1e300], [1e300]]), {"prediction": np.array([[np.inf], [-np.inf]], np.float32)}
    )
    assert found.outside.tolist() == [False, True]


def test_labels_may_differ_where_their_probabilities_tie_within_the_tolerance() -> None:
    """Labels may not differ if the probabilities are apart, or tie exactly in both models."""
    answer = classified(["no"] * 3, [[0.501, 0.499], [0.9, 0.1], [0.5, 0.5]])
    compiled = {
        "label": np.array(["yes"] * 3, object),
        "probabilities": np.array([[0.499, 0.501], [0.1, 0.9], [0.5, 0.5]], np.float32),
    }
    assert compare.label_difference(answer, compiled, CLASSIFIER).outside.tolist() == [False, True, True]


def test_a_label_that_is_no_class_is_outside() -> None:
    """A label that is not a class has no probability and cannot tie."""
    answer = classified(["no"], [[0.5, 0.5]], tolerance=1.0)
    compiled = {"label": np.array(["maybe"], object), "probabilities": np.array([[0.4, 0.6]])}
    assert compare.label_difference(answer, compiled, CLASSIFIER).outside.tolist() == [True]


def test_probabilities_must_sum_to_one_where_the_originals_do() -> None:
    """A row must sum to 1 only if the original's does."""
    answer = classified(["no"] * 3, [[0.5, 0.5], [0.5, 0.5], [0.7, 0.7]], tolerance=1e-3)
    compiled = {"probabilities": np.array([[0.5, 0.5], [0.5, 0.51], [0.7, 0.7]])}
    assert compare.sum_difference(answer, compiled).outside.tolist() == [False, True, False]


@pytest.mark.parametrize(
    ("outputs", "reason"),
    [
        ({"prediction": np.zeros((3, 1), np.float32)}, "shape"),
        ({"prediction": np.zeros((3, 2), np.int64)}, "int64"),
        ({"score": np.zeros((3, 2), np.float32)}, "score"),
    ],
)
def test_compiled_outputs_have_the_names_shapes_and_types_of_the_schema(outputs: dict, reason: str) -> None:
    """Other outputs are refused, naming the output."""
    compare.check_compiled({"prediction": np.zeros((3, 2), np.float32)}, REGRESSOR, 3)
    with pytest.raises(ConversionRefused, match=reason):
        compare.check_compiled(outputs, REGRESSOR, 3)


def test_original_outputs_have_the_shapes_of_the_schema() -> None:
    """An original with one target is refused if the schema has two."""
    compare.check_answer(predicted([[1.0, 2.0]]), REGRESSOR, 1)
    with pytest.raises(ConversionRefused, match="shapes"):
        compare.check_answer(predicted([[1.0]]), REGRESSOR, 1)


SCORE = st.sampled_from([0.0, 0.25, 0.49, 0.5, 0.51, 1.0, float("nan"), float("inf")])
LABELS = st.sampled_from(["no", "yes", "maybe"])


@given(st.tuples(SCORE, SCORE), st.tuples(SCORE, SCORE), LABELS, LABELS, st.sampled_from([0.0, 0.01, 0.05, 1.0]))
def test_the_gate_decides_as_the_server_and_the_load_tests(
    original: tuple[float, float], answer: tuple[float, float], expected: str, said: str, tolerance: float
) -> None:
    """The gate accepts an answer exactly if `Golden`, by which stored rows are replayed, finds no difference."""
    stored = classified([expected], [list(original)], tolerance)
    compiled = {"label": np.array([said], object), "probabilities": np.array([answer])}
    outside = [
        compare.float_difference(stored, compiled).outside,
        compare.label_difference(stored, compiled, CLASSIFIER).outside,
    ]
    found = Golden({}, stored.outputs, stored.tolerance).first_difference(compiled, CLASSIFIER.classes)
    assert np.any(outside) == (found is not None)
