"""Estimators that combine others: Voting*, Stacking*, Bagging*."""

from typing import Any

import numpy as np

from onnxpress.converters.from_sklearn.emission import Emission, ErrorBounds, Part, Registry, Scores, Value
from onnxpress.converters.from_sklearn.steps import (
    EPS64,
    classify,
    column,
    dense,
    first_of_largest,
    gives_probabilities,
    one_hot,
    regress,
    tie_mask,
)

EMITTERS = Registry()


def weighted(g: Emission, tensors: list[str], weights: Any) -> str:
    """The sum of weight * tensor in order; without weights the plain sum."""
    scaled = tensors
    if weights is not None:
        scaled = [g.add("Mul", tensor, g.double(float(w))) for tensor, w in zip(tensors, weights, strict=True)]
    total = scaled[0]
    for tensor in scaled[1:]:
        total = g.add("Add", total, tensor)
    return total


def winner(g: Emission, scores: Scores) -> str:
    return scores.winner or first_of_largest(g, scores.probabilities)


def unsure(bounds: ErrorBounds, model: Any, rows: Any) -> Any:
    """[rows, 1]: 1 where rounding alone may change the class that `model` returns, else 0."""
    lost = np.atleast_2d(bounds.of(model, rows))
    if not gives_probabilities(model):
        return lost
    said = dense(model.predict_proba(rows))
    return (
        tie_mask(said, np.broadcast_to(lost + 8 * EPS64, said.shape)) if said.shape[1] > 1 else np.zeros((len(said), 1))
    )


@EMITTERS.classifier("VotingClassifier", checks_rows=False)
def voting_classifier(g: Emission, model: Any, value: Value) -> Scores:
    names = [name for name, estimator in model.estimators if not isinstance(estimator, str)]
    voters = [classify(g, voter, value, name) for name, voter in zip(names, model.estimators_, strict=True)]
    weights = model._weights_not_none  # noqa: SLF001 -- the weights of those not dropped
    count = float(len(voters)) if weights is None else float(np.sum(weights))
    if model.voting == "soft":
        return Scores(g.add("Div", weighted(g, [voter.probabilities for voter in voters], weights), g.double(count)))
    classes = len(model.classes_)
    votes = weighted(g, [one_hot(g, winner(g, voter), classes) for voter in voters], weights)
    place = first_of_largest(g, votes)
    return Scores(one_hot(g, place, classes), place)


@EMITTERS.error_bound("VotingClassifier")
def voting_classifier_error_bound(bounds: ErrorBounds, model: Any, rows: Any) -> Any:
    """Soft: the voters' mean error. Hard: 1 in rows where rounding may change a voter's class."""
    if model.voting == "hard":
        return np.max(
            [unsure(bounds, voter, rows).max(axis=1, keepdims=True) + _nothing(rows) for voter in model.estimators_],
            axis=0,
        )
    return _mean_error_bound(bounds, model, rows)


@EMITTERS.regressor("VotingRegressor", checks_rows=False)
def voting_regressor(g: Emission, model: Any, value: Value) -> str:
    names = [name for name, estimator in model.estimators if not isinstance(estimator, str)]
    voters = [regress(g, voter, value, name) for name, voter in zip(names, model.estimators_, strict=True)]
    weights = model._weights_not_none  # noqa: SLF001
    count = float(len(voters)) if weights is None else float(np.sum(weights))
    return g.add("Div", weighted(g, voters, weights), g.double(count))


@EMITTERS.error_bound("VotingRegressor")
def voting_regressor_error_bound(bounds: ErrorBounds, model: Any, rows: Any) -> Any:
    return _mean_error_bound(bounds, model, rows)


def _mean_error_bound(bounds: ErrorBounds, model: Any, rows: Any) -> Any:
    lost = np.broadcast_arrays(*(bounds.of(voter, rows) + _nothing(rows) for voter in model.estimators_))
    return np.average(lost, axis=0, weights=model._weights_not_none) + 8 * EPS64  # noqa: SLF001


def _nothing(rows: Any) -> Any:
    return np.zeros((rows.shape[0], 1))


@EMITTERS.classifier("StackingClassifier", checks_rows=False)
def stacking_classifier(g: Emission, model: Any, value: Value) -> Scores:
    return classify(g, model.final_estimator_, stacked(g, model, value), "final_estimator_")


@EMITTERS.regressor("StackingRegressor", checks_rows=False)
def stacking_regressor(g: Emission, model: Any, value: Value) -> str:
    return regress(g, model.final_estimator_, stacked(g, model, value), "final_estimator_")


def stacked(g: Emission, model: Any, value: Value) -> Value:
    """The estimators' outputs in float64, followed by the rows themselves with `passthrough`."""
    binary = len(getattr(model, "classes_", ())) == 2
    names = [name for name, estimator in model.estimators if not isinstance(estimator, str)]
    parts: list[Part] = []
    for name, estimator, method in zip(names, model.estimators_, model.stack_method_, strict=True):
        with g.in_float64():
            tensor, width = _response(g, estimator, value, name, method)
        if method == "predict_proba" and binary:
            tensor, width = column(g, tensor, 1), 1
        parts.append(Part(tensor, (None,) * width))
    return Value((*parts, *value.parts) if model.passthrough else tuple(parts))


def _response(g: Emission, estimator: Any, value: Value, name: str, method: str) -> tuple[str, int]:
    """The output tensor of a method of an estimator, and its width."""
    if not hasattr(estimator, "classes_"):
        return regress(g, estimator, value, name), 1
    scores, classes = classify(g, estimator, value, name), len(estimator.classes_)
    if method == "predict_proba":
        return scores.probabilities, classes
    if method == "decision_function" and scores.decision:
        return scores.decision, 1 if classes == 2 else classes
    if method == "predict" and np.asarray(estimator.classes_).dtype.kind in "iufb":
        labels = g.double(np.asarray(estimator.classes_, np.float64).reshape(-1, 1))
        return g.add("Gather", labels, winner(g, scores), axis=0), 1
    raise g.refused(f"it stacks {method} of {type(estimator).__name__}, which cannot be emitted: use predict_proba")


@EMITTERS.error_bound("StackingClassifier", "StackingRegressor")
def stacking_error_bound(bounds: ErrorBounds, model: Any, rows: Any) -> Any:
    """The final estimator's own error; a linear one passes on the float32 error of boosters below it by its weights."""
    said = model.transform(rows)
    lost = np.zeros((rows.shape[0], 1)) + bounds.of(model.final_estimator_, said)
    beneath = np.sum([np.max(bounds.of_boosters(estimator, rows)) for estimator in model.estimators_])
    weights = np.abs(dense(getattr(model.final_estimator_, "coef_", 0.0)))
    return lost + 2 * weights.max() * beneath


@EMITTERS.regressor("BaggingRegressor", checks_rows=False)
def bagging_regressor(g: Emission, model: Any, value: Value) -> str:
    said = [
        regress(g, estimator, g.take(_unnamed(value), [int(feature) for feature in features]), f"estimators_[{index}]")
        for index, (estimator, features) in enumerate(zip(model.estimators_, model.estimators_features_, strict=True))
    ]
    return g.add("Div", weighted(g, said, None), g.double(float(len(said))))


@EMITTERS.classifier("BaggingClassifier", checks_rows=False)
def bagging_classifier(g: Emission, model: Any, value: Value) -> Scores:
    """The mean of probabilities, or of votes where the estimators give none."""
    said = []
    classes = len(model.classes_)
    for index, (estimator, features) in enumerate(zip(model.estimators_, model.estimators_features_, strict=True)):
        chosen = g.take(_unnamed(value), [int(feature) for feature in features])
        scores = classify(g, estimator, chosen, f"estimators_[{index}]")
        places = np.asarray(estimator.classes_, np.int64)  # bagging trains on the classes' places
        spread = np.zeros((len(places), classes))
        spread[np.arange(len(places)), places] = 1.0
        sure = gives_probabilities(estimator)
        full = scores.probabilities if sure else one_hot(g, winner(g, scores), len(places))
        said.append(full if len(places) == classes else g.add("MatMul", full, g.double(spread)))
    return Scores(g.add("Div", weighted(g, said, None), g.double(float(len(said)))))


def _unnamed(value: Value) -> Value:
    return Value(value.parts)


@EMITTERS.error_bound("BaggingClassifier", "BaggingRegressor")
def bagging_error_bound(bounds: ErrorBounds, model: Any, rows: Any) -> Any:
    table = rows.to_numpy() if hasattr(rows, "to_numpy") else rows
    lost = []
    for estimator, features in zip(model.estimators_, model.estimators_features_, strict=True):
        chosen = table[:, features]
        said = (
            unsure(bounds, estimator, chosen)
            if hasattr(estimator, "classes_") and not gives_probabilities(estimator)
            else bounds.of(estimator, chosen)
        )
        lost.append(np.asarray(said).max(axis=1, keepdims=True) + _nothing(table))
    return np.mean(lost, axis=0) + 8 * EPS64
