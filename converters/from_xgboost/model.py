"""An XGBoost booster, parsed from its documented JSON: trees, intercepts, objective, categories.

https://xgboost.readthedocs.io/en/stable/tutorials/saving_model.html and `doc/model.schema` of its repository.
"""

import itertools
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpress.converters.graph.links import EXPECTILE_GAP
from onnxpress.converters.graph.trees import Tree
from onnxpress.packages.errors import ConversionRefused

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class CategorySplit:
    """A split of a tree's node on a category's code: the listed codes go right, others left."""

    tree: int
    node: int
    feature: int
    right: tuple[int, ...]


@dataclass(frozen=True)
class Booster:
    """A booster as its file describes it. A group is a column of margins: a class or a target."""

    version: tuple[int, ...]  # of the XGBoost that wrote the file
    objective: str
    classes: int  # num_class of the multi:* objectives, else 0
    groups: int
    features: int
    intercepts: Floats  # margins [groups] before the first tree
    trees: tuple[Tree, ...]
    category_splits: tuple[CategorySplit, ...]
    linear: Floats | None  # a gblinear booster's weights [features, groups]: margins are x @ weights + intercepts
    # Per feature the names of its categories in the order of their codes; None for a numeric feature, and for
    # one whose names the booster does not store.
    categories: tuple[tuple[bytes | int | float, ...] | None, ...]


def read_booster(booster: Any, rounds: int | None = None) -> Booster:
    """The booster's first `rounds` boosting rounds (None: all), as `xgboost.Booster.save_raw` writes it.

    Raises ConversionRefused for a booster kind that this reader does not know.
    """
    document = json.loads(booster.save_raw(raw_format="json"))
    learner = document["learner"]
    parameters = learner["learner_model_param"]
    objective = learner["objective"]["name"]
    gradient = learner["gradient_booster"]
    # Before 3.4 DART was a booster that contained a gbtree; since then it is a gbtree with weights.
    drop: list[float] | None = gradient.get("weight_drop")
    if gradient["name"] == "dart":
        gradient = gradient["gbtree"]
    features = int(parameters["num_feature"])
    groups = max(int(parameters["num_class"]), int(parameters.get("num_target", 1)), 1)
    trees: list[Tree] = []
    splits: list[CategorySplit] = []
    linear: Floats | None = None
    intercepts = _intercepts(parameters["base_score"], objective, groups)
    model = gradient["model"]
    drop = drop or model.get("weight_drop")
    if gradient["name"] == "gblinear":
        linear = _float32(model["weights"]).reshape(features + 1, groups)[:-1]
        intercepts = _linear_intercepts(booster, features)
    elif gradient["name"] == "gbtree":
        count = _tree_count(model, rounds)
        for number, (raw, group) in enumerate(zip(model["trees"][:count], model["tree_info"][:count], strict=True)):
            weight = drop[number] if drop else 1.0
            trees.append(_tree(raw, group, weight))
            splits.extend(_category_splits(raw, number))
    else:
        raise ConversionRefused(f"XGBoost booster {gradient['name']!r} is not one of gbtree, dart, gblinear")
    return Booster(
        version=tuple(document["version"]),
        objective=objective,
        classes=int(parameters["num_class"]),
        groups=groups,
        features=features,
        intercepts=intercepts,
        trees=tuple(trees),
        category_splits=tuple(splits),
        linear=linear,
        categories=_categories(model.get("cats"), features),
    )


def _tree_count(model: dict[str, Any], rounds: int | None) -> int:
    total = len(model["trees"])
    if rounds is None:
        return total
    starts: Sequence[int] | None = model.get("iteration_indptr")
    if starts:
        return starts[min(rounds, len(starts) - 1)]
    groups = max(model["tree_info"], default=0) + 1
    return min(rounds * groups * int(model["gbtree_model_param"]["num_parallel_tree"]), total)


def _float32(values: Sequence[float]) -> Floats:
    return np.array(values, dtype=np.float32).astype(np.float64)


def _tree(raw: dict[str, Any], group: int, weight: float) -> Tree:
    left = np.array(raw["left_children"], np.int64)
    right = np.array(raw["right_children"], np.int64)
    conditions = _float32(raw["split_conditions"])
    targets = max(int(raw["tree_param"]["size_leaf_vector"]), 1)
    leaf = left < 0
    if targets == 1:
        # Dropped-out trees are scaled in float32, one product per leaf.
        scaled = conditions.astype(np.float32) * np.float32(weight)
        weights = scaled.astype(np.float64).reshape(-1, 1)
    else:
        weights = _vector_leaves(raw, right, leaf, targets)
        group = 0
    return Tree(
        feature=np.array(raw["split_indices"], np.int64),
        threshold=conditions,
        left=left,
        right=np.where(leaf, -1, right),
        nan_left=np.array(raw["default_left"], np.bool_),
        weights=weights,
        first_target=group,
    )


def _vector_leaves(raw: dict[str, Any], right: NDArray[np.int64], leaf: NDArray[np.bool_], targets: int) -> Floats:
    """One row of leaf values for each node: `leaf_weights` by a leaf's right child, or `base_weights` in old files."""
    if "leaf_weights" not in raw:
        return _float32(raw["base_weights"]).reshape(-1, targets)
    table = _float32(raw["leaf_weights"]).reshape(-1, targets)
    weights = np.zeros((len(leaf), targets))
    weights[leaf] = table[right[leaf]]
    return weights


def _category_splits(raw: dict[str, Any], tree: int) -> list[CategorySplit]:
    codes = raw["categories"]
    found = []
    for node, start, size in zip(
        raw["categories_nodes"], raw["categories_segments"], raw["categories_sizes"], strict=True
    ):
        feature = raw["split_indices"][node]
        found.append(CategorySplit(tree, node, feature, tuple(codes[start : start + size])))
    return found


def _intercepts(base_score: str, objective: str, groups: int) -> Floats:
    """`base_score` as margins: a number, or since 3.1 a list of them, in the objective's own units."""
    written = base_score.strip("[]").split(",")
    scores = np.array([float(number) for number in written], np.float32)
    if objective in ("binary:logistic", "reg:logistic"):
        scores = -np.log(np.float32(1.0) / scores - np.float32(1.0))
    elif objective in ("count:poisson", "reg:gamma", "reg:tweedie", "survival:cox", "survival:aft"):
        scores = np.log(scores)
    elif objective == "reg:expectileerror":
        steps = np.maximum(np.diff(scores.astype(np.float64)) - EXPECTILE_GAP, EXPECTILE_GAP)
        scores = np.concatenate([scores[:1], np.log(np.expm1(steps)).astype(np.float32)])
    return np.asarray(np.broadcast_to(scores.astype(np.float64), (groups,)))


def _linear_intercepts(booster: Any, features: int) -> Floats:
    """The margins of a row without any value, [groups].

    The file has one base score per class, of which XGBoost 3.2 adds the first to every class of a linear booster.
    """
    empty = np.full((1, features), np.nan, np.float32)
    nothing = sys.modules["xgboost"].DMatrix(empty, feature_names=booster.feature_names)
    return np.asarray(booster.predict(nothing, output_margin=True), np.float64).reshape(-1)


def _categories(container: dict[str, Any] | None, features: int) -> tuple[tuple[bytes | int | float, ...] | None, ...]:
    """Category names by feature: text as bytes (a joined buffer with offsets), or numbers."""
    entries = (container or {}).get("enc") or []
    return tuple(_names(entry) for entry in entries) or (None,) * features


def _names(entry: dict[str, Any]) -> tuple[bytes | int | float, ...] | None:
    values = entry["values"]
    if "offsets" in entry:
        text = bytes(value % 256 for value in values)
        offsets = entry["offsets"]
        return tuple(text[a:b] for a, b in itertools.pairwise(offsets)) or None
    return tuple(values) or None
