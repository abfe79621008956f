"""Columns that accept known values only, derived from the original's refusals."""

import numpy as np
import pandas as pd

from onnxpress.converters.family import Column, Schema
from onnxpress.converters.gate.accepted_values import accepted_values
from onnxpress.converters.gate.generators import seen_and_unseen, unseen_kind
from onnxpress.converters.gate.probe_rows import ProbeRows, no_value
from onnxpress.protos.package_pb2 import Layout, Task

SCHEMA = Schema((Column("plan", "BYTES"), Column("code", "INT64"), Column("x", "FP64")), Layout.COLUMNS, Task.REGRESSOR)
ROWS = pd.DataFrame(
    {"plan": pd.Series(["mini", "maxi", None], dtype=object), "code": np.array([1, 2, 2]), "x": [0.5, 1.5, 2.5]}
)
PROBE = ProbeRows(ROWS, SCHEMA)
KNOWN = {"plan": ("mini", "maxi"), "code": (1, 2), "x": (1.0, 2.0)}


def refusals(index: int) -> set[str]:
    """The kinds of all unknown values of a column."""
    name = PROBE.names[index]
    _, unseen = seen_and_unseen(KNOWN[name], PROBE, index)
    return {unseen_kind(name, value) for value in unseen}


def test_a_column_is_restricted_if_every_unknown_value_was_refused() -> None:
    """The accepted values are text, with "" for missing cells that the original accepts, or decimal numbers."""
    refused = refusals(0) | refusals(1)
    assert accepted_values(KNOWN, PROBE, refused) == {"plan": ("mini", "maxi", ""), "code": ("1", "2")}


def test_a_missing_text_that_is_refused_is_not_accepted() -> None:
    """The empty text is listed only if the original accepts missing cells."""
    assert accepted_values(KNOWN, PROBE, refusals(0) | {no_value("plan")})["plan"] == ("mini", "maxi")


def test_a_column_that_accepts_an_unknown_value_is_left_out() -> None:
    """A single accepted unknown value leaves the column unrestricted."""
    refused = refusals(1)
    refused.remove(min(refused))
    assert accepted_values(KNOWN, PROBE, refused) == {}


def test_a_column_of_floats_is_restricted_only_if_nan_is_refused() -> None:
    """A column of floats is unrestricted if NaN is accepted, which a list of values cannot contain."""
    assert "x" not in accepted_values(KNOWN, PROBE, refusals(2))
    assert accepted_values(KNOWN, PROBE, refusals(2) | {no_value("x")})["x"] == ("1", "2")
