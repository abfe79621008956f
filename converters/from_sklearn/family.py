"""scikit-learn: estimators and whole Pipelines, emitted step by step in float64."""

import sys
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
import onnx
import pandas as pd
from sklearn.base import is_regressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer

from onnxpress.converters import sample as samples
from onnxpress.converters.family import (
    Answer,
    Schema,
)
from onnxpress.converters.from_sklearn import (
    adaboost,
    bayes,
    boosters,
    boosting,
    calibration,
    compose,
    dummy,
    encoders,
    ensembles,
    features,
    functions,
    histogram,
    imputers,
    knn_imputer,
    linear,
    multioutput,
    neighbors,
    neural,
    outliers,
    piecewise,
    scalers,
    splines,
    trees,
    vectors,
)
from onnxpress.converters.from_sklearn.emission import (
    Doubles,
    Emission,
    ErrorBounds,
    Origin,
    Part,
    Readings,
    Registry,
    Scores,
    Value,
)
from onnxpress.converters.from_sklearn.steps import (
    EPS32,
    classify,
    decides,
    dense,
    first_of_largest,
    gives_probabilities,
    regress,
    transform,
    whole_classes,
)
from onnxpress.converters.graph.builder import DOUBLE, FLOAT, ML
from onnxpress.packages.errors import ConversionRefused
from onnxpress.protos.package_pb2 import Layout, Task

# Rows of the sample that are tried for the number of targets before giving up.
PROBES = 20
# Every module that emits estimators of scikit-learn, or of other libraries as steps of its models.
MODULES = (
    adaboost,
    bayes,
    boosters,
    boosting,
    calibration,
    compose,
    dummy,
    encoders,
    ensembles,
    features,
    functions,
    histogram,
    imputers,
    knn_imputer,
    linear,
    multioutput,
    neighbors,
    neural,
    outliers,
    piecewise,
    scalers,
    splines,
    trees,
    vectors,
)
REGISTRY = Registry()
for module in MODULES:
    REGISTRY.include(module.EMITTERS)


class SklearnFamily:
    """scikit-learn's models, with boosters of other libraries as their steps."""

    name = "sklearn"

    def claims(self, model: object) -> bool:
        """Every estimator in scikit-learn's sense; the boosters' own wrappers are claimed by their families before."""
        base = sys.modules.get("sklearn.base")
        return base is not None and isinstance(model, base.BaseEstimator)

    def open(self, model: Any, frame: pd.DataFrame, layout: str) -> "SklearnModel":
        names = getattr(model, "feature_names_in_", None)
        width = getattr(model, "n_features_in_", None)
        frame = frame if names is None else samples.select(frame, [str(name) for name in names])
        if names is None and width is not None and width != frame.shape[1]:
            raise ConversionRefused(
                f"the sample has {frame.shape[1]} columns, the model was trained on {width} without names: "
                f"give exactly its training columns, without the target"
            )
        found, columns = samples.columns(frame, layout)
        markers = {name: mark for name in map(str, frame.columns) if (mark := _missing_marker(frame[name])) is not ...}
        if decides(model):
            return SklearnModel(model, Schema(columns, found, Task.CLASSIFIER, classes_of(model)), markers)
        probe = SklearnModel(model, Schema(columns, found, Task.REGRESSOR), markers)
        return replace(probe, schema=replace(probe.schema, targets=probe.targets(frame)))


@dataclass(frozen=True)
class Learned:
    """The data collected while a model is emitted, besides its graph; keys are column names."""

    splits: dict[str, Doubles]
    categories: dict[str, tuple[Any, ...]]
    missing: dict[str, Any]  # the value that marks a missing cell of text in this model's training rows


@dataclass
class SklearnModel:
    """One fitted estimator or Pipeline. It owns its emission and the parsed boosters among its steps."""

    model: Any
    schema: Schema
    # Column -> None or NaN, the marker of missing text in the sample: some steps distinguish the two.
    missing_markers: dict[str, Any]
    readings: Readings = field(default_factory=Readings)

    @cached_property
    def _emitted(self) -> tuple[Emission, Scores]:
        """The graph up to the model's outputs; a regressor's prediction is in `probabilities`."""
        g = Emission(REGISTRY, self.missing_markers, self.readings)
        value = client_columns(g, self.schema)
        if self.schema.task == Task.CLASSIFIER:
            return g, classify(g, self.model, value)
        if hasattr(self.model, "predict"):
            return g, Scores(regress(g, self.model, value))
        return g, Scores(g.whole(transform(g, self.model, value)))

    @cached_property
    def _compiled(self) -> onnx.ModelProto:
        g, scores = self._emitted
        schema = self.schema
        made = _plain_nan(g, scores.probabilities)
        if schema.task != Task.CLASSIFIER:
            g.output("prediction", g.cast(made, FLOAT), "FP32", schema.targets)
            return g.model()
        winner = scores.winner or first_of_largest(g, scores.probabilities)
        if isinstance(schema.classes[0], str):
            places = range(len(schema.classes))
            named = g.add(
                "LabelEncoder", winner, domain=ML, keys_int64s=list(places), values_strings=list(schema.classes)
            )
            g.output("label", named, "BYTES")
        else:
            g.output("label", g.add("Gather", g.int64(*schema.classes), winner), "INT64")
        g.output("probabilities", g.cast(made, FLOAT), "FP32", len(schema.classes))
        return g.model()

    @cached_property
    def _learned(self) -> Learned:
        g, _ = self._emitted
        splits = {name: np.unique(np.concatenate(found)) for name, found in g.splits.items()}
        known = {name: tuple(dict.fromkeys(_plain(value) for value in found)) for name, found in g.categories.items()}
        return Learned(splits, known, dict(g.missing))

    def compile(self) -> onnx.ModelProto:
        return self._compiled

    def answer(self, rows: pd.DataFrame) -> Answer:
        """The original's outputs on float64 rows; tolerance: one rounding to float32 and the steps' error bounds."""
        schema = self.schema
        model, given = last_step(self.model, self._original_rows(rows))
        if schema.task != Task.CLASSIFIER:
            made = _original(model, given)
            return Answer({"prediction": made}, {"prediction": self._tolerance(model, given, made)})
        label = np.asarray(model.predict(given))
        label = label.astype(np.int64) if isinstance(schema.classes[0], int) else label.astype(str).astype(object)
        if gives_probabilities(model):
            made = np.asarray(model.predict_proba(given), np.float64)
        else:
            made = (label[:, None] == np.array(schema.classes, label.dtype)[None, :]).astype(np.float64)
        tolerance = self._tolerance(model, given, made)
        return Answer({"label": label, "probabilities": made}, {"probabilities": tolerance})

    def splits(self) -> dict[str, Doubles]:
        return self._learned.splits

    def categories(self) -> dict[str, tuple[Any, ...]]:
        return self._learned.categories

    def targets(self, frame: pd.DataFrame) -> int:
        """Columns of `prediction`; if the model has no such attribute, those of its output on a row of `frame`."""
        if is_regressor(self.model) and hasattr(self.model, "n_outputs_"):
            return int(self.model.n_outputs_)
        failure: Exception = ValueError("no rows")
        for place in range(min(len(frame), PROBES)):
            row = samples.typed(frame.iloc[place : place + 1], self.schema)
            try:
                return int(_original(self.model, self._original_rows(row)).shape[1])
            except ConversionRefused:
                raise
            except Exception as raised:  # noqa: BLE001 -- estimators raise arbitrary exceptions for rows they refuse
                failure = raised
        raise ConversionRefused(
            f"the model answers none of the first {PROBES} rows of the sample: {failure}. "
            f"Give rows like those of the training"
        )

    def _original_rows(self, rows: pd.DataFrame) -> Any:
        """The rows in the original's own format: a frame if it was trained on one, else an array.

        A missing cell of text is None in `rows`; the original's encoders may know it as NaN.
        """
        texts = [column.name for column in self.schema.columns if column.datatype == "BYTES"]
        if texts:
            rows = rows.assign(**{name: _with_missing_marker(rows[name], self._learned, name) for name in texts})
        if hasattr(self.model, "feature_names_in_"):
            return rows
        return rows.to_numpy()

    def _tolerance(self, model: Any, given: Any, made: Doubles) -> Doubles:
        try:
            steps = ErrorBounds(REGISTRY, self.readings).of(model, given)
        except Exception as broken:  # not one of the original's refusals, and must not be mistaken for one
            raise ConversionRefused(
                f"step {type(model).__name__}: the error of float arithmetic cannot be bounded: "
                f"{type(broken).__name__}: {broken}"
            ) from broken
        whole = np.broadcast_to(EPS32 * np.abs(made) + np.finfo(np.float32).tiny + steps, made.shape)
        return np.where(np.isnan(whole), 0.0, whole)  # of infinite outputs, which must be equal


FAMILY = SklearnFamily()


# ONNX Runtime computes small batches, and the tail of large ones, by different code, in which NaN has another sign;
# outputs must have the same bits in every batch.
UNEVEN = {"Exp", "Log", "Tanh", "Pow"}


def _plain_nan(g: Emission, output: str) -> str:
    if not UNEVEN.intersection(node.op_type for node in g.nodes):
        return output
    return g.add("Where", g.add("IsNaN", output), g.double(np.nan), output)


def client_columns(g: Emission, schema: Schema) -> Value:
    """The inputs of the compiled model as DOUBLE (text as STRING), one origin for each column."""
    names = tuple(column.name for column in schema.columns)
    if schema.layout == Layout.MATRIX:
        tensor = g.cast(g.input("input", "FP32", len(names)), DOUBLE)
        origins = tuple(Origin(name, g.columns(tensor, [place]), _same) for place, name in enumerate(names))
        return Value((Part(tensor, origins),), names)
    parts = []
    for column in schema.columns:
        tensor = g.input(column.name, column.datatype, 1)
        text = column.datatype == "BYTES"
        if not text and column.datatype != "FP64":
            tensor = g.cast(tensor, DOUBLE)
        parts.append(Part(tensor, (Origin(column.name, "" if text else tensor, _same),), text))
    return Value(tuple(parts), names)


def _same(values: Doubles) -> Doubles:
    return values


def _missing_marker(values: "pd.Series[Any]") -> Any:
    """None or NaN as the first missing cell is, ... where there is none or the column is no plain text."""
    absent = values[values.isna()]
    if absent.empty or pd.api.types.is_numeric_dtype(values.dtype):
        return ...
    return None if absent.astype(object).iloc[0] is None else np.nan


def _with_missing_marker(values: "pd.Series[Any]", learned: Learned, name: str) -> "pd.Series[Any]":
    mark = learned.missing.get(name, np.nan)
    empty_is_text = "" in learned.categories.get(name, ()) or name not in learned.missing
    cells = values.to_numpy(dtype=object)
    absent = pd.isna(cells) | ((cells == "") & (not empty_is_text))
    # A Series: from an array pandas would make a column of its own text type, with its own missing value.
    return pd.Series(np.where(absent, mark, cells), index=values.index, dtype=object)


def classes_of(model: Any) -> tuple[int, ...] | tuple[str, ...]:
    """The classes in the order of `probabilities`."""
    classes = getattr(model, "classes_", np.array([-1, 1]))
    if isinstance(classes, list):
        raise ConversionRefused(
            f"step {type(model).__name__}: it has several outputs, and `label` holds one: "
            f"train a classifier for each output"
        )
    return whole_classes(classes)


def last_step(model: Any, given: Any) -> tuple[Any, Any]:
    """A Pipeline's last step, and the rows after all other steps."""
    while isinstance(model, Pipeline) or hasattr(model, "best_estimator_"):
        if not isinstance(model, Pipeline):
            model = model.best_estimator_
            continue
        for _, step in model.steps[:-1]:
            if step is not None and not isinstance(step, str):
                given = step.transform(given)
        last = model.steps[-1][1]
        if last is None or isinstance(last, str):
            return FunctionTransformer(), given
        model = last
    return model, given


def _original(model: Any, given: Any) -> Any:
    """A regressor's predictions or a transformer's output: [rows, targets]."""
    made = model.predict(given) if hasattr(model, "predict") else model.transform(given)
    return dense(made).reshape(given.shape[0], -1)


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
