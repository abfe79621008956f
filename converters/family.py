"""The interface between `convert` and the model families.

A family is the support for one framework. The table `FAMILIES` in `convert.py` lists them; the first that claims a
model opens it as a `Subject`, and everything after that is independent of the framework.
"""

from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import onnx
import pandas as pd
from numpy.typing import NDArray

from onnxpress.protos.package_pb2 import Layout, Task

Tensors = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Column:
    """One column of the training rows, as clients send it."""

    name: str
    datatype: str  # FP32, FP64, INT64, BOOL or BYTES
    # The values that the original accepts, numbers in decimal, if it raises on others; empty: all.
    accepts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Schema:
    """The inputs and outputs of a compiled model."""

    columns: tuple[Column, ...]  # in the order the original model was trained on
    layout: Layout
    task: Task
    classes: tuple[str, ...] | tuple[int, ...] = ()  # of a classifier, in `classes_` order
    targets: int = 1  # columns of `prediction`
    notes: tuple[str, ...] = ()  # remarks for the manifest


@dataclass(frozen=True)
class Answer:
    """The original model's outputs on some rows, and how far an exact compiled model may be from them.

    `outputs` and `tolerance` share keys. Classifiers: `label` (int64 or str, [rows]) and `probabilities`
    (float64, [rows, classes]); others: `prediction` (float64, [rows, targets]). A tolerance is absolute, float64,
    of the output's shape, and covers float32 summation only: never a row on the wrong side of a split. `label`
    has no tolerance: it must be equal, except where the two largest probabilities tie within theirs.
    """

    outputs: Tensors
    tolerance: Tensors


class Subject(Protocol):
    """One model opened for conversion, with the schema it is converted under.

    It owns whatever its family parses or derives from the model, so that nothing outlives the conversion. The methods
    may be called in any order and any number of times. Each raises ConversionRefused with its reason.
    """

    @property
    def schema(self) -> Schema:
        """The inputs and outputs of the compiled model."""
        ...

    def compile(self) -> onnx.ModelProto:
        """The compiled model: inputs and outputs exactly as `schema` and docs/conversion.md describe them."""
        ...

    def answer(self, rows: pd.DataFrame) -> Answer:
        """The original model's outputs on `rows`: columns named and ordered as `schema.columns`.

        FP32 and FP64 columns are float64, INT64 int64, BOOL bool, BYTES object of str or None for missing. For rows
        that the original refuses (an unseen category, NaN, infinity) this raises whatever the original raises: the
        gate finds such rows one by one and leaves them out of the contract.
        """
        ...

    def splits(self) -> dict[str, NDArray[np.float64]]:
        """Column name -> every threshold at which some step of the model branches, in the client's units.

        Thresholds behind a scaler are carried back through it. The gate makes its T rows of them.
        """
        ...

    def categories(self) -> dict[str, tuple[Any, ...]]:
        """Column name -> every value that some step of the model knows as a category, in the client's units.

        Columns without such a step are left out. The gate makes its C rows of them, unseen neighbours included.
        """
        ...


class Family(Protocol):
    """The models of one framework."""

    name: str  # sklearn, xgboost, lightgbm, onnx: `source.framework` of the manifest

    def claims(self, model: object) -> bool:
        """Whether `model` is this framework's own object; imports no framework."""
        ...

    def open(self, model: Any, frame: pd.DataFrame, layout: str) -> Subject:
        """`model` with the schema for rows like `frame`; `layout` is auto, matrix or columns.

        Raises ConversionRefused where the model or the frame cannot be converted in that layout.
        """
        ...
