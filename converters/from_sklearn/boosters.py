"""XGBoost and LightGBM estimators as steps of scikit-learn's models."""

from typing import Any

import numpy as np

from onnxpress.converters.from_lightgbm import family as from_lightgbm
from onnxpress.converters.from_sklearn.emission import Emission, ErrorBounds, Registry, Scores, Value
from onnxpress.converters.from_sklearn.trees import rounded, unchanged
from onnxpress.converters.from_xgboost import family as from_xgboost
from onnxpress.converters.from_xgboost import reading as xgboost_reading
from onnxpress.converters.graph import links
from onnxpress.converters.graph.builder import DOUBLE
from onnxpress.converters.graph.trees import largest_leaves

EMITTERS = Registry()

XGBOOST_CLASSIFIERS = ("XGBClassifier", "XGBRFClassifier")
XGBOOST_REGRESSORS = ("XGBRegressor", "XGBRFRegressor", "XGBRanker")
LIGHTGBM_REGRESSORS = ("LGBMRegressor", "LGBMRanker")


def xgboost(g: Emission, model: Any, value: Value) -> links.Emitted:
    """The booster applied to the columns of `value`; in a sparse matrix XGBoost treats zeros as missing."""
    tensor = g.whole(value)
    if value.sparse:
        tensor = g.add("Where", g.add("Equal", tensor, g.double(0.0)), g.double(np.nan), tensor)
    reading = g.readings.of(model, xgboost_reading.read)
    _record(g, reading.booster, value, rounded)
    return from_xgboost.emit(g, reading, tensor, double=True)


def lightgbm(g: Emission, model: Any, value: Value) -> links.Emitted:
    reading = g.readings.of(model, from_lightgbm.read)
    _record(g, reading.booster, value, unchanged)
    return from_lightgbm.emit(g, reading, g.whole(value), double=True)


def _record(g: Emission, booster: Any, value: Value, seen: Any) -> None:
    trees = booster.trees
    for feature, origin in enumerate(value.origins):
        thresholds = [tree.threshold[(tree.feature == feature) & ~tree.leaf] for tree in trees]
        g.split(seen(origin), np.concatenate([np.zeros(0), *thresholds]))


@EMITTERS.classifier(*XGBOOST_CLASSIFIERS)
def xgboost_classifier(g: Emission, model: Any, value: Value) -> Scores:
    return Scores(g.cast(xgboost(g, model, value).probabilities, DOUBLE))


@EMITTERS.regressor(*XGBOOST_REGRESSORS)
def xgboost_regressor(g: Emission, model: Any, value: Value) -> str:
    return g.cast(xgboost(g, model, value).prediction, DOUBLE)


@EMITTERS.classifier("LGBMClassifier")
def lightgbm_classifier(g: Emission, model: Any, value: Value) -> Scores:
    return Scores(g.cast(lightgbm(g, model, value).probabilities, DOUBLE))


@EMITTERS.regressor(*LIGHTGBM_REGRESSORS)
def lightgbm_regressor(g: Emission, model: Any, value: Value) -> str:
    return g.cast(lightgbm(g, model, value).prediction, DOUBLE)


@EMITTERS.error_bound(*XGBOOST_CLASSIFIERS, *XGBOOST_REGRESSORS)
def xgboost_error_bound(bounds: ErrorBounds, model: Any, rows: Any) -> Any:
    """Sums of float32 leaves in float32, carried through the booster's link."""
    reading = bounds.readings.of(model, xgboost_reading.read)
    margins = np.asarray(model.predict(rows, output_margin=True), np.float64).reshape(rows.shape[0], -1)
    if reading.booster.linear is None:
        scale = np.abs(reading.booster.intercepts) + largest_leaves(reading.booster.trees, reading.booster.groups)
    else:
        dense = np.nan_to_num(np.abs(np.asarray(rows.toarray() if hasattr(rows, "toarray") else rows, np.float64)))
        scale = dense @ np.abs(reading.booster.linear) + np.abs(reading.booster.intercepts)
    return reading.link.tolerance(margins, np.broadcast_to(links.SUMMATION * scale, margins.shape))


@EMITTERS.error_bound("LGBMClassifier", *LIGHTGBM_REGRESSORS)
def lightgbm_error_bound(bounds: ErrorBounds, model: Any, rows: Any) -> Any:
    """Sums of leaves in float64, rounded to float32 before the booster's link."""
    reading = bounds.readings.of(model, from_lightgbm.read)
    margins = np.asarray(model.booster_.predict(rows, raw_score=True), np.float64).reshape(rows.shape[0], -1)
    divisor = reading.booster.rounds if reading.booster.average else 1
    if any(leaves is not None for leaves in reading.booster.linear):
        scale = np.abs(margins) + 1.0
    else:
        scale = largest_leaves(reading.booster.trees, reading.booster.groups)
    lost = np.broadcast_to(links.SUMMATION * scale / divisor, margins.shape)
    return reading.link.tolerance(margins / divisor, lost)
