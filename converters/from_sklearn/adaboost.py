"""AdaBoostClassifier and AdaBoostRegressor."""

from typing import Any

import numpy as np

from onnxpress.converters.from_sklearn.emission import Emission, ErrorBounds, Registry, Scores, Value
from onnxpress.converters.from_sklearn.ensembles import unsure, weighted, winner
from onnxpress.converters.from_sklearn.steps import (
    EPS64,
    classify,
    column,
    dense,
    first_of_largest,
    first_of_two,
    regress,
)

EMITTERS = Registry()


@EMITTERS.classifier("AdaBoostClassifier", checks_rows=False)
def adaboost_classifier(g: Emission, model: Any, value: Value) -> Scores:
    """Each estimator adds its weight to its class and -weight / (classes - 1) to the others."""
    classes = len(model.classes_)
    if getattr(model, "algorithm", "SAMME") == "SAMME.R":
        raise g.refused("its algorithm SAMME.R is gone from scikit-learn: train with SAMME")
    votes = []
    pairs = zip(model.estimators_, model.estimator_weights_, strict=False)
    for index, (estimator, weight) in enumerate(pairs):
        place = winner(g, classify(g, estimator, value, f"estimators_[{index}]"))
        own = np.searchsorted(model.classes_, estimator.classes_)
        table = np.full((len(own), classes), -1 / (classes - 1) * weight)
        table[np.arange(len(own)), own] = weight
        votes.append(g.add("Gather", g.double(table), place, axis=0))
    total = g.add("Div", weighted(g, votes, None), g.double(float(model.estimator_weights_.sum())))
    if classes == 2:
        decision = g.add("Add", g.add("Neg", column(g, total, 0)), column(g, total, 1))
        half = g.add("Div", g.concat([g.add("Neg", decision), decision]), g.double(2.0))
        return Scores(g.add("Softmax", half, axis=1), first_of_two(g, decision), decision)
    made = g.add("Softmax", g.add("Div", total, g.double(classes - 1.0)), axis=1)
    return Scores(made, first_of_largest(g, total), total)


@EMITTERS.error_bound("AdaBoostClassifier")
def adaboost_classifier_error_bound(bounds: ErrorBounds, model: Any, rows: Any) -> Any:
    """1 (any output is accepted) where rounding may change an estimator's class; else the bound of float64 sums."""
    doubt = [
        unsure(bounds, estimator, rows).max(axis=1, keepdims=True) + np.zeros((rows.shape[0], 1))
        for estimator in model.estimators_
    ]
    return np.max(doubt, axis=0) + 8 * len(doubt) * EPS64


@EMITTERS.regressor("AdaBoostRegressor", checks_rows=False)
def adaboost_regressor(g: Emission, model: Any, value: Value) -> str:
    """The weighted median of the estimators' answers.

    It is the smallest output for which the weights of all outputs up to it reach half of the total. It is found by
    comparing all pairs of outputs, without sorting.
    """
    with g.in_float64():
        said = g.concat(
            regress(g, estimator, value, f"estimators_[{index}]") for index, estimator in enumerate(model.estimators_)
        )
    weights = np.asarray(model.estimator_weights_, np.float64)[: len(model.estimators_)]
    one = g.add("Unsqueeze", said, g.int64(2))
    other = g.add("Unsqueeze", said, g.int64(1))
    at_most = g.cast(g.add("LessOrEqual", other, one), 11)
    below = g.add("ReduceSum", g.add("Mul", at_most, g.double(weights.reshape(1, 1, -1))), g.int64(2), keepdims=0)
    enough = g.add("GreaterOrEqual", below, g.double(0.5 * np.cumsum(weights)[-1]))
    return g.add("ReduceMin", g.add("Where", enough, said, g.double(np.inf)), g.int64(1), keepdims=1)


@EMITTERS.error_bound("AdaBoostRegressor")
def adaboost_regressor_error_bound(bounds: ErrorBounds, model: Any, rows: Any) -> Any:
    """The largest error of an estimator, or the distance to the next output where the weights tie within rounding."""
    said = np.stack([dense(estimator.predict(rows)).ravel() for estimator in model.estimators_], axis=1)
    lost = np.max([np.max(bounds.of(e, rows)) if not hasattr(e, "tree_") else 0.0 for e in model.estimators_])
    weights = np.asarray(model.estimator_weights_)[: said.shape[1]]
    order = np.argsort(said, axis=1)
    below = np.cumsum(weights[order], axis=1)
    half = 0.5 * below[:, -1:]
    close = np.abs(below - half) <= 64 * EPS64 * half
    ranked = np.take_along_axis(said, order, axis=1)
    step = np.where(close[:, :-1], np.diff(ranked, axis=1), 0.0)
    return lost + step.max(axis=1, keepdims=True, initial=0.0)
