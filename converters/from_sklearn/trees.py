"""Decision trees and their averages: DecisionTree*, ExtraTree*, RandomForest*, ExtraTrees*.

scikit-learn casts a row to float32 and compares it with float64 thresholds. The ONNX node does the same: it compares
doubles that hold float32 values with the unchanged thresholds, so all branches are the same.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpress.converters.from_sklearn.emission import (
    Doubles,
    Emission,
    ErrorBounds,
    Origin,
    Registry,
    Scores,
    Value,
    carried_back,
)
from onnxpress.converters.from_sklearn.steps import EPS32, row_sum
from onnxpress.converters.graph.builder import DOUBLE, FLOAT, INT64
from onnxpress.converters.graph.trees import AT_MOST, Tree, add_trees

EMITTERS = Registry()

Seen = Callable[[Origin | None], Origin | None]
FORESTS = ("RandomForestClassifier", "ExtraTreesClassifier")
TREES = ("DecisionTreeClassifier", "ExtraTreeClassifier")


def tree_of(tree: Any, values: Doubles) -> Tree:
    """scikit-learn's `tree_` as a table with the leaf values `values` [nodes, targets]."""
    return Tree(
        feature=tree.feature.astype(np.int64),
        threshold=tree.threshold.astype(np.float64),
        left=tree.children_left.astype(np.int64),
        right=tree.children_right.astype(np.int64),
        nan_left=tree.missing_go_to_left.astype(bool),
        weights=np.asarray(values, np.float64),
    )


def rounded(origin: Origin | None) -> Origin | None:
    """The origin followed by a cast to float32, for trees that cast their rows."""
    return origin and origin.then(lambda values: values.astype(np.float32).astype(np.float64))


def unchanged(origin: Origin | None) -> Origin | None:
    """The origin unchanged, for trees that compare float64."""
    return origin


def summed(g: Emission, tensor: str, trees: Sequence[Tree], value: Value, seen: Seen = rounded) -> str:
    """The sum over trees of the leaf that each row reaches: DOUBLE [rows, targets], rounded to float32 once.

    `tensor` is DOUBLE [rows, features] as the trees compare it; `value` has the origins of its columns, and `seen`
    maps an origin to the numbers that the trees compare.
    """
    features = np.concatenate([tree.feature[~tree.leaf] for tree in trees])
    thresholds = np.concatenate([tree.threshold[~tree.leaf] for tree in trees])
    for feature in np.unique(features[features < value.width]):
        g.split(seen(value.origins[feature]), thresholds[features == feature])
    tensor, trees = _untransformed(g, tensor, trees, value, seen)
    targets = max(tree.first_target + tree.weights.shape[1] for tree in trees)
    if g.keeps_float64:
        return _added(g, tensor, trees, targets)
    return g.cast(add_trees(g, trees, tensor, targets, mode=AT_MOST, double=True), DOUBLE)


def _untransformed(
    g: Emission, tensor: str, trees: Sequence[Tree], value: Value, seen: Seen
) -> tuple[str, Sequence[Tree]]:
    """Trees that compare the client's own numbers if a function before them is not bitwise reproducible.

    The graph's logarithm may differ from numpy's in its last bit, which can change a branch. So the thresholds are
    carried back through numpy's own function, and the column before it is compared with them.
    """
    columns = [tensor]
    thresholds = [tree.threshold.copy() for tree in trees]
    features = [tree.feature.copy() for tree in trees]
    for feature, plain in enumerate(value.origins):
        origin = seen(plain)
        if origin is None or origin.exact or not any((tree.feature[~tree.leaf] == feature).any() for tree in trees):
            continue
        made = g.columns(tensor, [feature])
        columns.append(g.add("Where", g.add("IsNaN", made), made, origin.tensor))
        for tree, threshold, numbers in zip(trees, thresholds, features, strict=True):
            here = (tree.feature == feature) & ~tree.leaf
            threshold[here] = carried_back(origin, tree.threshold[here])
            numbers[here] = value.width + len(columns) - 2
    changed = zip(trees, features, thresholds, strict=True)
    return g.concat(columns), [replace(tree, feature=f, threshold=t) for tree, f, t in changed]


def numbered(g: Emission, tensor: str, trees: Sequence[Tree]) -> tuple[str, NDArray[np.int64]]:
    """INT64 [rows, trees]: the number of the leaf that each row reaches in each tree, counted over all trees.

    The second result is the node of each of these leaves, tree by tree.
    """
    marked, nodes, count = [], [], 0
    for number, tree in enumerate(trees):
        leaf = np.flatnonzero(tree.leaf)
        marks = np.zeros((len(tree.left), 1))
        marks[leaf, 0] = count + np.arange(len(leaf))
        count += len(leaf)
        nodes.append(leaf)
        marked.append(replace(tree, weights=marks, first_target=number))
    return g.cast(add_trees(g, marked, tensor, len(trees), mode=AT_MOST, double=True), INT64), np.concatenate(nodes)


def _added(g: Emission, tensor: str, trees: Sequence[Tree], targets: int) -> str:
    """The sums of leaves in float64 throughout: the leaf numbers, then a lookup of their values."""
    places, _ = numbered(g, tensor, trees)
    said = []
    for tree in trees:
        wide = np.zeros((len(tree.left), targets))
        wide[:, tree.first_target : tree.first_target + tree.weights.shape[1]] = tree.weights
        said.append(wide[tree.leaf])
    return g.add("ReduceSum", g.add("Gather", g.double(np.concatenate(said)), places, axis=0), g.int64(1), keepdims=0)


def as_float32(g: Emission, tensor: str) -> str:
    """The doubles rounded to float32, as scikit-learn's trees cast a row; NaN beyond float32, where it raises."""
    return g.cast(g.cast(tensor, FLOAT), DOUBLE)


def unless_infinite(g: Emission, tensor: str, output: str) -> str:
    """NaN for rows that hold an infinity, which these trees refuse although they take NaN."""
    finite = g.add("Where", g.add("IsNaN", tensor), g.double(0.0), tensor)
    return str(g.add("Add", output, row_sum(g, g.add("Mul", finite, g.double(0.0)))))


def leaves(model: Any) -> Doubles:
    """The leaf values of one fitted tree: shares of the classes, or targets: [nodes, outputs]."""
    value = model.tree_.value
    return np.asarray(value[:, :, 0] if value.shape[2] == 1 else value[:, 0, :], np.float64)


def mean(g: Emission, models: Sequence[Any], value: Value) -> str:
    """The mean of fitted trees: summed in the trees' order in float64, as scikit-learn does, then divided."""
    tensor = as_float32(g, g.whole(value))
    total = summed(g, tensor, [tree_of(model.tree_, leaves(model)) for model in models], value)
    averaged = g.add("Div", total, g.double(float(len(models)))) if len(models) > 1 else total
    return unless_infinite(g, tensor, averaged)


@EMITTERS.classifier(*FORESTS)
def forest_classifier(g: Emission, model: Any, value: Value) -> Scores:
    return Scores(mean(g, model.estimators_, value))


@EMITTERS.classifier(*TREES)
def tree_classifier(g: Emission, model: Any, value: Value) -> Scores:
    return Scores(mean(g, [model], value))


@EMITTERS.regressor("RandomForestRegressor", "ExtraTreesRegressor")
def forest_regressor(g: Emission, model: Any, value: Value) -> str:
    return mean(g, model.estimators_, value)


@EMITTERS.regressor("DecisionTreeRegressor", "ExtraTreeRegressor")
def tree_regressor(g: Emission, model: Any, value: Value) -> str:
    return mean(g, [model], value)


@EMITTERS.error_bound(
    *FORESTS, *TREES, "RandomForestRegressor", "ExtraTreesRegressor", "DecisionTreeRegressor", "ExtraTreeRegressor"
)
def forest_error_bound(_bounds: ErrorBounds, model: Any, _rows: Any) -> Any:
    """The rounding of the sum to float32: half a unit in the last place of at most the sum of the largest leaves."""
    models = getattr(model, "estimators_", [model])
    largest = np.sum([np.abs(leaves(tree)).max(axis=0) for tree in models], axis=0) / len(models)
    return EPS32 * largest.reshape(1, -1)
