"""IsolationForest and KMeans."""

from typing import Any

import numpy as np

from onnxpress.converters.from_sklearn.emission import Emission, ErrorBounds, Registry, Scores, Value
from onnxpress.converters.from_sklearn.steps import dense, flat, one_hot, row_sum
from onnxpress.converters.from_sklearn.trees import as_float32, summed, tree_of
from onnxpress.converters.graph.builder import INT64

EMITTERS = Registry()


@EMITTERS.classifier("IsolationForest")
def isolation(g: Emission, model: Any, value: Value) -> Scores:
    """The mean depth of the leaves, in float64; the label is 1 where `score_samples` reaches the offset."""
    trees = []
    for index, (estimator, features) in enumerate(zip(model.estimators_, model.estimators_features_, strict=True)):
        depth = model._decision_path_lengths[index] + model._average_path_length_per_tree[index] - 1.0  # noqa: SLF001
        tree = tree_of(estimator.tree_, depth.reshape(-1, 1))
        tree.feature[:] = np.where(tree.leaf, 0, np.asarray(features)[np.maximum(tree.feature, 0)])
        trees.append(tree)
    with g.in_float64():
        depths = summed(g, as_float32(g, g.whole(value)), trees, value)
    rate = -np.log(2.0) / (len(trees) * _path(model._max_samples))  # noqa: SLF001
    score = g.add("Exp", g.add("Mul", depths, g.double(rate)))
    decision = g.add("Sub", g.add("Neg", score), g.double(float(model.offset_)))
    place = flat(g, g.cast(g.add("GreaterOrEqual", decision, g.double(0.0)), INT64))
    return Scores(one_hot(g, place, 2), place, decision)


def _path(rows: int) -> float:
    """The average path length of a tree that isolates each of so many rows (Liu, Ting and Zhou 2008)."""
    if rows <= 2:
        return max(float(rows) - 1.0, 0.0)
    return float(2.0 * (np.log(rows - 1.0) + np.euler_gamma) - 2.0 * (rows - 1.0) / rows)


@EMITTERS.error_bound("IsolationForest")
def isolation_error_bound(_bounds: ErrorBounds, model: Any, rows: Any) -> Any:
    """1 (any label is accepted) where a score equals the offset within float64, as at the contamination quantile."""
    decision = np.asarray(model.decision_function(rows), np.float64).reshape(-1, 1)
    return (np.abs(decision) < 1e-13).astype(np.float64)


@EMITTERS.transformer("KMeans", "MiniBatchKMeans")
def distances(g: Emission, model: Any, value: Value) -> Value:
    """The distance to each center, from direct differences."""
    centers = dense(model.cluster_centers_)
    away = g.add("Sub", g.add("Unsqueeze", g.whole(value), g.int64(1)), g.double(centers[None]))
    squares = g.add("ReduceSum", g.add("Mul", away, away), g.int64(2), keepdims=0)
    return g.opaque(g.add("Sqrt", squares), len(centers))


@EMITTERS.regressor("KMeans", "MiniBatchKMeans")
def clusters(g: Emission, model: Any, value: Value) -> str:
    """`prediction` is the number of the nearest center."""
    centers = dense(model.cluster_centers_)
    products = g.add("MatMul", g.whole(value), g.double(np.ascontiguousarray(-2.0 * centers.T)))
    distances = g.add("Add", products, g.double((centers**2).sum(axis=1).reshape(1, -1)))
    nearest = g.add("ArgMin", distances, axis=1, keepdims=1)
    return g.add("Add", g.cast(nearest, 11), g.add("Mul", row_sum(g, g.whole(value)), g.double(0.0)))
