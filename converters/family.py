"""The seam between `convert` and the model families: what one family must know about its models.

A family is a module `from_<framework>.py` that exposes one `FAMILY` object. `convert` asks the families in order
who claims a model, and from then on knows nothing about frameworks.
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
    # The only values the original takes, numbers in decimal, where it raises on others; empty: any.
    accepts: tuple[str, ...] = ()


@dataclass(frozen=True)
class Schema:
    """What the compiled model takes and gives."""

    columns: tuple[Column, ...]  # in the order the original model was trained on
    layout: Layout
    task: Task
    classes: tuple[str, ...] | tuple[int, ...] = ()  # of a classifier, in `classes_` order
    targets: int = 1  # columns of `prediction`
    notes: tuple[str, ...] = ()  # what the manifest's reader must know


@dataclass(frozen=True)
class Answer:
    """What the original model says about some rows, and how far a faithful copy may be from it.

    `outputs` and `tolerance` share keys. Classifiers: `label` (int64 or str, [rows]) and `probabilities`
    (float64, [rows, classes]); others: `prediction` (float64, [rows, targets]). A tolerance is absolute, float64,
    of the output's shape, and covers float32 summation only: never a row on the wrong side of a split. `label`
    has no tolerance: it must be equal, except where the two largest probabilities tie within theirs.
    """

    outputs: Tensors
    tolerance: Tensors


class Family(Protocol):
    """One framework's models. Every method raises ConversionRefused with its reason."""

    name: str  # sklearn, xgboost, lightgbm, onnx: `source.framework` of the manifest

    def claims(self, model: object) -> bool:
        """Whether `model` is this framework's own object; imports nothing that is not imported already."""
        ...

    def describe(self, model: Any, sample: pd.DataFrame, layout: str) -> Schema:
        """The schema of `model` fed with rows like `sample`; `layout` is auto, matrix or columns."""
        ...

    def compile(self, model: Any, schema: Schema) -> onnx.ModelProto:
        """The compiled model: inputs and outputs exactly as `schema` and design section 4 say."""
        ...

    def answer(self, model: Any, schema: Schema, rows: pd.DataFrame) -> Answer:
        """The original's own answers on `rows`: columns named and ordered as `schema.columns`.

        FP32 and FP64 columns are float64, INT64 int64, BOOL bool, BYTES object of str or None for missing. Rows that
        the original itself refuses (an unseen category, NaN, infinity) raise whatever the original raises: the gate
        finds them one by one and leaves them out of the contract.
        """
        ...

    def splits(self, model: Any, schema: Schema) -> dict[str, NDArray[np.float64]]:
        """Column name -> every value at which some step of the model changes its mind, in the client's units.

        Thresholds that stand behind a scaler are carried back through it. The gate makes its T rows of them.
        """
        ...

    def categories(self, model: Any, schema: Schema) -> dict[str, tuple[Any, ...]]:
        """Column name -> every value that some step of the model knows as a category, in the client's units.

        Columns without such a step are left out. The gate makes its C rows of them, unseen neighbours included.
        """
        ...
