"""Converts values to the datatype of an input; an error names the row and the value that cannot be converted."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpress.client.errors import RowsError
from onnxpress.packages.datatypes import DATATYPES

Array = NDArray[Any]
TEXT, FLOATS = "BYTES", ("FP16", "FP32", "FP64")
INTEGRAL, FRACTIONAL = (int, np.bool_, np.integer), (float, np.floating)
# Types of missing values, compared by name since pandas is not imported.
MISSING_TYPES = {"NoneType", "NAType", "NaTType"}


def convert_values(values: Array, datatype: str, what: str) -> Array:
    """`values` in the array type of `datatype`, of the same shape; text as Python strings.

    Missing values (None, NaN, pandas.NA) become NaN in floating inputs and empty text in BYTES, as in the converter;
    integers and booleans cannot be missing. Numbers are rounded to the input's floating type, never to integers. `what`
    names the column in errors. Raises RowsError.
    """
    known = DATATYPES.get(datatype)
    if known is None:
        raise RowsError(f"{what} has datatype {datatype}, which this client cannot send")
    flat = values.reshape(-1)
    if datatype == TEXT:
        converted = _texts(flat, what)
    elif flat.dtype.kind in "fiub":
        converted = _numbers(flat, datatype, known.dtype, what)
    elif flat.dtype.kind == "O":
        converted = _numbers(_of_objects(flat, datatype, what), datatype, known.dtype, what)
    else:
        raise RowsError(f"{what} is {datatype}, got {_kind(flat)}")
    return converted.reshape(values.shape)


def _numbers(flat: Array, datatype: str, dtype: np.dtype[Any], what: str) -> Array:
    if datatype in FLOATS:
        with np.errstate(over="ignore"):  # a number beyond float32 becomes infinite
            return flat.astype(dtype)
    if datatype == "BOOL":
        wrong = ~np.isin(flat, (0, 1))
    else:
        limits = np.iinfo(dtype)
        # The upper limit of 64 bits is not a double, its successor is.
        wrong = (flat < limits.min) | (flat >= float(limits.max) + 1 if flat.dtype.kind == "f" else flat > limits.max)
        if flat.dtype.kind == "f":
            wrong |= ~np.isfinite(flat) | (flat != np.trunc(flat))
    if wrong.any():
        row = int(np.argmax(wrong))
        value = flat[row].item()
        if isinstance(value, float) and math.isnan(value):
            raise RowsError(f"{what} is {datatype} and cannot be missing: value {row} is NaN")
        raise RowsError(f"{what} is {datatype}: value {row} is {value!r}")
    return flat.astype(dtype)


def _of_objects(flat: Array, datatype: str, what: str) -> Array:
    """Python numbers as a numeric array; integers are never converted to doubles in between."""
    floating = datatype in FLOATS
    numbers: list[Any] = []
    for row, value in enumerate(flat.tolist()):
        if _missing(value):
            if not floating:
                raise RowsError(f"{what} is {datatype} and cannot be missing: value {row} is {value!r}")
            numbers.append(math.nan)
        elif isinstance(value, INTEGRAL) or (isinstance(value, FRACTIONAL) and (floating or value.is_integer())):
            numbers.append(value)
        else:
            raise RowsError(f"{what} is {datatype}: value {row} is {value!r} of type {type(value).__name__}")
    try:
        return np.array(numbers, np.float64 if floating else np.uint64 if datatype == "UINT64" else np.int64)
    except OverflowError as error:
        raise RowsError(f"{what} is {datatype}: a value is out of its range ({error})") from error


def _texts(flat: Array, what: str) -> Array:
    if flat.dtype.kind not in "OUST":
        raise RowsError(f"{what} is BYTES (text), got {_kind(flat)}")
    texts = np.empty(len(flat), object)
    for row, value in enumerate(flat.tolist()):
        if isinstance(value, str):
            texts[row] = value
        elif isinstance(value, bytes):
            try:
                texts[row] = value.decode()
            except UnicodeDecodeError as error:
                raise RowsError(f"{what} is BYTES (text): value {row} is not UTF-8") from error
        elif _missing(value):
            texts[row] = ""
        else:
            raise RowsError(f"{what} is BYTES (text): value {row} is {value!r} of type {type(value).__name__}")
    return texts


def _missing(value: Any) -> bool:
    return type(value).__name__ in MISSING_TYPES or (isinstance(value, float | np.floating) and math.isnan(value))


def _kind(flat: Array) -> str:
    return "text" if flat.dtype.kind in "UST" else f"values of type {flat.dtype}"
