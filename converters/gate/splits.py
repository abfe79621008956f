"""Reads the tree ensembles of a compiled graph: every split, and the path from the root to it."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import numpy_helper

OPERATORS = ("TreeEnsembleClassifier", "TreeEnsembleRegressor", "TreeEnsemble")
# Modes of TreeEnsemble (ai.onnx.ml 5) by their number.
MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ", "BRANCH_MEMBER")

Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Splits:
    """The splits of one ensemble node of the graph, as arrays of one entry a split."""

    source: str  # the tensor that the ensemble reads
    trees: int
    feature: Integers  # column of that tensor
    threshold: NDArray[np.float64]
    mode: NDArray[np.str_]
    missing_true: NDArray[np.bool_]  # whether NaN takes the true branch
    parent: Integers  # the split above, -1 at a root
    on_true: NDArray[np.bool_]  # whether the path from the parent is its true branch


def splits_of(model: onnx.ModelProto) -> list[Splits]:
    """Every ensemble of the graph that has at least one split."""
    found = []
    for node in model.graph.node:
        if node.op_type in OPERATORS:
            attributes = {attribute.name: _value(attribute) for attribute in node.attribute}
            read = _of_roots(attributes) if "tree_roots" in attributes else _of_ids(attributes)
            splits = Splits(node.input[0], **read)
            if len(splits.feature):
                found.append(splits)
    return found


def tree_size(model: onnx.ModelProto) -> tuple[int, int]:
    """Trees and tree nodes (leaves included) of a compiled model."""
    trees = nodes = 0
    for node in model.graph.node:
        if node.op_type in OPERATORS:
            attributes = {attribute.name: attribute for attribute in node.attribute}
            if "tree_roots" in attributes:
                trees += len(attributes["tree_roots"].ints)
                nodes += len(attributes["nodes_featureids"].ints) + len(attributes["leaf_targetids"].ints)
            else:
                trees += len(set(attributes["nodes_treeids"].ints))
                nodes += len(attributes["nodes_treeids"].ints)
    return trees, nodes


def _value(attribute: onnx.AttributeProto) -> NDArray[Any]:
    if attribute.HasField("t"):
        return np.asarray(numpy_helper.to_array(attribute.t))
    if attribute.strings:
        return np.array([text.decode() for text in attribute.strings])
    numbers = attribute.ints or attribute.floats
    return np.array(numbers, dtype=np.int64 if attribute.ints else np.float32)


def _of_ids(attributes: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """TreeEnsembleClassifier and -Regressor: nodes named by tree and number."""
    tree = attributes["nodes_treeids"].astype(np.int64)
    number = attributes["nodes_nodeids"].astype(np.int64)
    width = int(number.max()) + 1
    key = tree * width + number
    order = np.argsort(key)

    def place(children: str) -> Integers:
        wanted = tree * width + attributes[children].astype(np.int64)
        return np.asarray(order[np.searchsorted(key[order], wanted) % len(order)], dtype=np.int64)

    mode = attributes["nodes_modes"]
    is_split = mode != "LEAF"
    values = attributes.get("nodes_values_as_tensor", attributes.get("nodes_values"))
    missing = attributes.get("nodes_missing_value_tracks_true", np.zeros(len(tree)))
    parent, on_true = np.full(len(tree), -1), np.zeros(len(tree), bool)
    here = np.flatnonzero(is_split)
    for children, side in (("nodes_falsenodeids", False), ("nodes_truenodeids", True)):
        below = place(children)[here]
        parent[below], on_true[below] = here, side
    roots = len(np.unique(tree))
    kept = _Kept(is_split, parent, on_true)
    return kept.columns(attributes["nodes_featureids"], values, mode, missing) | {"trees": roots}


def _of_roots(attributes: dict[str, NDArray[Any]]) -> dict[str, Any]:
    """TreeEnsemble: splits in one array, leaves in another, children by place."""
    feature = attributes["nodes_featureids"].astype(np.int64)
    count = len(feature)
    mode = np.array([MODES[number] for number in attributes["nodes_modes"]])
    missing = attributes.get("nodes_missing_value_tracks_true", np.zeros(count))
    parent, on_true = np.full(count, -1), np.zeros(count, bool)
    for branch, side in (("false", False), ("true", True)):
        inner = np.flatnonzero(attributes[f"nodes_{branch}leafs"] == 0)
        below = attributes[f"nodes_{branch}nodeids"][inner].astype(np.int64)
        parent[below], on_true[below] = inner, side
    # A tree that is one leaf is written as a split whose branches are both that leaf.
    roots = len(attributes["tree_roots"])
    kept = _Kept(np.ones(count, bool), parent, on_true)
    return kept.columns(feature, attributes["nodes_splits"], mode, missing) | {"trees": roots}


@dataclass(frozen=True)
class _Kept:
    """The splits among an ensemble's nodes, with parents renumbered to leave the leaves out."""

    is_split: NDArray[np.bool_]
    parent: Integers
    on_true: NDArray[np.bool_]

    def columns(
        self, feature: NDArray[Any], values: Any, mode: NDArray[Any], missing: NDArray[Any]
    ) -> dict[str, NDArray[Any]]:
        """Everything of `Splits` that has an entry a split."""
        place = np.cumsum(self.is_split) - 1
        above = self.parent[self.is_split]
        missing = missing if len(missing) else np.zeros(len(self.is_split))
        return {
            "feature": feature[self.is_split].astype(np.int64),
            "threshold": np.asarray(values, dtype=np.float64)[self.is_split],
            "mode": mode[self.is_split],
            "missing_true": missing[self.is_split].astype(bool),
            "parent": np.where(above >= 0, place[above], -1),
            "on_true": self.on_true[self.is_split],
        }
