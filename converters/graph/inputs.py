"""The inputs of a compiled model, combined into the tensor [rows, features] that a booster was trained on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from onnxpress.converters.family import (
    Column,
    Schema,
)
from onnxpress.converters.graph.builder import DOUBLE, FLOAT, INT64, ML, Graph
from onnxpress.packages.errors import ConversionRefused
from onnxpress.protos.package_pb2 import Layout

# Membership tables up to this size are stored as floats, which trees read; larger ones as bytes, cast for each row.
TABLE_CELLS_MAX = 250_000
# The code of an unknown category, if the library refuses such rows.
REFUSED = -1.0


@dataclass(frozen=True)
class Codes:
    """The categories of a feature in the order of their codes, as text or as whole numbers."""

    categories: tuple[str, ...] | tuple[int, ...]
    unseen: float  # the code of every other value: REFUSED or NaN

    @property
    def text(self) -> bool:
        return isinstance(self.categories[0], str)


def refuse_ambiguous_blanks(frame: pd.DataFrame, codes: Mapping[int, Codes]) -> None:
    """Raises ConversionRefused if the empty string is a category of a column that also has missing values.

    Clients send both as the empty string. `frame` holds the sample's columns in the model's order.
    """
    for index, known in codes.items():
        if "" in known.categories and frame.iloc[:, index].isna().any():
            raise ConversionRefused(
                f"column {frame.columns[index]!r} has missing values, and the empty string is one of its categories: "
                "clients cannot tell the two apart. Rename the empty category, or fill the missing values with one"
            )


def add_inputs(graph: Graph, schema: Schema, codes: Mapping[int, Codes], *, double: bool = False) -> str:
    """Declare the inputs of `schema` and return the features, float32 or float64 [rows, features].

    Features in `codes` are categories in the inputs and codes in the result. Missing text is the empty string, unless
    that is a category itself, and NaN in the result.
    """
    kind = DOUBLE if double else FLOAT
    if schema.layout == Layout.MATRIX:
        tensor = graph.input("input", "FP32", len(schema.columns))
        if codes:
            tensor = graph.concat(_split(graph, tensor, len(schema.columns), codes))
        return graph.cast(tensor, DOUBLE) if double else tensor
    parts: list[str] = []
    for (coded, _), run in groupby(enumerate(schema.columns), key=lambda item: (item[0] in codes, item[1].datatype)):
        columns = list(run)
        names = [graph.input(column.name, column.datatype, 1) for _, column in columns]
        if coded:
            parts.extend(
                _as(graph, _encode(graph, name, column, codes[index]), FLOAT, kind)
                for name, (index, column) in zip(names, columns, strict=True)
            )
        else:
            parts.append(_as(graph, graph.concat(names), _element_type(columns[0][1]), kind))
    return graph.concat(parts)


def _element_type(column: Column) -> int:
    return {"FP32": FLOAT, "FP64": DOUBLE}.get(column.datatype, INT64)


def _as(graph: Graph, tensor: str, have: int, want: int) -> str:
    return tensor if have == want else graph.cast(tensor, want)


def _split(graph: Graph, tensor: str, width: int, codes: Mapping[int, Codes]) -> list[str]:
    """The columns of a matrix, those in `codes` encoded."""
    parts: list[str] = []
    for coded, run in groupby(range(width), key=codes.__contains__):
        indices = list(run)
        if coded:
            column = Column("", "FP32")
            parts.extend(_encode(graph, graph.columns(tensor, [index]), column, codes[index]) for index in indices)
        else:
            parts.append(graph.columns(tensor, indices))
    return parts


def _encode(graph: Graph, tensor: str, column: Column, codes: Codes) -> str:
    """The codes of a [rows, 1] tensor of categories, float32."""
    values = [float(code) for code in range(len(codes.categories))]
    if codes.text:
        keys = [str(category).encode() for category in codes.categories]
        if b"" not in keys:
            keys, values = [*keys, b""], [*values, float("nan")]
        return graph.add(
            "LabelEncoder", tensor, domain=ML, keys_strings=keys, values_floats=values, default_float=codes.unseen
        )
    whole = tensor if column.datatype == "INT64" else graph.cast(tensor, INT64)
    code = graph.add(
        "LabelEncoder",
        whole,
        domain=ML,
        keys_int64s=[int(category) for category in codes.categories],
        values_floats=values,
        default_float=codes.unseen,
    )
    if column.datatype not in ("FP32", "FP64"):
        return code
    # A number that is not whole is an unknown category; NaN is a missing value.
    same = graph.add("Equal", graph.cast(whole, _element_type(column)), tensor)
    code = graph.add("Where", same, code, graph.float32(codes.unseen))
    return graph.add("Where", graph.add("IsNaN", tensor), graph.float32(float("nan")), code)


@dataclass(frozen=True)
class CategorySet:
    """The codes of one feature that a split sends one way, and whether a missing value goes with them."""

    feature: int
    codes: tuple[int, ...]
    missing: bool


def add_memberships(
    graph: Graph, features: str, sets: Sequence[CategorySet], *, double: bool = False, truncates: bool
) -> str:
    """One column for each set: 1 where the row's code is in the set, else 0. The sets must be sorted by feature.

    Each feature needs one lookup, so load time and latency do not grow with the length of the sets. Codes are truncated
    to whole numbers. Those below zero are in no set; with `truncates` those above -1 count as 0.
    """
    kind = DOUBLE if double else FLOAT
    parts: list[str] = []
    for feature, run in groupby(sets, key=lambda entry: entry.feature):
        table = _table(list(run))
        none, missing = len(table) - 2, len(table) - 1
        code = graph.columns(features, [feature])
        number = np.float64 if double else np.float32
        above = graph.add(
            "Greater" if truncates else "GreaterOrEqual", code, graph.constant(np.array(-1 if truncates else 0, number))
        )
        known = graph.add("And", above, graph.add("Less", code, graph.constant(np.array(none, number))))
        index = graph.add("Where", known, code, graph.constant(np.array(none, number)))
        index = graph.add("Where", graph.add("IsNaN", code), graph.constant(np.array(missing, number)), index)
        flat = graph.add("Reshape", graph.cast(index, INT64), graph.int64(-1))
        if table.size <= TABLE_CELLS_MAX:
            parts.append(graph.add("Gather", graph.constant(table.astype(number)), flat, axis=0))
        else:
            parts.append(graph.cast(graph.add("Gather", graph.constant(table), flat, axis=0), kind))
    return graph.concat(parts)


def _table(sets: Sequence[CategorySet]) -> NDArray[np.uint8]:
    """One row for each code, one for codes in no set and one for a missing value; one column for each set."""
    known = 1 + max((code for entry in sets for code in entry.codes), default=0)
    table = np.zeros((known + 2, len(sets)), np.uint8)
    for column, entry in enumerate(sets):
        table[list(entry.codes), column] = 1
        table[-1, column] = entry.missing
    return table
