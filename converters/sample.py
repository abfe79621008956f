"""The training rows: reads them from an array, a frame or a file, types their columns, and makes tensors of them."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from onnxpress.converters.family import (
    Column,
    Schema,
    Tensors,
)
from onnxpress.packages.datatypes import COLUMN_DATATYPES, DATATYPES
from onnxpress.packages.errors import ConversionRefused
from onnxpress.protos.package_pb2 import Layout

# The original receives doubles; `sent` rounds them to the float32 that a client can send.
NUMPY_TYPES: dict[str, Any] = {
    name: np.dtype(np.float64) if name == "FP32" else DATATYPES[name].dtype for name in COLUMN_DATATYPES
}


def frame_of(sample: Any) -> pd.DataFrame:
    """Training rows as a frame with text names; a 2-D array's columns are named f0 to fN-1.

    Raises ConversionRefused if they are not a table, have no rows or no columns, or have two columns of one name.
    """
    if isinstance(sample, pd.DataFrame):
        frame = sample.reset_index(drop=True)
        frame.columns = pd.Index([str(name) for name in frame.columns])
    else:
        array = np.asarray(sample)
        if array.ndim != 2:
            raise ConversionRefused(f"the sample must be a table of rows: got {array.ndim} dimension(s), not 2")
        frame = pd.DataFrame(array, columns=[f"f{index}" for index in range(array.shape[1])])
        frame = frame.infer_objects() if array.dtype == np.object_ else frame
    if not frame.shape[0] or not frame.shape[1]:
        raise ConversionRefused(f"the sample is empty: {frame.shape[0]} rows of {frame.shape[1]} columns")
    if not frame.columns.is_unique:
        twice = sorted(set(frame.columns[frame.columns.duplicated()]))
        raise ConversionRefused(f"the sample has columns that share a name: {', '.join(twice)}")
    return frame


def read_rows(path: Path) -> pd.DataFrame:
    """Training rows of a .csv or .parquet file; raises ConversionRefused when it is neither, missing or broken."""
    readers: dict[str, Any] = {".csv": pd.read_csv, ".parquet": pd.read_parquet}
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise ConversionRefused(f"{path.name}: training rows come as .csv or .parquet")
    if not path.is_file():
        raise ConversionRefused(f"{path}: no such file")
    try:
        return frame_of(reader(path))
    except (ValueError, OSError) as broken:
        raise ConversionRefused(f"{path.name} cannot be read as {path.suffix[1:]}: {broken}") from broken


def select(sample: pd.DataFrame, names: list[str] | tuple[str, ...]) -> pd.DataFrame:
    """The columns that the model was trained on, in its order; others, such as the target, are left out.

    A sample that came as an array is matched by position. Raises ConversionRefused naming the missing columns.
    """
    missing = [name for name in names if name not in sample.columns]
    if not missing:
        return sample[list(names)]
    if list(sample.columns) == [f"f{index}" for index in range(sample.shape[1])] and len(names) == sample.shape[1]:
        return sample.set_axis(list(names), axis="columns")
    shown = ", ".join(repr(name) for name in missing[:5]) + (" …" if len(missing) > 5 else "")
    raise ConversionRefused(
        f"the sample lacks {len(missing)} of the model's {len(names)} features: {shown}; "
        f"it has {sample.shape[1]} column(s). Give rows with the columns that the model was trained on"
    )


def columns(frame: pd.DataFrame, layout: str) -> tuple["Layout", tuple[Column, ...]]:
    """The datatypes of the columns and the layout that `layout` (auto, matrix, columns) means for them."""
    found = tuple(Column(str(name), datatype_of(str(name), frame[name])) for name in frame.columns)
    numbers = all(column.datatype in ("FP32", "FP64", "INT64") for column in found)
    if layout == "columns" or (layout == "auto" and not numbers):
        return Layout.COLUMNS, found
    if not numbers:
        others = [f"{column.name!r} ({column.datatype})" for column in found if column.datatype in ("BOOL", "BYTES")]
        raise ConversionRefused(f"the matrix layout is for numbers only; not numbers: {', '.join(others[:5])}")
    return Layout.MATRIX, tuple(Column(column.name, "FP32") for column in found)


def datatype_of(name: str, values: "pd.Series[Any]") -> str:
    """FP32, FP64, INT64, BOOL or BYTES; raises ConversionRefused for dates and mixtures."""
    dtype = values.dtype
    if isinstance(dtype, pd.CategoricalDtype):
        codes = pd.Series(dtype.categories.to_numpy())
        found = datatype_of(name, codes)
        return "FP64" if found == "INT64" and bool(values.isna().any()) else found
    if pd.api.types.is_object_dtype(dtype):
        return _datatype_of_objects(name, values)
    if pd.api.types.is_bool_dtype(dtype):
        return "FP32" if bool(values.isna().any()) else "BOOL"
    if pd.api.types.is_integer_dtype(dtype):
        return "FP64" if bool(values.isna().any()) else "INT64"
    if pd.api.types.is_float_dtype(dtype):
        return "FP64" if np.dtype(str(dtype).lower()).itemsize > 4 else "FP32"
    if pd.api.types.is_string_dtype(dtype):
        return "BYTES"
    raise ConversionRefused(f"column {name!r} is of type {dtype}: give numbers, text or booleans")


def _datatype_of_objects(name: str, values: "pd.Series[Any]") -> str:
    kinds = {type(value) for value in values[values.notna()].to_numpy()}
    missing = bool(values.isna().any())
    if all(issubclass(kind, str) for kind in kinds):
        return "BYTES"
    if all(issubclass(kind, bool | np.bool_) for kind in kinds):
        return "FP32" if missing else "BOOL"
    if all(issubclass(kind, int | np.integer) and not issubclass(kind, bool) for kind in kinds):
        return "FP64" if missing else "INT64"
    if all(issubclass(kind, int | float | np.integer | np.floating) and not issubclass(kind, bool) for kind in kinds):
        return "FP64"
    names = ", ".join(sorted(kind.__name__ for kind in kinds))
    raise ConversionRefused(f"column {name!r} mixes values of {names}: give numbers, text or booleans")


def typed(frame: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """The rows with the types of `NUMPY_TYPES`; text that is missing is None."""
    return assembled({column.name: _typed(frame[column.name], column) for column in schema.columns})


def assembled(columns: dict[str, NDArray[Any]]) -> pd.DataFrame:
    """A frame of these arrays with their own dtypes: by default pandas turns objects into text, and None into NaN."""
    return pd.DataFrame({name: pd.Series(values, dtype=values.dtype) for name, values in columns.items()})


def _typed(values: "pd.Series[Any]", column: Column) -> NDArray[Any]:
    if column.datatype == "BYTES":
        texts = values.astype(object).to_numpy()
        return np.array(
            [None if missing else str(text) for text, missing in zip(texts, values.isna(), strict=True)], object
        )
    try:
        if column.datatype in ("FP32", "FP64"):
            return values.astype(object).where(values.notna(), np.nan).to_numpy(dtype=np.float64)
        return values.to_numpy(dtype=NUMPY_TYPES[column.datatype])
    except (TypeError, ValueError) as broken:
        raise ConversionRefused(f"column {column.name!r} cannot be read as {column.datatype}: {broken}") from broken


def sent(rows: pd.DataFrame, schema: Schema) -> pd.DataFrame:
    """The rows as a server receives them: doubles of FP32 columns rounded to float32."""
    narrow = [column.name for column in schema.columns if column.datatype == "FP32"]
    with np.errstate(over="ignore"):
        if len(narrow) == rows.shape[1]:
            block = rows.to_numpy(dtype=np.float64).astype(np.float32).astype(np.float64)
            return pd.DataFrame(block, columns=rows.columns, index=rows.index)
        return rows.assign(**{name: rows[name].to_numpy().astype(np.float32).astype(np.float64) for name in narrow})


def feeds(rows: pd.DataFrame, schema: Schema) -> Tensors:
    """The tensors that a client sends for these rows: the inputs of the compiled model by name."""
    with np.errstate(over="ignore"):
        if schema.layout == Layout.MATRIX:
            return {"input": np.ascontiguousarray(rows.to_numpy(dtype=np.float64).astype(np.float32))}
        return {column.name: _tensor(rows[column.name], column.datatype)[:, np.newaxis] for column in schema.columns}


def _tensor(values: "pd.Series[Any]", datatype: str) -> NDArray[Any]:
    if datatype == "BYTES":
        return np.array(["" if value is None else value for value in values.to_numpy()], dtype=object)
    return values.to_numpy().astype(DATATYPES[datatype].dtype)
