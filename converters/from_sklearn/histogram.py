"""HistGradientBoostingClassifier and -Regressor: float64 rows, float64 thresholds, and splits on sets of categories.

A split on categories becomes a column of its own, 0 where the row's category goes left and 1 where it goes right, read
from a table by the category's code. The trees then compare that column with 0.5: the graph's depth and load time
do not grow with the number of categories, as they do where every category is a node.
"""

from typing import Any

import numpy as np

from onnxpress.converters.from_sklearn.emission import Emission, ErrorBounds, Part, Registry, Scores, Value
from onnxpress.converters.from_sklearn.links import INVERSES, carried
from onnxpress.converters.from_sklearn.steps import EPS32, both_sides, first_of_largest, first_of_two, transform
from onnxpress.converters.from_sklearn.trees import summed, unchanged
from onnxpress.converters.graph.builder import INT64
from onnxpress.converters.graph.trees import Tree, largest_leaves

EMITTERS = Registry()

BITS = 32


def trees_of(model: Any) -> list[Tree]:
    """The trees round by round, one for each class; splits on categories refer to the category's own column."""
    trees = []
    for stage in model._predictors:  # noqa: SLF001 -- the only place of the trees
        for target, predictor in enumerate(stage):
            nodes = predictor.nodes
            leaf = nodes["is_leaf"].astype(bool)
            trees.append(
                Tree(
                    feature=nodes["feature_idx"].astype(np.int64),
                    threshold=nodes["num_threshold"].astype(np.float64),
                    left=np.where(leaf, -1, nodes["left"].astype(np.int64)),
                    right=np.where(leaf, -1, nodes["right"].astype(np.int64)),
                    nan_left=nodes["missing_go_to_left"].astype(bool),
                    weights=nodes["value"].astype(np.float64).reshape(-1, 1),
                    first_target=target,
                )
            )
    return trees


def margins(g: Emission, model: Any, value: Value) -> str:
    trees = trees_of(model)
    preprocessor = model._preprocessor  # noqa: SLF001 -- encodes the categories and moves them to the front
    if preprocessor is not None:
        value = transform(g, preprocessor, value, "categorical_features")
        sides, trees = with_category_splits(g, model, value, trees)
        value = Value((*value.parts, *sides))
    total = summed(g, g.whole(value), trees, value, unchanged)
    baseline = np.asarray(model._baseline_prediction, np.float64).reshape(1, -1)  # noqa: SLF001
    return g.add("Add", total, g.double(baseline))


def with_category_splits(
    g: Emission, model: Any, value: Value, trees: list[Tree]
) -> tuple[tuple[Part, ...], list[Tree]]:
    """The columns that the splits on categories read, and the trees that read them."""
    predictors = [predictor for stage in model._predictors for predictor in stage]  # noqa: SLF001
    places: dict[tuple[int, bytes], int] = {}
    changed = []
    for predictor, tree in zip(predictors, trees, strict=True):
        nodes = predictor.nodes
        feature, threshold = tree.feature.copy(), tree.threshold.copy()
        for node in np.flatnonzero(nodes["is_categorical"].astype(bool) & ~tree.leaf):
            bits = predictor.raw_left_cat_bitsets[nodes["bitset_idx"][node]]
            key = (int(feature[node]), np.asarray(bits).tobytes())
            feature[node] = value.width + places.setdefault(key, len(places))
            threshold[node] = 0.5
        changed.append(Tree(feature, threshold, tree.left, tree.right, tree.nan_left, tree.weights, tree.first_target))
    made = [_sides(g, value, feature, [key for key in places if key[0] == feature]) for feature in _features(places)]
    order = [place for feature in _features(places) for key, place in places.items() if key[0] == feature]
    if not made:
        return (), changed
    sides = g.columns(g.concat(made), np.argsort(order).tolist())
    return g.opaque(sides, len(order)).parts, changed


def _features(places: dict[tuple[int, bytes], int]) -> list[int]:
    return sorted({feature for feature, _ in places})


def _sides(g: Emission, value: Value, feature: int, keys: list[tuple[int, bytes]]) -> str:
    """DOUBLE [rows, sets]: 0 where the code of `feature` is in a set, 1 where it is not, NaN where there is no code."""
    sets = np.array([np.frombuffer(bits, np.uint32) for _, bits in keys])
    codes = np.arange(sets.shape[1] * BITS)
    inside = (sets[:, codes // BITS] >> (codes % BITS).astype(np.uint32)) & 1
    table = np.vstack([1.0 - inside.T, np.full((1, len(keys)), np.nan)])
    code = g.whole(g.take(value, [feature]))
    place = g.add("Where", g.add("IsNaN", code), g.double(float(len(codes))), code)
    return g.add("Gather", g.double(table), g.cast(g.add("Reshape", place, g.int64(-1)), INT64), axis=0)


@EMITTERS.regressor("HistGradientBoostingRegressor")
def histogram_regressor(g: Emission, model: Any, value: Value) -> str:
    return INVERSES[link_of(model)][0](g, margins(g, model, value))


@EMITTERS.classifier("HistGradientBoostingClassifier")
def histogram_classifier(g: Emission, model: Any, value: Value) -> Scores:
    margin = margins(g, model, value)
    made = INVERSES[link_of(model)][0](g, margin)
    if len(model.classes_) == 2:
        return Scores(both_sides(g, made), first_of_two(g, margin), margin)
    return Scores(made, first_of_largest(g, margin), margin)


def link_of(model: Any) -> str:
    return str(type(model._loss.link).__name__)  # noqa: SLF001 -- the loss has no public name


@EMITTERS.error_bound("HistGradientBoostingRegressor", "HistGradientBoostingClassifier")
def histogram_error_bound(_bounds: ErrorBounds, model: Any, rows: Any) -> Any:
    """The rounding of the sum of leaves to float32: eps32 * sum of the largest leaves, carried through the link."""
    outputs = model.n_trees_per_iteration_
    lost = EPS32 * largest_leaves(trees_of(model), outputs).reshape(1, -1)
    margin = np.asarray(model._raw_predict(rows), np.float64)  # noqa: SLF001 -- regressors have no decision_function
    return carried(link_of(model), margin, np.broadcast_to(lost, margin.shape))
