"""Compositions of estimators: Pipeline, ColumnTransformer, FeatureUnion, and hyperparameter searches."""

from typing import Any

import numpy as np

from onnxpress.converters.from_sklearn.emission import Emission, ErrorBounds, Registry, Scores, Value
from onnxpress.converters.from_sklearn.functions import called
from onnxpress.converters.from_sklearn.steps import EPS64, classify, regress, transform

EMITTERS = Registry()

SEARCHES = ("GridSearchCV", "RandomizedSearchCV", "HalvingGridSearchCV", "HalvingRandomSearchCV")


@EMITTERS.transformer("Pipeline")
def pipeline(g: Emission, model: Any, value: Value) -> Value:
    for name, step in model.steps:
        value = transform(g, step, value, name)
    return value


@EMITTERS.classifier("Pipeline", checks_rows=False)
def pipeline_classifier(g: Emission, model: Any, value: Value) -> Scores:
    for name, step in model.steps[:-1]:
        value = transform(g, step, value, name)
    name, step = model.steps[-1]
    return classify(g, step, value, name)


@EMITTERS.regressor("Pipeline", checks_rows=False)
def pipeline_regressor(g: Emission, model: Any, value: Value) -> str:
    for name, step in model.steps[:-1]:
        value = transform(g, step, value, name)
    name, step = model.steps[-1]
    return regress(g, step, value, name)


@EMITTERS.error_bound("Pipeline")
def pipeline_error_bound(bounds: ErrorBounds, model: Any, rows: Any) -> Any:
    for _, step in model.steps[:-1]:
        if step is not None and step != "passthrough":
            rows = step.transform(rows)
    return bounds.of(model.steps[-1][1], rows)


@EMITTERS.classifier("SelfTrainingClassifier", checks_rows=False)
def self_training(g: Emission, model: Any, value: Value) -> Scores:
    return classify(g, model.estimator_, value, "estimator_")


@EMITTERS.error_bound("SelfTrainingClassifier")
def self_training_error_bound(bounds: ErrorBounds, model: Any, rows: Any) -> Any:
    return bounds.of(model.estimator_, rows)


@EMITTERS.classifier(*SEARCHES, checks_rows=False)
def search_classifier(g: Emission, model: Any, value: Value) -> Scores:
    return classify(g, model.best_estimator_, value, "best_estimator_")


@EMITTERS.regressor(*SEARCHES, checks_rows=False)
def search_regressor(g: Emission, model: Any, value: Value) -> str:
    return regress(g, model.best_estimator_, value, "best_estimator_")


@EMITTERS.error_bound(*SEARCHES)
def search_error_bound(bounds: ErrorBounds, model: Any, rows: Any) -> Any:
    return bounds.of(model.best_estimator_, rows)


@EMITTERS.transformer("ColumnTransformer")
def column_transformer(g: Emission, model: Any, value: Value) -> Value:
    """The transformers' outputs concatenated, in scikit-learn's order."""
    parts: list[Any] = []
    weights = model.transformer_weights or {}
    for name, step, _ in model.transformers_:
        columns = [int(column) for column in np.atleast_1d(model._transformer_to_input_indices[name])]  # noqa: SLF001
        if not columns or (isinstance(step, str) and step == "drop"):
            continue
        made = transform(g, step, g.take(value, columns), name)
        parts.extend(times(g, made, weights[name]).parts if name in weights else made.parts)
    names = tuple(str(name) for name in _names_out(model, parts))
    return Value(tuple(parts), names, sparse=bool(model.sparse_output_))


def _names_out(model: Any, parts: list[Any]) -> list[str]:
    """The column names, which only a later step needs that selects by name (`set_output`)."""
    width = sum(len(part.origins) for part in parts)
    try:
        names = list(model.get_feature_names_out())
    except (AttributeError, ValueError):
        return []
    return names if len(names) == width else []


def times(g: Emission, value: Value, weight: float) -> Value:
    """The columns multiplied by a transformer's weight."""
    scaled = g.add("Mul", g.whole(value), g.double(float(weight)))
    return g.mapped(value, scaled, lambda _: lambda values: values * weight)


@EMITTERS.regressor("TransformedTargetRegressor", checks_rows=False)
def transformed_target(g: Emission, model: Any, value: Value) -> str:
    made = regress(g, model.regressor_, value, "regressor_")
    with g.step("transformer_", model.transformer_):
        return _inverse(g, model.transformer_, made)


def _inverse(g: Emission, model: Any, made: str) -> str:
    """The inverse transform of the targets, applied to the prediction."""
    kind = type(model).__name__
    if kind == "FunctionTransformer":
        return called(g, model.inverse_func, model.inv_kw_args, made)
    if kind == "StandardScaler":
        scaled = g.add("Mul", made, g.double(np.reshape(model.scale_, (1, -1)))) if model.with_std else made
        return g.add("Add", scaled, g.double(np.reshape(model.mean_, (1, -1)))) if model.with_mean else scaled
    if kind == "RobustScaler":
        scaled = g.add("Mul", made, g.double(np.reshape(model.scale_, (1, -1)))) if model.with_scaling else made
        return g.add("Add", scaled, g.double(np.reshape(model.center_, (1, -1)))) if model.with_centering else scaled
    if kind == "MaxAbsScaler":
        return g.add("Mul", made, g.double(np.reshape(model.scale_, (1, -1))))
    if kind == "MinMaxScaler" and not model.clip:
        shifted = g.add("Sub", made, g.double(np.reshape(model.min_, (1, -1))))
        return g.add("Div", shifted, g.double(np.reshape(model.scale_, (1, -1))))
    raise g.refused("undoing it is not supported: use a scaler or one of numpy's functions")


@EMITTERS.error_bound("TransformedTargetRegressor")
def transformed_target_error_bound(bounds: ErrorBounds, model: Any, rows: Any) -> Any:
    """The regressor's own error carried through the inverse transform of its output."""
    made = np.asarray(model.regressor_.predict(rows), np.float64).reshape(len(rows), -1)
    lost = bounds.of(model.regressor_, rows) + 4 * EPS64 * np.abs(made)
    undone = [model.transformer_.inverse_transform(made + sign * lost) for sign in (-1, 0, 1)]
    return np.maximum(np.abs(undone[0] - undone[1]), np.abs(undone[2] - undone[1])) + 8 * EPS64 * np.abs(undone[1])


@EMITTERS.transformer("FeatureUnion")
def feature_union(g: Emission, model: Any, value: Value) -> Value:
    weights = model.transformer_weights or {}
    sparse = False
    parts: list[Any] = []
    for name, step in model.transformer_list:
        if isinstance(step, str) and step == "drop":
            continue
        made = transform(g, step, value, name)
        if name in weights:
            made = times(g, made, weights[name])
        parts.extend(made.parts)
        sparse = sparse or made.sparse
    return Value(tuple(parts), sparse=sparse)
