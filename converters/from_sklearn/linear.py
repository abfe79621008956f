"""Linear models: one product in float64, and the link of each."""

from typing import Any

import numpy as np

from onnxpress.converters.from_sklearn.emission import Emission, ErrorBounds, Registry, Scores, Value
from onnxpress.converters.from_sklearn.links import INVERSES, carried, normalized, sigmoid
from onnxpress.converters.from_sklearn.steps import (
    EPS64,
    both_sides,
    dense,
    first_of_largest,
    first_of_two,
    one_hot,
    row_sum,
    tie_mask,
)

EMITTERS = Registry()

PLAIN = (
    "LinearRegression",
    "Ridge",
    "RidgeCV",
    "Lasso",
    "LassoCV",
    "LassoLars",
    "LassoLarsCV",
    "LassoLarsIC",
    "Lars",
    "LarsCV",
    "ElasticNet",
    "ElasticNetCV",
    "MultiTaskLasso",
    "MultiTaskLassoCV",
    "MultiTaskElasticNet",
    "MultiTaskElasticNetCV",
    "OrthogonalMatchingPursuit",
    "OrthogonalMatchingPursuitCV",
    "BayesianRidge",
    "ARDRegression",
    "HuberRegressor",
    "TheilSenRegressor",
    "QuantileRegressor",
    "SGDRegressor",
    "PassiveAggressiveRegressor",
    "LinearSVR",
)
GENERALIZED = ("PoissonRegressor", "GammaRegressor", "TweedieRegressor")
LOGISTIC = ("LogisticRegression", "LogisticRegressionCV")
MARGINS = ("LinearSVC", "RidgeClassifier", "RidgeClassifierCV", "Perceptron", "PassiveAggressiveClassifier")


def product(g: Emission, value: Value, coefficients: Any, intercept: Any) -> str:
    """DOUBLE [rows, outputs]: rows @ coefficients.T + intercept."""
    weights = np.atleast_2d(dense(coefficients))
    made = g.add("MatMul", g.whole(value), g.double(np.ascontiguousarray(weights.T)))
    offset = np.broadcast_to(np.asarray(intercept, np.float64).reshape(1, -1), (1, len(weights)))
    return g.add("Add", made, g.double(offset))


def winner_of(g: Emission, decision: str, outputs: int) -> str:
    """The index of the label: that of the largest score, or 1 where the only one is above 0."""
    return first_of_largest(g, decision) if outputs > 1 else first_of_two(g, decision)


def product_error_bound(model: Any, rows: Any) -> Any:
    """The error of n products summed in another order, n * eps64 * sum |w x|, and 3 times that for the steps before."""
    weights = np.atleast_2d(np.abs(dense(model.coef_)))
    magnitude = np.abs(dense(rows)) @ weights.T + np.abs(np.asarray(model.intercept_, np.float64)).reshape(1, -1)
    return 4 * (weights.shape[1] + 1) * EPS64 * magnitude


def decided(g: Emission, model: Any, value: Value) -> tuple[str, str, int]:
    """The decision function [rows, outputs], the label's place, and how many outputs there are."""
    outputs = len(np.atleast_2d(dense(model.coef_)))
    decision = product(g, value, model.coef_, model.intercept_)
    return decision, winner_of(g, decision, outputs), outputs


@EMITTERS.regressor(*PLAIN)
def linear(g: Emission, model: Any, value: Value) -> str:
    return product(g, value, model.coef_, model.intercept_)


@EMITTERS.error_bound(*PLAIN)
def linear_error_bound(_bounds: ErrorBounds, model: Any, rows: Any) -> Any:
    return product_error_bound(model, rows)


@EMITTERS.regressor("RANSACRegressor")
def ransac(g: Emission, model: Any, value: Value) -> str:
    if type(model.estimator_).__name__ not in PLAIN:
        raise g.refused(
            f"its estimator is a {type(model.estimator_).__name__}, not a linear model: use that one itself"
        )
    return product(g, value, model.estimator_.coef_, model.estimator_.intercept_)


@EMITTERS.error_bound("RANSACRegressor")
def ransac_error_bound(_bounds: ErrorBounds, model: Any, rows: Any) -> Any:
    return product_error_bound(model.estimator_, rows)


@EMITTERS.regressor(*GENERALIZED)
def generalized(g: Emission, model: Any, value: Value) -> str:
    return INVERSES[link_of(model)][0](g, product(g, value, model.coef_, model.intercept_))


@EMITTERS.error_bound(*GENERALIZED)
def generalized_error_bound(_bounds: ErrorBounds, model: Any, rows: Any) -> Any:
    margin = dense(rows) @ np.asarray(model.coef_, np.float64).reshape(-1, 1) + model.intercept_
    return carried(link_of(model), margin, product_error_bound(model, rows))


def link_of(model: Any) -> str:
    return str(type(model._base_loss.link).__name__)  # noqa: SLF001 -- the loss has no public name


@EMITTERS.classifier(*LOGISTIC)
def logistic(g: Emission, model: Any, value: Value) -> Scores:
    decision, winner, outputs = decided(g, model, value)
    if outputs == 1 and getattr(model, "multi_class", "") == "multinomial":
        # Before 1.8 a multinomial model of two classes was a softmax over both signs of its margin.
        return Scores(both_sides(g, sigmoid(g, decision, 2.0)), winner, decision)
    if outputs == 1:
        return Scores(both_sides(g, sigmoid(g, decision)), winner, decision)
    if getattr(model, "multi_class", "") == "ovr" or model.solver == "liblinear":
        return Scores(normalized(g, sigmoid(g, decision)), winner, decision)
    return Scores(g.add("Softmax", decision, axis=1), winner, decision)


@EMITTERS.error_bound(*LOGISTIC)
def logistic_error_bound(_bounds: ErrorBounds, model: Any, rows: Any) -> Any:
    """The error of the link of margins that are exact within `product_error_bound`."""
    lost = product_error_bound(model, rows)
    decision = np.asarray(model.decision_function(rows), np.float64).reshape(lost.shape)
    return carried("LogitLink" if lost.shape[1] == 1 else "MultinomialLogit", decision, lost)


@EMITTERS.classifier(*MARGINS)
def by_margin(g: Emission, model: Any, value: Value) -> Scores:
    if getattr(getattr(model, "_label_binarizer", None), "y_type_", "").startswith("multilabel"):
        raise g.refused("it answers several labels at once: train a classifier for each")
    decision, winner, outputs = decided(g, model, value)
    return Scores(one_hot(g, winner, max(outputs, 2)), winner, decision)


@EMITTERS.error_bound(*MARGINS)
def by_margin_error_bound(_bounds: ErrorBounds, model: Any, rows: Any) -> Any:
    return tie_mask(np.asarray(model.decision_function(rows), np.float64), product_error_bound(model, rows))


@EMITTERS.classifier("SGDOneClassSVM")
def one_class(g: Emission, model: Any, value: Value) -> Scores:
    decision = product(g, value, model.coef_, -np.asarray(model.offset_))
    winner = first_of_two(g, decision, ties_win=True)
    return Scores(one_hot(g, winner, 2), winner, decision)


@EMITTERS.error_bound("SGDOneClassSVM")
def one_class_error_bound(_bounds: ErrorBounds, model: Any, rows: Any) -> Any:
    lost = (
        4
        * (model.n_features_in_ + 1)
        * EPS64
        * (np.abs(dense(rows)) @ np.abs(model.coef_).reshape(-1, 1) + abs(model.offset_))
    )
    return tie_mask(np.asarray(model.decision_function(rows), np.float64), lost)


@EMITTERS.classifier("SGDClassifier")
def sgd(g: Emission, model: Any, value: Value) -> Scores:
    decision, winner, outputs = decided(g, model, value)
    if model.loss == "log_loss":
        each = sigmoid(g, decision)
        return Scores(both_sides(g, each) if outputs == 1 else normalized(g, each), winner, decision)
    if model.loss != "modified_huber":
        return Scores(one_hot(g, winner, max(outputs, 2)), winner, decision)
    clipped = g.add("Min", g.add("Max", decision, g.double(-1.0)), g.double(1.0))
    each = g.add("Div", g.add("Add", clipped, g.double(1.0)), g.double(2.0))
    if outputs == 1:
        return Scores(both_sides(g, each), winner, decision)
    nothing = g.add("Equal", row_sum(g, each), g.double(0.0))
    return Scores(normalized(g, g.add("Where", nothing, g.double(1.0), each)), winner, decision)


@EMITTERS.error_bound("SGDClassifier")
def sgd_error_bound(_bounds: ErrorBounds, model: Any, rows: Any) -> Any:
    """Sigmoid and clipped margins have a slope of at most 1; dividing by a small sum of them enlarges the error."""
    lost = product_error_bound(model, rows)
    if model.loss not in ("log_loss", "modified_huber"):
        return tie_mask(np.asarray(model.decision_function(rows), np.float64), lost)
    if lost.shape[1] == 1:
        return 2 * lost
    decision = np.asarray(model.decision_function(rows), np.float64)
    if model.loss == "log_loss":
        return 2 * lost.max(axis=1, keepdims=True)  # numerators and their sum move by the same factor e^lost
    total = ((np.clip(decision, -1, 1) + 1) / 2).sum(axis=1, keepdims=True)
    with np.errstate(divide="ignore"):
        return np.minimum(np.where(total > 0, 2 * lost.sum(axis=1, keepdims=True) / total, 0.0), 1.0)


@EMITTERS.regressor("PLSRegression", "PLSCanonical", "CCA")
def pls(g: Emission, model: Any, value: Value) -> str:
    centered = g.add("Sub", g.whole(value), g.double(model._x_mean.reshape(1, -1)))  # noqa: SLF001
    made = g.add("MatMul", centered, g.double(np.ascontiguousarray(np.asarray(model.coef_).T)))
    return g.add("Add", made, g.double(np.asarray(model.intercept_).reshape(1, -1)))


@EMITTERS.error_bound("PLSRegression", "PLSCanonical", "CCA")
def pls_error_bound(_bounds: ErrorBounds, model: Any, rows: Any) -> Any:
    magnitude = (np.abs(dense(rows)) + np.abs(model._x_mean)) @ np.abs(model.coef_).T  # noqa: SLF001
    return 8 * (model.n_features_in_ + 1) * EPS64 * (magnitude + np.abs(model.intercept_))
