"""Inputs and categories as features."""

import numpy as np
import pandas as pd
import pytest

from onnxpress.converters import sample as rows_of
from onnxpress.converters.family import (
    Column,
    Schema,
)
from onnxpress.converters.graph.builder import Graph
from onnxpress.converters.graph.inputs import (
    REFUSED,
    CategorySet,
    Codes,
    add_inputs,
    add_memberships,
    refuse_ambiguous_blanks,
)
from onnxpress.packages.errors import ConversionRefused
from onnxpress.protos.package_pb2 import Layout, Task
from tests.converters.compiled import run

NAN = float("nan")


def encoded(codes: Codes, datatype: str, values: list[object]) -> list[float]:
    """The codes of one column's values."""
    schema = Schema((Column("a", datatype),), Layout.COLUMNS, Task.REGRESSOR)
    graph = Graph()
    graph.output("output", add_inputs(graph, schema, {0: codes}), "FP32", 1)
    frame = pd.DataFrame({"a": pd.Series(values, dtype=object if datatype == "BYTES" else None)})
    return run(graph, **rows_of.feeds(rows_of.typed(frame, schema), schema))["output"].ravel().tolist()


def test_text_is_its_place_in_the_categories() -> None:
    """Known text has its code, missing text is NaN, unknown text is refused; case and accents count."""
    codes = Codes(("rot", "grün", "b"), REFUSED)
    found = encoded(codes, "BYTES", ["grün", "rot", None, "Rot", "gru\u0308n", "b"])
    np.testing.assert_array_equal(found, [1.0, 0.0, NAN, -1.0, -1.0, 2.0])


def test_the_empty_string_can_be_a_category() -> None:
    """If the empty string is a category of the model, it is not a missing value."""
    assert encoded(Codes(("", "x"), NAN), "BYTES", ["", "x"]) == [0.0, 1.0]


def test_an_empty_category_beside_missing_values_is_refused() -> None:
    """Clients send "" for both, so a column with both is refused; without missing values it is the category."""
    codes = {1: Codes(("", "x"), NAN)}
    frame = pd.DataFrame({"a": [1.0, NAN], "b": pd.Series(["x", None], dtype=object)})
    with pytest.raises(ConversionRefused, match="column 'b' has missing values, and the empty string"):
        refuse_ambiguous_blanks(frame, codes)
    refuse_ambiguous_blanks(frame.assign(b=["x", ""]), codes)


@pytest.mark.parametrize("datatype", ["FP32", "FP64"])
def test_a_fraction_is_no_category(datatype: str) -> None:
    """Whole numbers have their code, fractions and infinities are unknown, NaN is missing."""
    found = encoded(Codes((3, 7, 100), REFUSED), datatype, [7.0, 7.5, NAN, 100.0, np.inf, -np.inf, 3.0])
    np.testing.assert_array_equal(found, [1.0, -1.0, NAN, 2.0, -1.0, -1.0, 0.0])


def test_booleans_and_integers_are_categories_too() -> None:
    """A BOOL column is looked up as 0 and 1, an INT64 column exactly beyond 2^53."""
    assert encoded(Codes((0, 1), NAN), "BOOL", [True, False]) == [1.0, 0.0]
    assert encoded(Codes((2**60, 2**60 + 1), REFUSED), "INT64", [2**60 + 1, 2**60, 2**60 + 2]) == [1.0, 0.0, -1.0]


def test_columns_keep_their_order_whatever_their_types() -> None:
    """Features are in the schema's order, all cast to one type."""
    types = ("FP64", "INT64", "BYTES", "BOOL", "FP32", "FP32")
    schema = Schema(tuple(Column(f"c{i}", kind) for i, kind in enumerate(types)), Layout.COLUMNS, Task.REGRESSOR)
    row = pd.DataFrame({"c0": [0.5], "c1": [2], "c2": ["y"], "c3": [True], "c4": [4.5], "c5": [5.5]})
    for double in (False, True):
        graph = Graph()
        graph.output(
            "output",
            add_inputs(graph, schema, {2: Codes(("x", "y"), NAN)}, double=double),
            "FP64" if double else "FP32",
            6,
        )
        assert run(graph, **rows_of.feeds(rows_of.typed(row, schema), schema))["output"].tolist() == [
            [0.5, 2.0, 1.0, 1.0, 4.5, 5.5]
        ]


def test_a_matrix_has_codes_among_its_numbers() -> None:
    """Only the columns with categories are encoded."""
    schema = Schema(tuple(Column(f"c{i}", "FP32") for i in range(4)), Layout.MATRIX, Task.REGRESSOR)
    graph = Graph()
    graph.output("output", add_inputs(graph, schema, {1: Codes((5, 6), NAN), 3: Codes((8,), NAN)}), "FP32", 4)
    found = run(graph, input=np.array([[0.5, 6, 2.5, 8]], np.float32))["output"]
    assert found.tolist() == [[0.5, 1.0, 2.5, 0.0]]


@pytest.mark.parametrize("wide", [1, 40_000])
@pytest.mark.parametrize("double", [False, True])
@pytest.mark.parametrize(("truncates", "minus_half"), [(True, 1.0), (False, 0.0)])
def test_membership_is_a_lookup(wide: int, double: bool, truncates: bool, minus_half: float) -> None:
    """Codes are truncated; codes in no set, below zero and NaN have their own results."""
    sets = [
        CategorySet(0, (0, 3), missing=False),
        CategorySet(0, (wide,), missing=True),
        *(CategorySet(0, (7,), missing=False) for _ in range(5)),
        CategorySet(1, (2,), missing=False),
    ]
    kind = np.float64 if double else np.float32
    graph = Graph()
    rows = graph.input("input", "FP64" if double else "FP32", 2)
    members = add_memberships(graph, rows, sets, double=double, truncates=truncates)
    graph.output("output", members, "FP64" if double else "FP32", len(sets))
    codes = [0.0, 3.9, -0.5, -1.0, NAN, 4.0, 1e30, np.inf, -np.inf, -0.0]
    found = run(graph, input=np.array([[code, 2.0] for code in codes], kind))["output"]
    assert found[:, 0].tolist() == [1.0, 1.0, minus_half, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0]
    assert found[:, 1].tolist() == [0.0] * 4 + [1.0] + [0.0] * 5
    assert found[:, -1].tolist() == [1.0] * len(codes)
