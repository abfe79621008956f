"""Rows in every accepted form, converted to the inputs of a model."""

from typing import Any

import numpy as np
import pandas as pd
import pytest

from onnxpress.client.errors import RowsError
from onnxpress.client.rows import fit
from onnxpress.client.signature import Input, Signature

COLUMNS = Signature((Input("age", "INT64", (-1, 1)), Input("city", "BYTES", (-1, 1))))
FLAT = Signature((Input("age", "INT64", (-1,)), Input("size", "FP32", (-1,))))
MATRIX = Signature((Input("input", "FP32", (-1, 2)),), ("a", "b"))
NAMELESS = Signature((Input("input", "FP32", (-1, 2)),))
ONE = Signature((Input("input", "FP32", (-1, 1)),), ("a",))
PLAIN_ONE = Signature((Input("x", "FP32", (-1, 1)),))
WEIGHTED = Signature((Input("x", "FP32", (-1, 2)), Input("scale", "FP32", (1,))))
FRAME = pd.DataFrame({"city": ["Ulm", "Köln"], "age": [3, 4]})


@pytest.mark.parametrize(
    "rows",
    [
        FRAME,
        FRAME.to_dict("records"),
        {"age": np.array([3, 4]), "city": ["Ulm", "Köln"]},
        {"age": np.array([[3], [4]]), "city": pd.Series(["Ulm", "Köln"])},
        np.array([("Ulm", 3), ("Köln", 4)], [("city", "U9"), ("age", "i4")]),
    ],
)
def test_columns_are_found_by_name(rows: Any) -> None:
    """Each input gets its own column as [rows, 1], whatever the order they come in."""
    (age, city), ordered = fit(rows, COLUMNS)
    assert (age.tolist(), age.dtype, city.tolist()) == ([[3], [4]], np.int64, [["Ulm"], ["Köln"]])
    assert not ordered


@pytest.mark.parametrize("rows", [pd.DataFrame({"b": [1, 2], "a": [3, 4]}), [{"b": 1, "a": 3}, {"a": 4, "b": 2}]])
def test_a_matrix_is_filled_in_the_model_s_order(rows: Any) -> None:
    """Columns are ordered by name, and the result says that they were."""
    (matrix,), ordered = fit(rows, MATRIX)
    assert matrix.tolist() == [[3, 1], [4, 2]]
    assert (matrix.dtype, ordered) == (np.float32, True)


@pytest.mark.parametrize(
    ("rows", "signature", "expected"),
    [
        (np.ones((3, 2)), MATRIX, [(3, 2)]),
        ({"input": np.ones((3, 2))}, NAMELESS, [(3, 2)]),
        ({"input": [[1, 2], [3, 4]]}, MATRIX, [(2, 2)]),
        (np.ones((3, 2)), FLAT, [(3,), (3,)]),
        (np.ones(3), PLAIN_ONE, [(3, 1)]),
        ({"x": [1, 2]}, PLAIN_ONE, [(2, 1)]),
        ([{"a": 1}, {"a": 2}], ONE, [(2, 1)]),
        ({"input": np.ones((2, 1))}, ONE, [(2, 1)]),
        ({"age": [1], "size": np.ones((1, 1))}, FLAT, [(1,), (1,)]),
        ({"x": np.ones((3, 2)), "scale": np.ones(1)}, WEIGHTED, [(3, 2), (1,)]),
    ],
)
def test_arrays_get_the_shape_of_their_input(rows: Any, signature: Signature, expected: list[tuple[int, ...]]) -> None:
    """By position where they have no names; one value a row may come flat or as a column."""
    arrays, _ = fit(rows, signature)
    assert [array.shape for array in arrays] == expected


@pytest.mark.parametrize(
    ("rows", "signature", "words"),
    [
        (FRAME[["age"]], COLUMNS, "^missing column 'city': the model takes 'age', 'city'$"),
        (FRAME.assign(x=1), COLUMNS, "^unexpected column 'x': the model takes"),
        (FRAME.rename(columns={"age": "Age"}), COLUMNS, "missing column 'age' and unexpected column 'Age'"),
        (pd.DataFrame([[1, 2]], columns=["age", "age"]), COLUMNS, "columns that share a name: 'age'"),
        ([{"a": 1, "b": 2}, {"a": 1}], MATRIX, "row 1 and row 0 differ in columns: 'b'"),
        ({"a": [1, 2], "b": [1]}, MATRIX, "columns differ in rows: 'a' has 2, 'b' has 1"),
        ({"a": [1], "b": np.ones((1, 2))}, MATRIX, r"column 'b' has shape \[1, 2\], expected one value per row"),
        ({"a": 1, "b": 2}, MATRIX, "column 'a' is one value, expected an array; for one row give a list with one dict"),
        (FRAME, NAMELESS, "does not name its columns: give a 2-D array"),
        (FRAME, MATRIX, "missing columns 'a', 'b' and unexpected columns 'city', 'age'"),
        (np.ones((2, 3)), MATRIX, r"input 'input' has shape \[2, 3\], expected \[-1, 2\] with -1 for any size"),
        (np.ones((2, 3)), FLAT, "the array has 3 columns, expected 2: 'age', 'size'"),
        (np.ones(3), FLAT, "the model takes 2 inputs, 'age', 'size': give a DataFrame"),
        (np.ones((0, 2)), MATRIX, "there are no rows"),
        (FRAME[:0], COLUMNS, "there are no rows"),
        ([], COLUMNS, "there are no rows"),
        ({}, COLUMNS, "missing columns 'age', 'city'"),
        ("age", COLUMNS, "rows of type str: expected a DataFrame"),
        (7, COLUMNS, "rows of type int: expected a DataFrame"),
        ([[1, 2]], COLUMNS, "rows of type list: expected a DataFrame"),
        (FRAME.assign(age=["x", "y"]), COLUMNS, "column 'age' is INT64: value 0 is 'x' of type str|got text"),
        ({"a": [1], "b": ["x"]}, MATRIX, "column 'b' is FP32: value 0 is 'x'"),
        (np.array([["x", "y"]]), MATRIX, "input 'input' is FP32, got text"),
    ],
)
def test_rows_that_do_not_fit_say_why(rows: Any, signature: Signature, words: str) -> None:
    """The message names the column, what was expected and what was given."""
    with pytest.raises(RowsError, match=words):
        fit(rows, signature)


def test_a_long_list_is_cut() -> None:
    """A model of a thousand columns does not print a thousand names."""
    wide = Signature((Input("input", "FP32", (-1, 1000)),), tuple(f"f{index}" for index in range(1000)))
    with pytest.raises(RowsError, match=r"missing columns 'f0', .*'f7' and 992 more and unexpected") as caught:
        fit([{"x": 1}], wide)
    assert len(str(caught.value)) < 300
