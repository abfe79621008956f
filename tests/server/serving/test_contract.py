"""Requests with values that the original model refuses are refused, naming column and value."""

import struct

import numpy as np
import pytest

from onnxpress.protos.package_pb2 import Layout, Manifest
from onnxpress.server.errors import InvalidRequestError
from onnxpress.server.serving.contract import Contract, read_contract
from onnxpress.server.serving.tensors import TensorSpec

TEXT, NUMBER = TensorSpec("city", "BYTES", (-1, 1)), TensorSpec("floor", "INT64", (-1, 1))
MATRIX = TensorSpec("input", "FP32", (-1, 3))


def contract(*inputs: TensorSpec, **accepts: tuple[str, ...]) -> Contract:
    """The contract of a manifest with these features in order; an empty tuple accepts any value."""
    manifest = Manifest()
    for name, values in accepts.items():
        manifest.features.add(name=name, datatype="FP32", accepts=values)
    return read_contract(manifest, inputs)


def test_an_unknown_category_is_refused() -> None:
    """The error names the column, its first value that is not accepted, and the accepted values."""
    checked = contract(TEXT, NUMBER, city=("Köln", "Ulm"), floor=())
    checked.check([["Ulm", "Köln"], struct.pack("<2q", 7, 8)])
    with pytest.raises(InvalidRequestError, match="column 'city' has the value 'Bonn', expected one of 'Köln', 'Ulm'"):
        checked.check([["Ulm", "Bonn", "Trier"], struct.pack("<3q", 7, 8, 9)])


def test_a_column_of_a_matrix_is_checked() -> None:
    """In a matrix input the checked column, and no other, is checked in every row."""
    checked = contract(MATRIX, a=(), b=("0", "1.5"), c=())
    rows = np.array([[9, 0, 9], [9, 1.5, 9]], np.float32)
    checked.check([rows.tobytes()])
    rows[1, 1] = 2
    with pytest.raises(InvalidRequestError, match=r"column 'b' has the value '2\.0'"):
        checked.check([rows.tobytes()])


def test_nan_is_not_accepted() -> None:
    """A checked column of numbers refuses NaN, as the original model does."""
    with pytest.raises(InvalidRequestError, match="column 'b' has the value 'nan'"):
        contract(MATRIX, a=(), b=("0",), c=()).check([np.array([[1, np.nan, 1]], np.float32).tobytes()])


def test_long_lists_and_values_are_cut() -> None:
    """The message stays short for any number of categories and any length of the value."""
    checked = contract(TEXT, city=tuple(f"city {n}" for n in range(1000)))
    with pytest.raises(InvalidRequestError) as refusal:
        checked.check([["x" * 10_000]])
    assert "'city 9', …" in str(refusal.value)
    assert len(str(refusal.value)) < 300


def test_most_versions_have_no_contract() -> None:
    """A model without a manifest, or whose features accept any value, has no checked columns."""
    assert read_contract(Manifest(), [TEXT]).columns == ()
    assert contract(TEXT, city=()).columns == ()


def test_the_columns_of_a_matrix_are_listed() -> None:
    """The contract lists the column names of a matrix input in order; in the columns layout it lists none."""
    manifest = Manifest(layout=Layout.MATRIX)
    for name in ("b", "a"):
        manifest.features.add(name=name, datatype="FP32")
    assert read_contract(manifest, [MATRIX]).features == ("b", "a")
    manifest.layout = Layout.COLUMNS
    assert read_contract(manifest, [MATRIX]).features == ()
    assert read_contract(Manifest(), [MATRIX]).features == ()
