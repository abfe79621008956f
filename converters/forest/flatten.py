"""From the attributes of a TreeEnsembleRegressor to the arrays that the kernel walks.

A node takes 8 bytes if every tree has fewer than 65,536 nodes and the forest as many columns, so that a step of a walk
is one load of a node and one load of a value. This works because:

- The children of a split are adjacent, so a node stores the left one only; `value >= threshold` adds 1.
- `<=` becomes `<` with the next larger threshold; `>` and `>=` exchange the children.
- The kernel compares no NaN. A column is a feature together with the replacement of its missing values: -inf if NaN
  goes left, +inf if it goes right. A split that separates missing values from all others, for example one with an
  infinite threshold, has a column that is -inf or +inf for every other value.
- A leaf compares with a column of NaN, which is never true, and has itself as left child, so walks that have arrived
  stay there. Its threshold holds the leaf's value or, if leaves are vectors, the index of its vector.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from onnxpress.packages.errors import ForestError
from onnxpress.packages.forest.compiled import COLUMNS, DOUBLE, NARROW, NODES, TREES, WIDE, Walk

NARROW_MAX: Final = 1 << 16
# The kinds of columns, as in kernel.c.
MISSING_LEFT, MISSING_RIGHT, ONLY_MISSING_RIGHT, ONLY_MISSING_LEFT = range(4)
# Mode of a split -> whether larger values take the true branch, and whether the threshold itself does.
MODES: Final = {
    "BRANCH_LT": (False, False),
    "BRANCH_LEQ": (False, True),
    "BRANCH_GT": (True, False),
    "BRANCH_GTE": (True, True),
}
LEAF: Final = "LEAF"

Integers = NDArray[np.int64]
Floats = NDArray[np.floating[Any]]


@dataclass(frozen=True)
class Table:
    """The attributes of a TreeEnsembleRegressor as arrays; thresholds and weights all float32 or all float64.

    tree, mode, feature, threshold, true, false, missing_true: one entry per node; `tree` ascends, and children are
    indices of this table. leaf_node, leaf_target, leaf_weight: one entry per leaf and target.
    """

    targets: int
    tree: Integers
    mode: NDArray[np.str_]
    feature: Integers
    threshold: Floats
    true: Integers
    false: Integers
    missing_true: NDArray[np.bool_]
    leaf_node: Integers
    leaf_target: Integers
    leaf_weight: Floats


def flatten(attributes: Mapping[str, Any], source: str, target: str) -> Walk:
    """The walk of a TreeEnsembleRegressor from tensor `source` to tensor `target`.

    `attributes` by name: lists, numbers, bytes, and arrays in place of tensors. Raises ForestError.
    """
    table = _read(attributes)
    split = table.mode != LEAF
    _check_splits(table, split)
    return _walk(table, split, source, target)


def _read(attributes: Mapping[str, Any]) -> Table:
    if _text(attributes.get("aggregate_function", "SUM")) != "SUM":
        raise ForestError(f"aggregate_function {_text(attributes['aggregate_function'])}")
    if _text(attributes.get("post_transform", "NONE")) != "NONE":
        raise ForestError(f"post_transform {_text(attributes['post_transform'])}")
    for name in ("base_values", "base_values_as_tensor"):
        if len(attributes.get(name, ())):
            raise ForestError(name)
    double = "nodes_values_as_tensor" in attributes
    suffix, dtype = ("_as_tensor", np.float64) if double else ("", np.float32)
    tree = np.asarray(attributes["nodes_treeids"], np.int64)
    node = np.asarray(attributes["nodes_nodeids"], np.int64)
    places = _Places(tree, node)
    mode = np.array(list(attributes["nodes_modes"])).astype("U")
    leaf = mode == LEAF

    def child(name: str) -> Integers:
        found = np.zeros(len(tree), np.int64)
        numbers = np.asarray(attributes[name], np.int64)
        found[~leaf] = places.of(tree[~leaf], numbers[~leaf])
        return found

    weights: Floats = np.asarray(attributes["target_weights" + suffix], dtype)
    values: Floats = np.asarray(attributes["nodes_values" + suffix], dtype)
    missing = attributes.get("nodes_missing_value_tracks_true") or np.zeros(len(tree))
    target_tree = np.asarray(attributes["target_treeids"], np.int64)
    return Table(
        targets=int(attributes["n_targets"]),
        tree=tree,
        mode=mode,
        feature=np.asarray(attributes["nodes_featureids"], np.int64),
        threshold=values,
        true=child("nodes_truenodeids"),
        false=child("nodes_falsenodeids"),
        missing_true=np.asarray(missing, bool),
        leaf_node=places.of(target_tree, np.asarray(attributes["target_nodeids"], np.int64)),
        leaf_target=np.asarray(attributes["target_ids"], np.int64),
        leaf_weight=weights,
    )


class _Places:
    """Finds nodes in the table by tree and number."""

    def __init__(self, tree: Integers, node: Integers) -> None:
        if (np.diff(tree) < 0).any():
            raise ForestError("its trees are not in order")
        self._span = int(node.max(initial=0)) + 1
        self._keys = tree * self._span + node
        self._order = np.argsort(self._keys, kind="stable")
        if (np.diff(self._keys[self._order]) == 0).any():
            raise ForestError("a node is defined twice")

    def of(self, tree: Integers, node: Integers) -> Integers:
        wanted = tree * self._span + node
        found = np.searchsorted(self._keys, wanted, sorter=self._order)
        places = self._order[np.minimum(found, len(self._order) - 1)]
        if (self._keys[places] != wanted).any():
            raise ForestError("a node is missing")
        return places


def _check_splits(table: Table, split: NDArray[np.bool_]) -> None:
    unknown = sorted({*np.unique(table.mode[split]).tolist()} - MODES.keys())
    if unknown:
        raise ForestError(f"splits of mode {', '.join(unknown)}")
    if (table.feature[split] < 0).any():
        raise ForestError("a split has a negative feature")
    if np.isnan(table.threshold[split]).any():
        raise ForestError("a threshold is NaN")


def _walk(table: Table, split: NDArray[np.bool_], source: str, target: str) -> Walk:
    modes, mode = np.unique(table.mode, return_inverse=True)
    larger, equal = np.array([MODES.get(one, (False, False)) for one in modes.tolist()])[mode].T
    # `x < t` and `x >= t` separate below t, `x <= t` and `x > t` below the next number.
    infinity = table.threshold.dtype.type(np.inf)
    above = larger != equal
    with np.errstate(over="ignore", under="ignore", invalid="ignore"):
        threshold = np.where(above, np.nextafter(table.threshold, infinity), table.threshold)
    left, right = np.where(larger, table.false, table.true), np.where(larger, table.true, table.false)
    missing_right = np.where(larger, table.missing_true, ~table.missing_true)
    order = _breadth_first(table.tree, split, left, right)
    kinds = np.where(missing_right, MISSING_RIGHT, MISSING_LEFT)
    # No number is larger than +inf or smaller than -inf, so only NaN can take these branches.
    none_right, none_left = above & (table.threshold == infinity), ~above & (table.threshold == -infinity)
    kinds[none_right & missing_right], kinds[none_left & ~missing_right] = ONLY_MISSING_RIGHT, ONLY_MISSING_LEFT
    threshold[kinds >= ONLY_MISSING_RIGHT] = 0
    threshold[none_right & ~missing_right] = np.nan  # every value goes left
    columns, column = np.unique(4 * table.feature[split] + kinds[split], return_inverse=True)
    sizes = np.diff(order.roots, append=len(order.nodes))
    double = table.threshold.dtype == np.float64
    narrow = not double and max(sizes.max(), len(columns) + 1) <= NARROW_MAX
    kind = DOUBLE if double else NARROW if narrow else WIDE
    leaves = _leaves(table, order)
    nodes = np.zeros(len(order.nodes), NODES[kind])
    nodes["threshold"] = np.where(split, threshold, leaves.value)[order.nodes]
    of_node = np.full(len(split), len(columns), np.int64)
    of_node[split] = column
    nodes["column"] = of_node[order.nodes]
    nodes["left"] = order.left
    trees = np.zeros(len(order.roots), TREES)
    trees["root"], trees["depth"] = order.roots, order.depths
    trees["target"], trees["width"] = leaves.first_target, leaves.width
    named = np.zeros(len(columns), COLUMNS)
    named["feature"], named["kind"] = columns // 4, columns % 4
    return Walk(source, target, kind, table.targets, nodes, trees, named, leaves.vectors)


@dataclass(frozen=True)
class _Order:
    """The order of nodes in the arrays.

    nodes: indices of the table. left: the left child relative to the tree's root; of a leaf the leaf itself. roots,
    depths: one entry per tree.
    """

    nodes: Integers
    left: Integers
    roots: Integers
    depths: Integers


def _breadth_first(tree: Integers, split: NDArray[np.bool_], left: Integers, right: Integers) -> _Order:
    """All trees level by level with siblings adjacent, without unreachable nodes."""
    starts = np.flatnonzero(np.diff(tree, prepend=tree[0] - 1))
    seen = np.zeros(len(tree), bool)
    level, owner = starts, np.arange(len(starts))
    levels: list[tuple[Integers, Integers]] = []
    while len(level):
        if seen[level].any() or len(np.unique(level)) < len(level):
            raise ForestError("a node has two parents")
        seen[level] = True
        levels.append((level, owner))
        inner = split[level]
        level, owner = (
            np.stack([left[level[inner]], right[level[inner]]], 1).ravel(),
            np.repeat(owner[inner], 2),
        )
        if (tree[level] != tree[starts][owner]).any():
            raise ForestError("a split leads into another tree")
    nodes, owners = (np.concatenate(parts) for parts in zip(*levels, strict=True))
    depth = np.repeat(np.arange(len(levels)), [len(level) for level, _ in levels])
    # A stable sort by tree keeps the levels in order and siblings adjacent.
    order = np.argsort(owners, kind="stable")
    nodes, owners, depth = nodes[order], owners[order], depth[order]
    roots = np.flatnonzero(np.diff(owners, prepend=-1))
    place = np.zeros(len(tree), np.int64)
    place[nodes] = np.arange(len(nodes)) - roots[owners]
    inner = split[nodes]
    relative = place[nodes]
    relative[inner] = place[left[nodes[inner]]]
    return _Order(nodes, relative, roots, np.maximum.reduceat(depth, roots))


@dataclass(frozen=True)
class _Leaves:
    """first_target, width: the targets that a tree adds to, one entry per tree.

    value: one entry per node of the table: the leaf's value, or the bits of the index of its vector in `vectors`.
    """

    first_target: Integers
    width: Integers
    value: Floats
    vectors: Floats


def _leaves(table: Table, order: _Order) -> _Leaves:
    """Raises ForestError unless all leaves of a tree add to the same consecutive targets."""
    dtype = table.threshold.dtype
    leaf = table.mode == LEAF
    value: Floats = np.zeros(len(table.tree), dtype)
    vectors: Floats = np.zeros(0, dtype)
    by_node = np.lexsort((table.leaf_target, table.leaf_node))
    node, target, weight = table.leaf_node[by_node], table.leaf_target[by_node], table.leaf_weight[by_node]
    if not leaf[node].all():
        raise ForestError("a split has a value")
    begins = np.flatnonzero(np.diff(node, prepend=-1))
    counts = np.diff(begins, append=len(node))
    reached = np.zeros(len(table.tree), bool)
    reached[order.nodes] = True
    if len(begins) != leaf.sum() and not np.isin(np.flatnonzero(leaf & reached), node[begins]).all():
        raise ForestError("a leaf has no value")
    if (target < 0).any() or (target >= table.targets).any():
        raise ForestError("a leaf adds to a target that does not exist")
    tree_of = np.searchsorted(np.unique(table.tree), table.tree)
    trees = len(order.roots)
    width, first = np.zeros(trees, np.int64), np.zeros(trees, np.int64)
    width[tree_of[node[begins]]], first[tree_of[node[begins]]] = counts, target[begins]
    owner = tree_of[node]
    offset = np.arange(len(node)) - np.repeat(begins, counts)
    if (counts != width[tree_of[node[begins]]]).any() or (target != first[owner] + offset).any():
        raise ForestError("the leaves of a tree add to different targets")
    single = width[owner] == 1
    value[node[single]] = weight[single]
    if not single.all():
        vectors = weight
        many = width[tree_of[node[begins]]] > 1
        bits: NDArray[Any] = begins[many].astype(f"u{dtype.itemsize}")
        value[node[begins[many]]] = bits.view(dtype)
    return _Leaves(first, width, value, vectors)


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.decode()
