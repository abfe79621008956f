"""GradientBoostingClassifier and -Regressor: an initial estimate, then trees on float32 rows, then the loss's link."""

from typing import Any

import numpy as np

from onnxpress.converters.from_sklearn.emission import Emission, ErrorBounds, Registry, Scores, Value
from onnxpress.converters.from_sklearn.linear import PLAIN
from onnxpress.converters.from_sklearn.links import INVERSES, carried
from onnxpress.converters.from_sklearn.steps import (
    EPS32,
    EPS64,
    both_sides,
    classify,
    column,
    dense,
    first_of_largest,
    first_of_two,
    regress,
)
from onnxpress.converters.from_sklearn.trees import as_float32, leaves, summed, tree_of
from onnxpress.converters.graph.trees import Tree, largest_leaves

EMITTERS = Registry()

AVERAGES = (
    *("DecisionTreeClassifier", "RandomForestClassifier", "ExtraTreesClassifier"),
    *("DecisionTreeRegressor", "RandomForestRegressor", "ExtraTreesRegressor"),
)
CONSTANT = ("DummyClassifier", "DummyRegressor")


def trees_of(model: Any) -> list[Tree]:
    """The trees round by round, one for each class, with leaves multiplied by the learning rate."""
    trees = []
    for stage in model.estimators_:
        for target, stump in enumerate(stage):
            tree = tree_of(stump.tree_, model.learning_rate * leaves(stump))
            trees.append(Tree(tree.feature, tree.threshold, tree.left, tree.right, tree.nan_left, tree.weights, target))
    return trees


def initial(g: Emission, model: Any, value: Value) -> str:
    """The initial margin of each row: zero, a constant, or the link of another estimator's output on float32 rows."""
    if isinstance(model.init_, str):  # "zero"
        return g.double(np.zeros((1, model.n_trees_per_iteration_)))
    if type(model.init_).__name__ in CONSTANT:
        nothing = np.zeros((1, model.n_features_in_), np.float32)
        return g.double(np.asarray(model._raw_predict_init(nothing), np.float64))  # noqa: SLF001 -- no public way to it
    if type(model.init_).__name__ not in (PLAIN if not hasattr(model, "classes_") else ()) + AVERAGES:
        raise g.refused(
            f"its `init` is a {type(model.init_).__name__}, which scikit-learn computes in float32: "
            f"use a tree or a forest, for numbers a linear model, or leave `init` at its default"
        )
    seen = g.opaque(as_float32(g, g.whole(value)), value.width)
    with g.in_float64():
        if not hasattr(model, "classes_"):
            return regress(g, model.init_, seen, "init_")
        said = classify(g, model.init_, seen, "init_").probabilities
    eps = float(np.finfo(np.float64).eps)
    clipped = g.add("Min", g.add("Max", said, g.double(eps)), g.double(1 - eps))
    if len(model.classes_) > 2:
        logs = g.add("Log", clipped)
        return g.add("Sub", logs, g.add("ReduceMean", logs, g.int64(1), keepdims=1))
    positive = column(g, clipped, 1)
    odds = g.add("Log", g.add("Div", positive, g.add("Sub", g.double(1.0), positive)))
    return odds if link_of(model) == "LogitLink" else g.add("Mul", g.double(0.5), odds)


def margins(g: Emission, model: Any, value: Value) -> str:
    tensor = as_float32(g, g.whole(value))
    total = summed(g, tensor, trees_of(model), value)
    return g.add("Add", total, initial(g, model, value))


@EMITTERS.regressor("GradientBoostingRegressor")
def boosting_regressor(g: Emission, model: Any, value: Value) -> str:
    return margins(g, model, value)


@EMITTERS.classifier("GradientBoostingClassifier")
def boosting_classifier(g: Emission, model: Any, value: Value) -> Scores:
    margin = margins(g, model, value)
    made = INVERSES[link_of(model)][0](g, margin)
    if len(model.classes_) == 2:
        return Scores(both_sides(g, made), first_of_two(g, margin, ties_win=True), margin)
    return Scores(made, first_of_largest(g, margin), margin)


def link_of(model: Any) -> str:
    """The exponential loss halves the logit."""
    if type(model._loss).__name__ == "ExponentialLoss":  # noqa: SLF001 -- the loss has no public name
        return "HalfLogitLink"
    return str(type(model._loss.link).__name__)  # noqa: SLF001


def initial_error_bound(bounds: ErrorBounds, model: Any, rows: Any) -> Any:
    """The error bound of an initial estimator fitted on float32 rows: its own, with eps32 in place of eps64."""
    if isinstance(model.init_, str) or type(model.init_).__name__ in CONSTANT:
        return 0.0
    if type(model.init_).__name__ in AVERAGES:
        return 1024 * EPS64  # means of leaves in float64; a share is 0, 1 or far from both
    return bounds.of(model.init_, dense(rows)) * EPS32 / EPS64


@EMITTERS.error_bound("GradientBoostingRegressor", "GradientBoostingClassifier")
def boosting_error_bound(bounds: ErrorBounds, model: Any, rows: Any) -> Any:
    """The rounding of the sum of leaves to float32: eps32 * sum of the largest leaves, carried through the link."""
    trees = trees_of(model)
    lost = EPS32 * largest_leaves(trees, model.n_trees_per_iteration_).reshape(1, -1) + initial_error_bound(
        bounds, model, rows
    )
    if not hasattr(model, "classes_"):
        return lost
    margin = np.asarray(model.decision_function(rows), np.float64).reshape(len(rows), -1)
    return carried(link_of(model), margin, lost)
