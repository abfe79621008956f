"""Trees as tables, and the one ONNX node that evaluates all of them.

ONNX Runtime adds the leaves of a row tree by tree, in the order of the table, in the thresholds' type. A library that
sums float32 in the same order gets the same bits.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpress.converters.graph.builder import ML, Graph

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

# A split takes its left (true) branch when: value < threshold, or value <= threshold.
LESS = "BRANCH_LT"
AT_MOST = "BRANCH_LEQ"


@dataclass(frozen=True)
class Tree:
    """One tree as arrays over its nodes, the root first. A leaf has left == right == -1.

    `weights` has one row for each node, of which only the leaves' are used, and one column for each target that the
    tree adds to: `first_target` and those after it.
    """

    feature: Integers
    threshold: Floats
    left: Integers
    right: Integers
    nan_left: NDArray[np.bool_]
    weights: Floats
    first_target: int = 0

    @property
    def leaf(self) -> NDArray[np.bool_]:
        return self.left < 0

    def reachable(self) -> Integers:
        """The nodes reachable from the root, the root first; pruned trees contain unreachable ones."""
        found, front = [np.zeros(1, np.int64)], np.zeros(1, np.int64)
        while len(front := front[~self.leaf[front]]):
            front = np.concatenate([self.left[front], self.right[front]])
            found.append(front)
        return np.concatenate(found)


def constant_tree(values: Sequence[float] | Floats) -> Tree:
    """A tree that is a single leaf and adds `values` to the first targets; as the first tree it is the initial sum."""
    none = np.full(1, -1, np.int64)
    zero = np.zeros(1, np.int64)
    weights = np.asarray(values, np.float64).reshape(1, -1)
    return Tree(zero, np.zeros(1), none, none, np.zeros(1, bool), weights)


def largest_leaves(trees: Sequence[Tree], targets: int) -> Floats:
    """For each target the sum over trees of max|leaf|: the scale of the float32 rounding error. [targets]."""
    scale = np.zeros(targets)
    for tree in trees:
        reached = tree.reachable()
        leaves = np.abs(tree.weights[reached[tree.leaf[reached]]]).max(axis=0)
        scale[tree.first_target : tree.first_target + len(leaves)] += leaves
    return scale


def thresholds_as(dtype: type[np.floating], thresholds: Floats, mode: str) -> NDArray[np.floating]:
    """Thresholds of `dtype` that split values of `dtype` exactly where the float64 ones do.

    x <= t for every float32 x is x <= (t rounded down); x < t is x < (t rounded up).
    """
    if dtype is np.float64:
        return thresholds
    with np.errstate(over="ignore"):
        near = thresholds.astype(np.float32)
    wide = near.astype(np.float64)
    if mode == AT_MOST:
        return np.where(wide > thresholds, np.nextafter(near, np.float32(-np.inf)), near)
    return np.where(wide < thresholds, np.nextafter(near, np.float32(np.inf)), near)


def add_trees(
    graph: Graph, trees: Sequence[Tree], features: str, targets: int, *, mode: str, double: bool = False
) -> str:
    """The sums of the trees' leaves, float32 [rows, targets], of a tensor [rows, features].

    With `double` the tensor, thresholds and leaves are float64, and sums are rounded once, at the end.
    """
    dtype: type[np.floating] = np.float64 if double else np.float32
    kept = [tree.reachable() for tree in trees]
    sizes = np.array([len(nodes) for nodes in kept])
    splits = [tree.left[nodes] >= 0 for tree, nodes in zip(trees, kept, strict=True)]
    is_split = np.concatenate(splits)
    tree_ids = np.repeat(np.arange(len(trees)), sizes)
    node_ids = np.concatenate([np.arange(size) for size in sizes])

    def gather(name: str) -> NDArray[Any]:
        return np.concatenate([getattr(tree, name)[nodes] for tree, nodes in zip(trees, kept, strict=True)])

    def renumbered(name: str) -> list[int]:
        children = []
        for tree, nodes, split in zip(trees, kept, splits, strict=True):
            number = np.zeros(len(tree.left) + 1, np.int64)
            number[nodes] = np.arange(len(nodes))
            children.append(np.where(split, number[getattr(tree, name)[nodes]], 0))
        return [int(child) for child in np.concatenate(children)]

    values = np.where(is_split, thresholds_as(dtype, gather("threshold"), mode), 0).astype(dtype)
    leaves = _leaves(trees, kept, dtype)
    suffix = "_as_tensor" if double else ""
    numbers = {"nodes_values": values, "target_weights": leaves.weight}
    return graph.add(
        "TreeEnsembleRegressor",
        features,
        domain=ML,
        n_targets=targets,
        aggregate_function="SUM",
        post_transform="NONE",
        nodes_treeids=tree_ids.tolist(),
        nodes_nodeids=node_ids.tolist(),
        nodes_featureids=np.where(is_split, gather("feature"), 0).tolist(),
        nodes_modes=np.where(is_split, mode, "LEAF").tolist(),
        nodes_truenodeids=renumbered("left"),
        nodes_falsenodeids=renumbered("right"),
        nodes_missing_value_tracks_true=(gather("nan_left").astype(bool) & is_split).astype(int).tolist(),
        target_treeids=leaves.tree.tolist(),
        target_nodeids=leaves.node.tolist(),
        target_ids=leaves.target.tolist(),
        **{name + suffix: graph.tensor(array) if double else array.tolist() for name, array in numbers.items()},
    )


@dataclass(frozen=True)
class _Leaves:
    tree: Integers
    node: Integers
    target: Integers
    weight: NDArray[np.floating]


def _leaves(trees: Sequence[Tree], kept: Sequence[Integers], dtype: type[np.floating]) -> _Leaves:
    """One entry for each leaf and target, tree by tree."""
    tree_ids, node_ids, targets, weights = [], [], [], []
    for number, (tree, nodes) in enumerate(zip(trees, kept, strict=True)):
        places = np.flatnonzero(tree.leaf[nodes])
        width = tree.weights.shape[1]
        tree_ids.append(np.full(len(places) * width, number))
        node_ids.append(np.repeat(places, width))
        targets.append(np.tile(np.arange(width) + tree.first_target, len(places)))
        weights.append(tree.weights[nodes[places]].ravel())
    return _Leaves(
        np.concatenate(tree_ids),
        np.concatenate(node_ids),
        np.concatenate(targets),
        np.concatenate(weights).astype(dtype),
    )
