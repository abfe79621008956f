"""Naive Bayes and discriminant analysis: a joint log-likelihood for each class, then softmax."""

from typing import Any

import numpy as np

from onnxpress.converters.from_sklearn.emission import Emission, ErrorBounds, Registry, Scores, Value
from onnxpress.converters.from_sklearn.linear import decided, product, product_error_bound
from onnxpress.converters.from_sklearn.links import sigmoid
from onnxpress.converters.from_sklearn.steps import EPS64, both_sides, column, dense, first_of_largest, row_sum
from onnxpress.converters.graph.builder import INT64

EMITTERS = Registry()

LIKELIHOODS = (
    "GaussianNB",
    "MultinomialNB",
    "ComplementNB",
    "BernoulliNB",
    "CategoricalNB",
    "QuadraticDiscriminantAnalysis",
)


def posterior(g: Emission, joint: str, classes: int) -> Scores:
    """Softmax of log-likelihoods [rows, classes]; the label is the first of the largest."""
    decision = g.add("Sub", column(g, joint, 1), column(g, joint, 0)) if classes == 2 else joint
    return Scores(g.add("Softmax", joint, axis=1), first_of_largest(g, joint), decision)


@EMITTERS.classifier("GaussianNB")
def gaussian(g: Emission, model: Any, value: Value) -> Scores:
    parts = []
    for mean, variance, prior in zip(model.theta_, model.var_, model.class_prior_, strict=True):
        away = g.add("Sub", g.whole(value), g.double(mean.reshape(1, -1)))
        squares = g.add("Div", g.add("Mul", away, away), g.double(variance.reshape(1, -1)))
        constant = np.log(prior) - 0.5 * np.sum(np.log(2.0 * np.pi * variance))
        parts.append(g.add("Sub", g.double(constant), g.add("Mul", g.double(0.5), row_sum(g, squares))))
    return posterior(g, g.concat(parts), len(parts))


@EMITTERS.classifier("MultinomialNB")
def multinomial(g: Emission, model: Any, value: Value) -> Scores:
    joint = product(g, value, model.feature_log_prob_, model.class_log_prior_)
    return posterior(g, joint, len(model.classes_))


@EMITTERS.classifier("ComplementNB")
def complement(g: Emission, model: Any, value: Value) -> Scores:
    alone = model.class_log_prior_ if len(model.classes_) == 1 else np.zeros(len(model.classes_))
    return posterior(g, product(g, value, model.feature_log_prob_, alone), len(model.classes_))


@EMITTERS.classifier("BernoulliNB")
def bernoulli(g: Emission, model: Any, value: Value) -> Scores:
    if model.binarize is not None:
        above = g.add("Greater", g.whole(value), g.double(float(model.binarize)))
        for origin in value.origins:
            g.split(origin, np.array([float(model.binarize)]))
        value = g.opaque(g.cast(above, 11), value.width)
    absent = np.log(1 - np.exp(model.feature_log_prob_))
    joint = product(g, value, model.feature_log_prob_ - absent, model.class_log_prior_ + absent.sum(axis=1))
    return posterior(g, joint, len(model.classes_))


@EMITTERS.classifier("CategoricalNB")
def categorical(g: Emission, model: Any, value: Value) -> Scores:
    """A code is truncated to an integer; a negative or too large one, which the original refuses, gives NaN."""
    total = g.double(model.class_log_prior_.reshape(1, -1))
    for index, table in enumerate(model.feature_log_prob_):
        count = table.shape[1]
        code = g.cast(g.whole(g.take(value, [index])), INT64)
        known = g.add("And", g.add("GreaterOrEqual", code, g.int64(0)), g.add("Less", code, g.int64(count)))
        place = g.add("Reshape", g.add("Where", known, code, g.int64(count)), g.int64(-1))
        rows = np.vstack([table.T, np.full((1, len(table)), np.nan)])
        total = g.add("Add", total, g.add("Gather", g.double(rows), place, axis=0))
        g.known(value.origins[index], range(count))
    return posterior(g, total, len(model.classes_))


@EMITTERS.classifier("QuadraticDiscriminantAnalysis")
def quadratic(g: Emission, model: Any, value: Value) -> Scores:
    parts = []
    for index, mean in enumerate(model.means_):
        scaling = np.asarray(model.scalings_[index])
        turned = np.ascontiguousarray(np.asarray(model.rotations_[index]) * scaling**-0.5)
        moved = g.add("MatMul", g.add("Sub", g.whole(value), g.double(mean.reshape(1, -1))), g.double(turned))
        norm = g.add("Add", row_sum(g, g.add("Mul", moved, moved)), g.double(np.sum(np.log(scaling))))
        parts.append(g.add("Add", g.add("Mul", g.double(-0.5), norm), g.double(np.log(model.priors_[index]))))
    return posterior(g, g.concat(parts), len(parts))


@EMITTERS.error_bound(*LIKELIHOODS)
def likelihood_error_bound(_bounds: ErrorBounds, model: Any, rows: Any) -> Any:
    """Log-likelihoods sum n terms in float64: 8 n eps64 of their magnitude, then a softmax."""
    joint = _magnitude(model, dense(rows))
    lost = 8 * (model.n_features_in_ + 1) * EPS64 * joint.max(axis=1, keepdims=True)
    return np.minimum(np.expm1(np.minimum(2 * lost, 50.0)), 1.0)


def _magnitude(model: Any, rows: Any) -> Any:
    """The largest sum of absolute terms of a log-likelihood."""
    kind = type(model).__name__
    if kind == "GaussianNB":
        spread = [
            ((np.abs(rows) + np.abs(mean)) ** 2 / var).sum(axis=1)
            for mean, var in zip(model.theta_, model.var_, strict=True)
        ]
        return np.stack(spread, axis=1) + np.abs(np.log(model.var_)).sum(axis=1)
    if kind == "QuadraticDiscriminantAnalysis":
        parts = []
        for mean, turn, scaling in zip(model.means_, model.rotations_, model.scalings_, strict=True):
            reach = (np.abs(rows) + np.abs(mean)) @ (np.abs(turn) * np.asarray(scaling) ** -0.5)
            parts.append((reach**2).sum(axis=1) + np.abs(np.log(scaling)).sum())
        return np.stack(parts, axis=1)
    if kind == "CategoricalNB":
        return np.full(
            (len(rows), 1), sum(np.abs(table[np.isfinite(table)]).max() for table in model.feature_log_prob_)
        )
    seen = (
        (rows > model.binarize).astype(np.float64)
        if kind == "BernoulliNB" and model.binarize is not None
        else np.abs(rows)
    )
    return seen @ np.abs(model.feature_log_prob_).T + np.abs(model.class_log_prior_).max() + model.n_features_in_


@EMITTERS.classifier("LinearDiscriminantAnalysis")
def linear_discriminant(g: Emission, model: Any, value: Value) -> Scores:
    decision, winner, outputs = decided(g, model, value)
    if outputs == 1:
        return Scores(both_sides(g, sigmoid(g, decision)), winner, decision)
    return Scores(g.add("Softmax", decision, axis=1), winner, decision)


@EMITTERS.error_bound("LinearDiscriminantAnalysis")
def linear_discriminant_error_bound(_bounds: ErrorBounds, model: Any, rows: Any) -> Any:
    return 2 * product_error_bound(model, rows).max(axis=1, keepdims=True)
