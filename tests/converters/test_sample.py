"""Training rows: from arrays, frames and files to typed columns and tensors."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from onnxpress import ConversionRefused
from onnxpress.converters.family import Column, Schema
from onnxpress.converters.sample import columns, datatype_of, feeds, frame_of, read_rows, select, sent, typed
from onnxpress.protos.package_pb2 import Layout, Task


def schema_of(layout: Any, *pairs: tuple[str, str]) -> Schema:
    return Schema(tuple(Column(name, datatype) for name, datatype in pairs), layout, Task.REGRESSOR)


def test_arrays_get_names() -> None:
    """Columns of an array are f0 to fN-1; object arrays are typed column by column."""
    assert list(frame_of(np.zeros((2, 3))).columns) == ["f0", "f1", "f2"]
    mixed = frame_of(np.array([["a", 1], ["b", 2]], dtype=object))
    assert [datatype_of(name, mixed[name]) for name in mixed] == ["BYTES", "INT64"]


@pytest.mark.parametrize(
    ("sample", "reason"),
    [
        (np.zeros(3), "1 dimension"),
        (np.zeros((0, 3)), "empty: 0 rows"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "share a name: a"),
    ],
)
def test_refuses_what_is_no_table(sample: Any, reason: str) -> None:
    """A one-dimensional array, no rows, and two columns of one name are refused."""
    with pytest.raises(ConversionRefused, match=reason):
        frame_of(sample)


@pytest.mark.parametrize(
    ("values", "datatype"),
    [
        (pd.Series([1.5, None]), "FP64"),
        (pd.Series([1.5], dtype="float32"), "FP32"),
        (pd.Series([1.5], dtype="Float32"), "FP32"),
        (pd.Series([1, 2], dtype="uint8"), "INT64"),
        (pd.Series([1, None], dtype="Int64"), "FP64"),
        (pd.Series([True, False]), "BOOL"),
        (pd.Series([True, None], dtype="boolean"), "FP32"),
        (pd.Series([True, None], dtype=object), "FP32"),
        (pd.Series(["a", None], dtype=object), "BYTES"),
        (pd.Series(["a"], dtype="string"), "BYTES"),
        (pd.Series(["a", "b"], dtype="category"), "BYTES"),
        (pd.Series([3, 5], dtype="category"), "INT64"),
        (pd.Series([3, None], dtype="category"), "FP64"),
        (pd.Series([1, 2.5], dtype=object), "FP64"),
    ],
)
def test_datatypes(values: "pd.Series[Any]", datatype: str) -> None:
    """The datatype of each pandas type."""
    assert datatype_of("x", values) == datatype


@pytest.mark.parametrize(
    "values", [pd.Series(["a", 1], dtype=object), pd.Series(pd.to_datetime(["2020-01-01"])), pd.Series([1j])]
)
def test_refuses_dates_and_mixtures(values: "pd.Series[Any]") -> None:
    """Dates and mixed columns have no datatype; the refusal names the column."""
    with pytest.raises(ConversionRefused, match="column 'when'"):
        datatype_of("when", values)


def test_layouts() -> None:
    """`auto` is matrix for numbers alone; matrix refuses text, naming the column."""
    numbers = pd.DataFrame({"a": [1.0], "b": [2]})
    assert columns(numbers, "auto") == (Layout.MATRIX, (Column("a", "FP32"), Column("b", "FP32")))
    assert columns(numbers, "columns") == (Layout.COLUMNS, (Column("a", "FP64"), Column("b", "INT64")))
    mixed = numbers.assign(c=["x"])
    assert columns(mixed, "auto")[0] == Layout.COLUMNS
    with pytest.raises(ConversionRefused, match="'c' \\(BYTES\\)"):
        columns(mixed, "matrix")


def test_select_orders_drops_and_names() -> None:
    """Columns are put into the model's order without the target; arrays match by position; missing ones are named."""
    frame = pd.DataFrame({"b": [1], "target": [0], "a": [2]})
    assert list(select(frame, ["a", "b"]).columns) == ["a", "b"]
    assert select(frame_of(np.array([[7, 8]])), ["a", "b"]).to_dict("list") == {"a": [7], "b": [8]}
    with pytest.raises(ConversionRefused, match="lacks 1 of the model's 2 features: 'größe ü'"):
        select(frame, ["a", "größe ü"])


def test_typed_text_keeps_none() -> None:
    """Missing text is None, never NaN, for every pandas type."""
    schema = schema_of(Layout.COLUMNS, ("t", "BYTES"), ("n", "FP64"), ("i", "INT64"))
    frame = pd.DataFrame({"t": ["a", np.nan], "n": pd.Series([1, None], dtype="Int64"), "i": [1, 2]})
    rows = typed(frame, schema)
    assert rows["t"].to_list() == ["a", None]
    assert rows.dtypes.to_list() == [object, np.float64, np.int64]
    assert np.isnan(rows["n"].iloc[1])


def test_sent_rounds_what_clients_send_as_float32() -> None:
    """Doubles of FP32 columns are rounded to float32; those of FP64 columns are unchanged."""
    rows = pd.DataFrame({"a": [0.1, 1e300], "b": [0.1, 1e300]})
    found = sent(rows, schema_of(Layout.COLUMNS, ("a", "FP32"), ("b", "FP64")))
    assert found["a"].to_list() == [float(np.float32(0.1)), np.inf]
    assert found["b"].to_list() == [0.1, 1e300]


def test_feeds() -> None:
    """The tensors are one float32 matrix, or one [rows, 1] tensor a column with missing text empty."""
    matrix = feeds(pd.DataFrame({"a": [1.0], "b": [2.0]}), schema_of(Layout.MATRIX, ("a", "FP32"), ("b", "FP32")))
    assert matrix["input"].dtype == np.float32
    assert matrix["input"].tolist() == [[1.0, 2.0]]
    schema = schema_of(Layout.COLUMNS, ("x y", "BYTES"), ("n", "INT64"), ("f", "BOOL"))
    fed = feeds(typed(pd.DataFrame({"x y": ["ä", None], "n": [2**53 + 1, 1], "f": [True, False]}), schema), schema)
    assert fed["x y"].tolist() == [["ä"], [""]]
    assert fed["n"].tolist() == [[2**53 + 1], [1]]
    assert fed["f"].dtype == np.bool_


def test_reads_csv_and_parquet_alike(tmp_path: Path) -> None:
    """Both files give the same rows; other suffixes are refused."""
    frame = pd.DataFrame({"größe ü": [1.5, 2.5], "text": ["a", "b"]})
    frame.to_csv(tmp_path / "rows.csv", index=False)
    frame.to_parquet(tmp_path / "rows.parquet")
    assert read_rows(tmp_path / "rows.csv").equals(read_rows(tmp_path / "rows.parquet"))
    with pytest.raises(ConversionRefused, match=r"rows\.xlsx: training rows come as \.csv or \.parquet"):
        read_rows(tmp_path / "rows.xlsx")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(ConversionRefused, match="cannot be read as parquet"):
        read_rows(tmp_path / "broken.parquet")
    (tmp_path / "empty.csv").write_bytes(b"")
    with pytest.raises(ConversionRefused, match="cannot be read as csv"):
        read_rows(tmp_path / "empty.csv")
