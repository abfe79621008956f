"""Emitting one step of a scikit-learn model: finding its emitter, and the small graphs that several emitters share."""

import math
from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
from sklearn.base import is_classifier, is_outlier_detector
from sklearn.utils import get_tags

from onnxpress.converters.from_sklearn.emission import Emission, Scores, Value
from onnxpress.converters.graph.builder import INT64
from onnxpress.packages.errors import ConversionRefused

F = TypeVar("F")
EPS32 = float(np.finfo(np.float32).eps)
EPS64 = float(np.finfo(np.float64).eps)


def transform(g: Emission, model: Any, value: Value, name: str = "") -> Value:
    """Emits a fitted transformer."""
    with g.step(name, model):
        if model is None or (isinstance(model, str) and model == "passthrough"):
            return value
        made = _emitter(g, g.registry.transformers, model, "transformer")(g, model, value)
        keeps = value.sparse and type(model).__name__ in g.registry.keeping_sparse
        return replace(made, sparse=True) if keeps else made


def classify(g: Emission, model: Any, value: Value, name: str = "") -> Scores:
    """Emits a fitted classifier: DOUBLE probabilities [rows, classes], NaN where the original refuses the row."""
    with g.step(name, model):
        scores = _emitter(g, g.registry.classifiers, model, "classifier")(g, model, value)
        return Scores(_refusing(g, model, value, scores.probabilities), scores.winner, scores.decision)


def regress(g: Emission, model: Any, value: Value, name: str = "") -> str:
    """Emits a fitted regressor: DOUBLE [rows, targets], NaN where the original refuses the row."""
    with g.step(name, model):
        return _refusing(g, model, value, _emitter(g, g.registry.regressors, model, "regressor")(g, model, value))


def gives_probabilities(model: Any) -> bool:
    """Whether a classifier has `predict_proba`; without it the compiled model gives probability 1 for the label."""
    return hasattr(model, "predict_proba")


def decides(model: Any) -> bool:
    """Whether the model answers with one of its classes."""
    return bool(is_classifier(model) or is_outlier_detector(model))


def first_of_largest(g: Emission, scores: str) -> str:
    """INT64 [rows]: numpy's argmax."""
    return str(g.add("ArgMax", scores, axis=1, keepdims=0))


def first_of_two(g: Emission, margin: str, *, ties_win: bool = False) -> str:
    """INT64 [rows]: 1 where the only margin [rows, 1] is above 0 (or at it, with `ties_win`), else 0."""
    above = g.add("GreaterOrEqual" if ties_win else "Greater", margin, g.double(0.0))
    return flat(g, g.cast(above, INT64))


def one_hot(g: Emission, winner: str, classes: int) -> str:
    """DOUBLE [rows, classes] of INT64 [rows]."""
    return g.add("Gather", g.double(np.eye(classes)), winner, axis=0)


def both_sides(g: Emission, probability: str) -> str:
    """[1 - p, p] of p: DOUBLE [rows, 1]."""
    return str(g.add("Concat", g.add("Sub", g.double([[1.0]]), probability), probability, axis=1))


def column(g: Emission, tensor: str, index: int) -> str:
    """One column, [rows, 1]."""
    return g.columns(tensor, [index])


def flat(g: Emission, tensor: str) -> str:
    """[rows, 1] as [rows]."""
    return str(g.add("Squeeze", tensor, g.int64(1)))


def row_sum(g: Emission, tensor: str) -> str:
    """The sum of each row, [rows, 1]."""
    return str(g.add("ReduceSum", tensor, g.int64(1), keepdims=1))


def dense(array: Any) -> Any:
    """A sparse or dense array of numbers as float64."""
    return np.asarray(array.toarray() if hasattr(array, "toarray") else array, np.float64)


def tie_mask(decision: Any, lost: Any) -> Any:
    """[rows, 1]: 1 (any label is accepted) in rows whose decision is a tie within `lost`; else 0.

    A tie means a single score [rows] within `lost` of 0, or the two largest of several within twice `lost`.
    """
    if decision.ndim == 1 or decision.shape[1] == 1:
        gap, reach = np.abs(decision.reshape(-1, 1)), lost
    else:
        ranked = np.sort(decision, axis=1)
        gap, reach = ranked[:, -1:] - ranked[:, -2:-1], 2 * lost
    return (gap < np.broadcast_to(reach, (len(gap), reach.shape[-1])).max(axis=1, keepdims=True)).astype(np.float64)


def _emitter(g: Emission, table: dict[str, F], model: Any, kind: str) -> F:
    found = table.get(type(model).__name__) if type(model).__module__.split(".")[0] in LIBRARIES else None
    if found is None:
        raise g.refused(
            f"{type(model).__module__}.{type(model).__name__} is not supported as a {kind}: it cannot be proved exact. "
            f"Leave the step out, do it before the model is called, or replace it by one that docs/conversion.md lists"
        )
    return found


LIBRARIES = {"sklearn", "xgboost", "lightgbm"}


def _refusing(g: Emission, model: Any, value: Value, output: str) -> str:
    """Adds NaN to the answers of rows with NaN or infinity, for which the model raises an error, and 0 to others."""
    if (
        type(model).__name__ in g.registry.without_checks
        or not type(model).__module__.startswith("sklearn.")
        or get_tags(model).input_tags.allow_nan
    ):
        return output
    if any(part.text for part in value.parts):
        return output
    nothing = row_sum(g, g.add("Mul", g.whole(value), g.double(0.0)))
    return str(g.add("Add", output, nothing))


def whole_classes(classes: Any) -> tuple[int, ...] | tuple[str, ...]:
    """`classes_` in the datatype of `label`: integers or text."""
    values = np.asarray(classes)
    if values.ndim != 1 or (values.dtype == object and not all(isinstance(value, str) for value in values)):
        raise ConversionRefused("the classes are neither all text nor all integers: train with text or integer labels")
    if values.dtype.kind in "biu" or (values.dtype.kind == "f" and all(math.floor(value) == value for value in values)):
        return tuple(int(value) for value in values)
    if values.dtype.kind == "f":
        raise ConversionRefused(
            "the classes are fractions, which `label` cannot carry: train with text or integer labels"
        )
    return tuple(str(value) for value in values)
