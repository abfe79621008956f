"""LightGBM's linear trees: a leaf is a linear model of some features, or a constant if one of those is NaN."""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from onnxpress.converters.from_lightgbm.model import Booster
from onnxpress.converters.graph.builder import DOUBLE, FLOAT, INT64, Graph
from onnxpress.converters.graph.trees import Tree
from onnxpress.packages.errors import ConversionRefused

Floats = NDArray[np.float64]


class AddForest(Protocol):
    def __call__(
        self, graph: Graph, file: Booster, trees: tuple[Tree, ...], features: str, *, targets: int, double: bool
    ) -> str: ...


# The most numbers that are computed for each row: for 512 rows they take 80 MB.
CELLS_MAX = 20_000


def add_linear_trees(graph: Graph, file: Booster, features: str, add_forest: AddForest, *, double: bool) -> str:
    """The sums of the trees' leaves, float32 [rows, groups], computed in float64 as LightGBM does.

    One ensemble returns the leaf that each tree selects; the leaves' terms are then looked up and added one by one.
    """
    count, terms = len(file.trees), _terms(file)
    if terms * count > CELLS_MAX:
        raise ConversionRefused(
            f"linear trees: {count} trees with up to {terms} terms a leaf need {terms * count} numbers a row, "
            f"more than {CELLS_MAX}"
        )
    numbered, first = [], 0
    for position, tree in enumerate(file.trees):
        weights = np.where(tree.leaf, first + np.cumsum(tree.leaf) - 1, 0).astype(np.float64)
        numbered.append(replace(tree, weights=weights.reshape(-1, 1), first_target=position))
        first += int(tree.leaf.sum())
    chosen = graph.cast(add_forest(graph, file, tuple(numbered), features, targets=count, double=double), INT64)
    tables = _tables(file, len(file.feature_names))
    wide = features if double else graph.cast(features, DOUBLE)
    # Leaves with fewer terms refer to an additional column of zeros.
    nothing = graph.add("Mul", graph.cast(graph.add("IsNaN", graph.columns(wide, [0])), DOUBLE), _number(graph, 0.0))
    wide = graph.concat([wide, nothing])
    linear = graph.add("Gather", graph.constant(tables.constants), chosen, axis=0)
    missing = ""
    for which, slopes in zip(tables.features, tables.slopes, strict=True):
        place = graph.add("Gather", graph.constant(which), chosen, axis=0)
        value = graph.add("GatherElements", wide, place, axis=1)
        slope = graph.add("Gather", graph.constant(slopes), chosen, axis=0)
        linear = graph.add("Add", linear, graph.add("Mul", slope, value))
        absent = graph.add("IsNaN", value)
        missing = graph.add("Or", missing, absent) if missing else absent
    if missing:
        linear = graph.add("Where", missing, graph.add("Gather", graph.constant(tables.plain), chosen, axis=0), linear)
    return _sums(graph, file, linear)


def _number(graph: Graph, value: float) -> str:
    return graph.constant(np.array(value))


def _sums(graph: Graph, file: Booster, leaves: str) -> str:
    """The leaves [rows, trees] summed by group; a reduction over the first axis has one order for any batch size."""
    by_round = graph.add("Reshape", leaves, graph.int64(0, file.rounds, file.groups))
    total = graph.add("ReduceSum", graph.add("Transpose", by_round, perm=[1, 0, 2]), graph.int64(0), keepdims=0)
    if file.objective == "multiclass":
        # Linear leaves may exceed float32, and a softmax depends on the distances to the largest only.
        # (NaN is excluded from the maximum, whose result for NaN depends on the batch.)
        numbers = graph.add("Where", graph.add("IsNaN", total), _number(graph, -np.inf), total)
        total = graph.add("Sub", total, graph.add("ReduceMax", numbers, graph.int64(1), keepdims=1))
    return graph.cast(total, FLOAT)


def _terms(file: Booster) -> int:
    return max((len(terms) for leaves in file.linear if leaves for terms in leaves.features), default=0)


@dataclass(frozen=True)
class _Tables:
    """The leaves of all trees concatenated: features and slopes term by term, constants and values without a model."""

    features: NDArray[np.int64]  # [terms, leaves]; the number of features: no term
    slopes: Floats  # [terms, leaves]
    constants: Floats  # [leaves]
    plain: Floats  # [leaves]


def _tables(file: Booster, width: int) -> _Tables:
    leaves, terms = sum(int(tree.leaf.sum()) for tree in file.trees), _terms(file)
    features, slopes = np.full((terms, leaves), width), np.zeros((terms, leaves))
    constants, plain = np.zeros(leaves), np.zeros(leaves)
    leaf = 0
    for tree, linear in zip(file.trees, file.linear, strict=True):
        for node in np.flatnonzero(tree.leaf):
            plain[leaf] = constants[leaf] = tree.weights[node, 0]
            if linear is not None:
                constants[leaf] = linear.constants[node]
                size = len(linear.features[node])
                features[:size, leaf], slopes[:size, leaf] = linear.features[node], linear.coefficients[node]
            leaf += 1
    return _Tables(features, slopes, constants, plain)


def sizes(file: Booster, leaves: NDArray[np.int64], frame: pd.DataFrame) -> Floats:
    """Per row and group the sum of |terms| in the leaves that the trees chose; `leaves` is [rows, trees]."""
    with np.errstate(all="ignore"):
        numbers = np.nan_to_num(np.abs(_numbers(frame)))
        values = np.concatenate([numbers, np.zeros((len(frame), 1))], axis=1)
        total = np.zeros((len(frame), file.groups))
        tables = _tables(file, numbers.shape[1])
        first = 0
        for position, tree in enumerate(file.trees):
            at = first + leaves[:, position]
            terms = np.abs(tables.constants[at]) + np.abs(tables.plain[at])
            for which, slopes in zip(tables.features, tables.slopes, strict=True):
                terms = terms + np.abs(slopes[at]) * values[np.arange(len(at)), which[at]]
            total[:, position % file.groups] += terms
            first += int(tree.leaf.sum())
    return total


def _numbers(frame: pd.DataFrame) -> Floats:
    """The frame as numbers, categories as their codes."""
    columns = [frame[name].cat.codes if frame[name].dtype == "category" else frame[name] for name in frame.columns]
    return np.column_stack([np.asarray(column, np.float64) for column in columns])
