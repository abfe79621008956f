"""Decision trees and what averages them: DecisionTree*, ExtraTree*, RandomForest*, ExtraTrees*.

scikit-learn casts a row to float32 and compares it with float64 thresholds. The node here does the same: it compares
doubles that hold float32 values with the thresholds as they are, so nothing is rounded and no row changes its side.
"""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from converters.graph import DOUBLE, FLOAT
from converters.sklearn_emission import Doubles, Emission, Origin, Value
from converters.sklearn_steps import EPS32, Scores, classifier, regressor, row_sum, slack
from converters.trees import AT_MOST, Tree, add_trees

Seen = Callable[[Origin | None], Origin | None]
FORESTS = ("RandomForestClassifier", "ExtraTreesClassifier")
TREES = ("DecisionTreeClassifier", "ExtraTreeClassifier")


def tree_of(tree: Any, values: Doubles) -> Tree:
    """scikit-learn's `tree_` as a table whose leaves say `values` [nodes, targets]."""
    return Tree(
        feature=tree.feature.astype(np.int64),
        threshold=tree.threshold.astype(np.float64),
        left=tree.children_left.astype(np.int64),
        right=tree.children_right.astype(np.int64),
        nan_left=tree.missing_go_to_left.astype(bool),
        weights=np.asarray(values, np.float64),
    )


def rounded(origin: Origin | None) -> Origin | None:
    """An origin as trees see it that cast their rows to float32."""
    return origin and origin.then(lambda values: values.astype(np.float32).astype(np.float64))


def unchanged(origin: Origin | None) -> Origin | None:
    """An origin as trees see it that compare float64 as it is."""
    return origin


def summed(g: Emission, tensor: str, trees: Sequence[Tree], value: Value, seen: Seen = rounded) -> str:
    """The sum over trees of the leaf that each row reaches: DOUBLE [rows, targets], rounded to float32 once.

    `tensor` is DOUBLE [rows, features] as the trees compare it; `value` says where its columns come from, `seen` what
    the trees do to them first.
    """
    for feature in range(value.width):
        thresholds = [tree.threshold[(tree.feature == feature) & ~tree.leaf] for tree in trees]
        g.split(seen(value.origins[feature]), np.concatenate(thresholds))
    targets = max(tree.first_target + tree.weights.shape[1] for tree in trees)
    return g.cast(add_trees(g, trees, tensor, targets, mode=AT_MOST, double=True), DOUBLE)


def as_float32(g: Emission, tensor: str) -> str:
    """The doubles rounded to float32, as scikit-learn's trees see a row; NaN where it raises: beyond float32."""
    return g.cast(g.cast(tensor, FLOAT), DOUBLE)


def unless_infinite(g: Emission, tensor: str, output: str) -> str:
    """NaN for rows that hold an infinity, which these trees refuse although they take NaN."""
    finite = g.add("Where", g.add("IsNaN", tensor), g.double(0.0), tensor)
    return str(g.add("Add", output, row_sum(g, g.add("Mul", finite, g.double(0.0)))))


def leaves(model: Any) -> Doubles:
    """What the leaves of one fitted tree say: shares of the classes, or targets: [nodes, outputs]."""
    value = model.tree_.value
    return np.asarray(value[:, :, 0] if value.shape[2] == 1 else value[:, 0, :], np.float64)


def mean(g: Emission, models: Sequence[Any], value: Value) -> str:
    """The mean of fitted trees: summed in the trees' order in float64, as scikit-learn does, then divided."""
    tensor = as_float32(g, g.whole(value))
    total = summed(g, tensor, [tree_of(model.tree_, leaves(model)) for model in models], value)
    averaged = g.add("Div", total, g.double(float(len(models)))) if len(models) > 1 else total
    return unless_infinite(g, tensor, averaged)


@classifier(*FORESTS)
def forest_classifier(g: Emission, model: Any, value: Value) -> Scores:
    return Scores(mean(g, model.estimators_, value))


@classifier(*TREES)
def tree_classifier(g: Emission, model: Any, value: Value) -> Scores:
    return Scores(mean(g, [model], value))


@regressor("RandomForestRegressor", "ExtraTreesRegressor")
def forest_regressor(g: Emission, model: Any, value: Value) -> str:
    return mean(g, model.estimators_, value)


@regressor("DecisionTreeRegressor", "ExtraTreeRegressor")
def tree_regressor(g: Emission, model: Any, value: Value) -> str:
    return mean(g, [model], value)


@slack(*FORESTS, *TREES, "RandomForestRegressor", "ExtraTreesRegressor", "DecisionTreeRegressor", "ExtraTreeRegressor")
def forest_slack(model: Any, _rows: Any) -> Any:
    """The sum leaves the node as float32: half a unit in its last place of at most the sum of the largest leaves."""
    models = getattr(model, "estimators_", [model])
    largest = np.sum([np.abs(leaves(tree)).max(axis=0) for tree in models], axis=0) / len(models)
    return EPS32 * largest.reshape(1, -1)
