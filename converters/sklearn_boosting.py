"""GradientBoostingClassifier and -Regressor: an initial estimate, then trees on float32 rows, then the loss's link."""

from typing import Any

import numpy as np

from converters.sklearn_emission import Doubles, Emission, Value
from converters.sklearn_links import INVERSES, carried
from converters.sklearn_steps import (
    EPS32,
    Scores,
    both_sides,
    classifier,
    first_of_largest,
    first_of_two,
    regressor,
    slack,
)
from converters.sklearn_trees import as_float32, leaves, summed, tree_of
from converters.trees import Tree, largest_leaves


def trees_of(model: Any) -> list[Tree]:
    """Round by round, a tree for each class, its leaves already shrunk by the learning rate."""
    trees = []
    for stage in model.estimators_:
        for target, stump in enumerate(stage):
            tree = tree_of(stump.tree_, model.learning_rate * leaves(stump))
            trees.append(Tree(tree.feature, tree.threshold, tree.left, tree.right, tree.nan_left, tree.weights, target))
    return trees


def initial(g: Emission, model: Any) -> Doubles:
    """What every row starts from, [1, outputs]; refused where it depends on the row."""
    kind = "zero" if isinstance(model.init_, str) else type(model.init_).__name__
    if kind not in ("zero", "DummyClassifier", "DummyRegressor"):
        raise g.refused(f"its `init` is a {kind}, which scikit-learn runs in float32: leave `init` at its default")
    nothing = np.zeros((1, model.n_features_in_), np.float32)
    return np.asarray(model._raw_predict_init(nothing), np.float64)  # noqa: SLF001 -- no public way to the constant


def margins(g: Emission, model: Any, value: Value) -> str:
    tensor = as_float32(g, g.whole(value))
    total = summed(g, tensor, trees_of(model), value)
    return g.add("Add", total, g.double(initial(g, model)))


@regressor("GradientBoostingRegressor")
def boosting_regressor(g: Emission, model: Any, value: Value) -> str:
    return margins(g, model, value)


@classifier("GradientBoostingClassifier")
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


@slack("GradientBoostingRegressor", "GradientBoostingClassifier")
def boosting_slack(model: Any, rows: Any) -> Any:
    """The sum of leaves leaves its node as float32: eps32 * sum of the largest leaves, carried through the link."""
    trees = trees_of(model)
    lost = EPS32 * largest_leaves(trees, model.n_trees_per_iteration_).reshape(1, -1)
    if not hasattr(model, "classes_"):
        return lost
    margin = np.asarray(model.decision_function(rows), np.float64).reshape(len(rows), -1)
    return carried(link_of(model), margin, lost)
