"""Converts rows (DataFrame, arrays, dicts) to the arrays of a model's inputs, and checks them.

pandas is not imported: a caller with a DataFrame has imported it.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpress.client.errors import RowsError
from onnxpress.client.signature import ANY, Input, Signature
from onnxpress.client.values import convert_values

Array = NDArray[Any]
Columns = dict[str, Array]
SHOWN_MAX = 8
ACCEPTED = "a DataFrame, a 2-D or structured array, a mapping of arrays by name, or a list of dicts"


def fit(rows: Any, signature: Signature) -> tuple[list[Array], bool]:
    """One array for each input, in its datatype and shape; and whether the order of columns came from `features`.

    Raises RowsError naming the column that is missing, unexpected or not of its datatype.
    """
    read = _read(rows)
    if not isinstance(read, dict):
        return _by_position(read, signature.inputs), False
    by_features = _is_table(read, signature)
    arrays = [_matrix(read, signature)] if by_features else _by_name(read, signature.inputs)
    return arrays, by_features


def _read(rows: Any) -> Columns | Array:
    """Columns by name, or one array without names."""
    pandas = sys.modules.get("pandas")
    if pandas is not None and isinstance(rows, pandas.DataFrame):
        names = [str(name) for name in rows.columns]
        if len(set(names)) < len(names):
            twice = sorted({name for name in names if names.count(name) > 1})
            raise RowsError(f"the DataFrame has columns that share a name: {_listed(twice)}")
        return {name: rows.iloc[:, place].to_numpy() for place, name in enumerate(names)}
    if isinstance(rows, np.ndarray):
        return {name: rows[name].ravel() for name in rows.dtype.names} if rows.dtype.names else rows
    if isinstance(rows, Mapping):
        return {str(name): _array(str(name), values) for name, values in rows.items()}
    if isinstance(rows, Sequence) and rows and all(isinstance(row, Mapping) for row in rows):
        return _columns_of(rows)
    if isinstance(rows, Sequence) and not isinstance(rows, str | bytes) and not rows:
        raise RowsError("there are no rows: expected at least one")
    raise RowsError(f"rows of type {type(rows).__name__}: expected {ACCEPTED}")


def _array(name: str, values: Any) -> Array:
    if isinstance(values, np.ndarray):
        array: Array = values
    elif isinstance(values, Sequence) and not isinstance(values, str | bytes):
        array = _objects(values)
    else:
        array = np.asarray(values)  # a pandas Series, or a scalar
    if not array.ndim:
        raise RowsError(f"column {name!r} is one value, expected an array; for one row give a list with one dict")
    return array


def _objects(values: Sequence[Any]) -> Array:
    """An object array of `values`, since numpy would turn numbers beside text into text. Nested rows are a matrix."""
    if len(values) and isinstance(values[0], Sequence | np.ndarray) and not isinstance(values[0], str | bytes):
        return np.asarray(values)
    array = np.empty(len(values), object)
    array[:] = values
    return array


def _columns_of(rows: Sequence[Mapping[str, Any]]) -> Columns:
    names = list(rows[0])
    for number, row in enumerate(rows):
        if row.keys() != rows[0].keys():
            odd = sorted(str(name) for name in row.keys() ^ rows[0].keys())
            raise RowsError(f"row {number} and row 0 differ in columns: {_listed(odd)}")
    return {str(name): _objects([row[name] for row in rows]) for name in names}


def _is_table(columns: Columns, signature: Signature) -> bool:
    """Whether these are the columns of the model's one matrix, and not that matrix itself under its name."""
    if len(signature.inputs) != 1 or len(signature.inputs[0].shape) != 2:
        return False
    name = signature.inputs[0].name
    if list(columns) == [name] and (columns[name].ndim == 2 or signature.features in ((), (name,))):
        return False
    return bool(signature.features) or signature.inputs[0].shape[1] != 1


def _matrix(columns: Columns, signature: Signature) -> Array:
    (spec,) = signature.inputs
    if not signature.features:
        raise RowsError(
            f"the model takes one matrix {spec.name!r} {list(spec.shape)} and does not name its columns: "
            "give a 2-D array with the columns in the model's order"
        )
    _check_names(columns, signature.features)
    count = _count(columns)
    cells = [convert_values(columns[name], spec.datatype, f"column {name!r}") for name in signature.features]
    for name, values in zip(signature.features, cells, strict=True):
        if values.size != count:
            raise RowsError(f"column {name!r} has shape {list(values.shape)}, expected one value per row")
    return np.stack([values.ravel() for values in cells], axis=1)


def _by_name(columns: Columns, inputs: Sequence[Input]) -> list[Array]:
    _check_names(columns, [spec.name for spec in inputs])
    if all(spec.shape[:1] == (ANY,) for spec in inputs):
        _count(columns)
    return [_shaped(columns[spec.name], spec) for spec in inputs]


def _by_position(array: Array, inputs: Sequence[Input]) -> list[Array]:
    if len(inputs) == 1:
        return [_shaped(array, inputs[0])]
    if array.ndim != 2 or not all(spec.column for spec in inputs):
        names = _listed([spec.name for spec in inputs])
        raise RowsError(f"the model takes {len(inputs)} inputs, {names}: give {ACCEPTED}")
    if array.shape[1] != len(inputs):
        names = _listed([spec.name for spec in inputs])
        raise RowsError(f"the array has {array.shape[1]} columns, expected {len(inputs)}: {names}")
    return [_shaped(array[:, place], spec) for place, spec in enumerate(inputs)]


def _shaped(array: Array, spec: Input) -> Array:
    if spec.column and array.ndim == len(spec.shape) - 1:
        array = array.reshape(-1, 1)
    elif spec.shape == (ANY,) and array.ndim == 2 and array.shape[1] == 1:
        array = array.ravel()
    fits = array.ndim == len(spec.shape) and all(
        expected in (ANY, size) for size, expected in zip(array.shape, spec.shape, strict=True)
    )
    if not fits:
        raise RowsError(
            f"input {spec.name!r} has shape {list(array.shape)}, expected {list(spec.shape)} with -1 for any size"
        )
    if not array.size:
        raise RowsError("there are no rows: expected at least one")
    return convert_values(array, spec.datatype, f"column {spec.name!r}" if spec.column else f"input {spec.name!r}")


def _check_names(columns: Columns, expected: Sequence[str]) -> None:
    missing = [name for name in expected if name not in columns]
    known = set(expected)
    unexpected = [name for name in columns if name not in known]
    if missing or unexpected:
        what = [f"missing {_plural(missing)} {_listed(missing)}"] if missing else []
        what += [f"unexpected {_plural(unexpected)} {_listed(unexpected)}"] if unexpected else []
        raise RowsError(f"{' and '.join(what)}: the model takes {_listed(expected)}")


def _count(columns: Columns) -> int:
    counts = {name: len(values) for name, values in columns.items()}
    if len(set(counts.values())) > 1:
        raise RowsError(f"columns differ in rows: {', '.join(f'{name!r} has {n}' for name, n in counts.items())}")
    count = next(iter(counts.values()), 0)
    if not count:
        raise RowsError("there are no rows: expected at least one")
    return count


def _plural(names: Sequence[str]) -> str:
    return "column" if len(names) == 1 else "columns"


def _listed(names: Sequence[str]) -> str:
    more = f" and {len(names) - SHOWN_MAX} more" if len(names) > SHOWN_MAX else ""
    return ", ".join(map(repr, names[:SHOWN_MAX])) + more
