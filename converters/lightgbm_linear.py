"""LightGBM's linear trees: a leaf is a linear model of some features, or its plain value where one of those is NaN."""

from dataclasses import replace
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from converters.family import ConversionRefused
from converters.graph import DOUBLE, FLOAT, INT64, Graph
from converters.lightgbm_model import Booster
from converters.trees import Tree

Floats = NDArray[np.float64]


class AddForest(Protocol):
    def __call__(
        self, graph: Graph, file: Booster, trees: tuple[Tree, ...], features: str, *, targets: int, double: bool
    ) -> str: ...


# Each row looks at every feature of every tree: 512 rows of this are 80 MB.
CELLS_MAX = 20_000


def add_linear_trees(graph: Graph, file: Booster, features: str, add_forest: AddForest, *, double: bool) -> str:
    """The sums of the trees' leaves, float32 [rows, groups], computed in float64 as LightGBM does.

    One ensemble says which leaf each tree chose; the leaf's model is looked up and applied.
    """
    width, count = len(file.feature_names), len(file.trees)
    if width * count > CELLS_MAX:
        raise ConversionRefused(
            f"linear trees: {count} trees of {width} features need {width * count} numbers a row, more than {CELLS_MAX}"
        )
    numbered, first = [], 0
    for position, tree in enumerate(file.trees):
        weights = np.where(tree.leaf, first + np.cumsum(tree.leaf) - 1, 0).astype(np.float64)
        numbered.append(replace(tree, weights=weights.reshape(-1, 1), first_target=position))
        first += int(tree.leaf.sum())
    chosen = graph.cast(add_forest(graph, file, tuple(numbered), features, targets=count, double=double), INT64)
    tables = _tables(file, width)
    used = graph.add("Gather", graph.constant(tables.used), chosen, axis=1)  # [features, rows, trees]
    slopes = graph.add("Gather", graph.constant(tables.slopes), chosen, axis=1)
    wide = features if double else graph.cast(features, DOUBLE)
    turned = graph.add("Unsqueeze", graph.add("Transpose", wide, perm=[1, 0]), graph.int64(2))
    zero = graph.constant(np.zeros(()))
    products = graph.add("Where", used, graph.add("Mul", slopes, turned), zero)
    missing = graph.cast(graph.add("And", used, graph.add("IsNaN", turned)), FLOAT)
    any_missing = graph.add("ReduceMax", missing, graph.int64(0), keepdims=0)
    # Reductions over the first axis have one order, whatever the batch.
    sloped = graph.add("ReduceSum", products, graph.int64(0), keepdims=0)
    linear = graph.add("Add", graph.add("Gather", graph.constant(tables.constants), chosen, axis=0), sloped)
    plain = graph.add("Gather", graph.constant(tables.plain), chosen, axis=0)
    leaves = graph.add("Where", graph.add("Greater", any_missing, graph.float32(0.0)), plain, linear)
    by_round = graph.add("Reshape", leaves, graph.int64(0, file.rounds, file.groups))
    total = graph.add("ReduceSum", graph.add("Transpose", by_round, perm=[1, 0, 2]), graph.int64(0), keepdims=0)
    if file.objective == "multiclass":
        # Linear leaves may outgrow float32: a softmax sees the distances to the largest only.
        # (NaN is kept out of the maximum, whose answer to it depends on the batch.)
        smallest = graph.constant(np.array(-np.inf))
        numbers = graph.add("Where", graph.add("IsNaN", total), smallest, total)
        total = graph.add("Sub", total, graph.add("ReduceMax", numbers, graph.int64(1), keepdims=1))
    return graph.cast(total, FLOAT)


class _Tables:
    """The leaves of all trees side by side."""

    def __init__(self, width: int, leaves: int) -> None:
        self.used = np.zeros((width, leaves), np.bool_)
        self.slopes = np.zeros((width, leaves))
        self.constants = np.zeros(leaves)
        self.plain = np.zeros(leaves)


def _tables(file: Booster, width: int) -> _Tables:
    tables = _Tables(width, sum(int(tree.leaf.sum()) for tree in file.trees))
    leaf = 0
    for tree, linear in zip(file.trees, file.linear, strict=True):
        for node in np.flatnonzero(tree.leaf):
            tables.plain[leaf] = tree.weights[node, 0]
            tables.constants[leaf] = tree.weights[node, 0] if linear is None else linear.constants[node]
            if linear is not None:
                for feature, slope in zip(linear.features[node], linear.coefficients[node], strict=True):
                    tables.used[feature, leaf] = True
                    tables.slopes[feature, leaf] += slope
            leaf += 1
    return tables


def sizes(file: Booster, leaves: NDArray[np.int64], frame: pd.DataFrame) -> Floats:
    """Per row and group the sum of |terms| in the leaves that the trees chose; `leaves` is [rows, trees]."""
    with np.errstate(all="ignore"):
        values = np.nan_to_num(np.abs(_numbers(frame)))
        total = np.zeros((len(frame), file.groups))
        tables = _tables(file, values.shape[1])
        first = 0
        for position, tree in enumerate(file.trees):
            at = first + leaves[:, position]
            terms = np.abs(tables.constants[at]) + np.abs(tables.plain[at])
            total[:, position % file.groups] += terms + (np.abs(tables.slopes[:, at]).T * values).sum(axis=1)
            first += int(tree.leaf.sum())
    return total


def _numbers(frame: pd.DataFrame) -> Floats:
    """The frame as numbers, categories as their codes."""
    columns = [frame[name].cat.codes if frame[name].dtype == "category" else frame[name] for name in frame.columns]
    return np.column_stack([np.asarray(column, np.float64) for column in columns])
