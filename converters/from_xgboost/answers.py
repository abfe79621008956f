"""XGBoost's own outputs, and how far an exact compiled model may be from them."""

import sys
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from onnxpress.converters.family import Answer, Column, Schema
from onnxpress.converters.from_xgboost.model import Booster
from onnxpress.converters.from_xgboost.reading import Reading, booster_of, codes_of, is_raw
from onnxpress.converters.graph import links
from onnxpress.converters.graph.inputs import Codes
from onnxpress.converters.graph.trees import largest_leaves
from onnxpress.protos.package_pb2 import Task

Floats = NDArray[np.float64]


def answer(model: Any, reading: Reading, schema: Schema, rows: pd.DataFrame) -> Answer:
    """As `Subject.answer`; raises the errors of XGBoost, and ValueError for an unknown category."""
    frame = _frame(model, reading.booster, schema, rows)
    margins = _predict(model, frame, reading, margin=True).reshape(len(rows), -1).astype(np.float64)
    lost = np.broadcast_to(links.SUMMATION * _scale(reading.booster, rows), margins.shape)
    tolerance = reading.link.tolerance(margins, np.asarray(lost))
    if reading.task != Task.CLASSIFIER:
        said = _predict(model, frame, reading, margin=False).reshape(len(rows), -1).astype(np.float64)
        return Answer({"prediction": said}, {"prediction": tolerance})
    probabilities, label = _classified(model, frame, reading)
    return Answer(
        {"label": label, "probabilities": probabilities},
        # The complement of a small probability is near 1, where its rounding error is larger.
        {"probabilities": tolerance + links.EPSILON * np.abs(probabilities)},
    )


def _frame(model: Any, file: Booster, schema: Schema, rows: pd.DataFrame) -> Any:
    """The rows in the original's own format: an array, or a frame with its names and category columns."""
    codes = codes_of(file)
    names = booster_of(model).feature_names
    if not codes and not names:
        return rows.to_numpy(dtype=np.float64)
    columns: dict[str, Any] = {}
    for index, column in enumerate(schema.columns):
        values = rows[column.name]
        columns[names[index] if names else column.name] = (
            _categorical(column, values, codes[index]) if index in codes else values
        )
    return pd.DataFrame(columns)


def _categorical(column: Column, values: "pd.Series[Any]", codes: Codes) -> Any:
    """Raises ValueError for an unknown category, as XGBoost 3.4 does; older ones use the next one in sort order."""
    blank = codes.text and "" not in codes.categories
    absent = values.isna() | (values == "") if blank else values.isna()
    unseen = ~absent & ~values.isin(codes.categories)
    if unseen.any():
        raise ValueError(f"column {column.name!r}: {values[unseen].iloc[0]!r} is a category not in the training set")
    if not codes.text:
        whole = values.where(~absent, codes.categories[0]).astype(np.int64)
        return pd.Categorical(whole.where(~absent, None).astype("Int64"), categories=pd.Index(codes.categories))
    return pd.Categorical(values.where(~absent, None), categories=pd.Index(codes.categories, dtype=object))


def _predict(model: Any, frame: Any, reading: Reading, *, margin: bool) -> NDArray[Any]:
    if not is_raw(model):
        if isinstance(model, _library().XGBClassifier) and not margin:
            return np.asarray(model.predict_proba(frame))
        return np.asarray(model.predict(frame, output_margin=margin))
    rounds = (0, reading.rounds or 0)
    data = _library().DMatrix(frame, enable_categorical=True, feature_names=model.feature_names)
    return np.asarray(model.predict(data, output_margin=margin, iteration_range=rounds))


def _library() -> Any:
    return sys.modules["xgboost"]


def _classified(model: Any, frame: Any, reading: Reading) -> tuple[Floats, NDArray[np.int64]]:
    """The original's probabilities [rows, classes] and labels [rows]."""
    if not is_raw(model):
        probabilities = np.asarray(model.predict_proba(frame), np.float64)
        label = np.asarray(model.predict(frame))
        if label.ndim > 1:  # two classes by softmax: XGBoost's predict returns one column per class
            label = probabilities.argmax(axis=1)
        return probabilities, label.astype(np.int64)
    said = _predict(model, frame, reading, margin=False)
    if reading.booster.objective == "multi:softmax":
        margins = _predict(model, frame, reading, margin=True).astype(np.float64)
        return reading.link.apply(margins), said.astype(np.int64)
    if said.ndim == 1:
        return np.stack([1 - said, said], axis=1).astype(np.float64), (said > 0.5).astype(np.int64)
    return said.astype(np.float64), said.argmax(axis=1).astype(np.int64)


def _scale(file: Booster, rows: pd.DataFrame) -> Floats:
    """The scale of the summands: [groups], or [rows, groups] for a linear booster."""
    start = np.abs(file.intercepts)
    if file.linear is None:
        return start + largest_leaves(file.trees, file.groups)
    with np.errstate(all="ignore"):
        values = np.nan_to_num(np.abs(rows.to_numpy(np.float64)))
        return np.asarray(values @ np.abs(file.linear) + start)
