"""Values are converted exactly, or the error names the first that cannot be."""

import numpy as np
import pandas as pd
import pytest

from onnxpress.client.errors import RowsError
from onnxpress.client.values import convert_values

NAN = float("nan")


def objects(*values: object) -> np.ndarray:
    array = np.empty(len(values), object)
    array[:] = values
    return array


@pytest.mark.parametrize(
    ("values", "datatype", "expected"),
    [
        (np.array([1.5, NAN]), "FP32", np.array([1.5, NAN], np.float32)),
        (np.array([1, 2]), "FP64", np.array([1.0, 2.0])),
        (np.array([True, False]), "FP32", np.array([1, 0], np.float32)),
        (np.array([1e300]), "FP32", np.array([np.inf], np.float32)),
        (objects(1, 2.5, None, pd.NA, np.True_), "FP64", np.array([1, 2.5, NAN, NAN, 1])),
        (np.array([1.0, -2.0]), "INT64", np.array([1, -2])),
        (np.array([True]), "INT64", np.array([1])),
        (objects(2**53 + 1, 1.0), "INT64", np.array([2**53 + 1, 1])),
        (np.array([-128, 127]), "INT8", np.array([-128, 127], np.int8)),
        (objects(2**64 - 1), "UINT64", np.array([2**64 - 1], np.uint64)),
        (np.array([0, 1]), "BOOL", np.array([False, True])),
        (objects(*[True, False]), "BOOL", np.array([True, False])),
    ],
)
def test_numbers_become_the_input_s_type(values: np.ndarray, datatype: str, expected: np.ndarray) -> None:
    """Missing is NaN, integers stay exact, and the dtype is the input's."""
    converted = convert_values(values, datatype, "column 'x'")
    assert converted.dtype == expected.dtype
    assert np.array_equal(converted, expected, equal_nan=converted.dtype.kind == "f")


@pytest.mark.parametrize(
    "values",
    [
        np.array(["a", "ü"]),
        np.array([b"a", "ü".encode()]),
        objects("a", "ü"),
        objects(b"a", "ü".encode()),
        pd.Series(["a", "ü"], dtype="category").to_numpy(),
        pd.Series(["a", "ü"], dtype="string").to_numpy(),
    ],
)
def test_text_is_python_strings(values: np.ndarray) -> None:
    """Whatever numpy or pandas hold text in."""
    assert convert_values(values, "BYTES", "column 'x'").tolist() == ["a", "ü"]


def test_missing_text_is_empty() -> None:
    """As the converter has it, for None, NaN and pandas' missing."""
    assert convert_values(objects("a", None, NAN, pd.NA), "BYTES", "x").tolist() == ["a", "", "", ""]


@pytest.mark.parametrize(
    ("values", "datatype", "words"),
    [
        (np.array([1.0, NAN]), "INT64", "column 'x' is INT64 and cannot be missing: value 1 is NaN"),
        (objects(1, None), "INT32", "column 'x' is INT32 and cannot be missing: value 1 is None"),
        (objects(np.True_, pd.NA), "BOOL", "column 'x' is BOOL and cannot be missing: value 1 is <NA>"),
        (np.array([1.0, 1.5]), "INT64", "column 'x' is INT64: value 1 is 1.5"),
        (np.array([np.inf]), "INT64", "column 'x' is INT64: value 0 is inf"),
        (np.array([2.0**63]), "INT64", "column 'x' is INT64: value 0 is 9.2"),
        (np.array([1, 128]), "INT8", "column 'x' is INT8: value 1 is 128"),
        (np.array([-1]), "UINT8", "column 'x' is UINT8: value 0 is -1"),
        (objects(2**64), "INT64", "column 'x' is INT64: a value is out of its range"),
        (objects(10**400), "FP64", "column 'x' is FP64: a value is out of its range"),
        (objects(np.float32(1.5)), "INT64", "column 'x' is INT64: value 0 is"),
        (objects(1.5), "INT64", "column 'x' is INT64: value 0 is 1.5 of type float"),
        (np.array([0, 2]), "BOOL", "column 'x' is BOOL: value 1 is 2"),
        (objects(1.0, "many"), "FP32", "column 'x' is FP32: value 1 is 'many' of type str"),
        (np.array(["1"]), "FP32", "column 'x' is FP32, got text"),
        (np.array(["2020-01-01"], "M8[D]"), "INT64", r"column 'x' is INT64, got values of type datetime64\[D\]"),
        (np.array([1j]), "FP64", "column 'x' is FP64, got values of type complex128"),
        (np.array([1]), "BYTES", r"column 'x' is BYTES \(text\), got values of type int64"),
        (objects("a", 5), "BYTES", r"column 'x' is BYTES \(text\): value 1 is 5 of type int"),
        (objects(b"\xff"), "BYTES", "value 0 is not UTF-8"),
        (np.array([1]), "BF16", "datatype BF16, which this client cannot send"),
    ],
)
def test_what_cannot_be_is_named(values: np.ndarray, datatype: str, words: str) -> None:
    """The error names the first wrong value, its row, and the expected datatype."""
    with pytest.raises(RowsError, match=words):
        convert_values(values, datatype, "column 'x'")


def test_the_shape_stays() -> None:
    """A matrix is converted cell by cell."""
    assert convert_values(np.ones((2, 3)), "INT64", "input 'x'").shape == (2, 3)
