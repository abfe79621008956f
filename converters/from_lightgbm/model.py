"""A LightGBM booster, parsed from its model text: trees, objective, categories.

The format is that of `Booster.save_model`; decisions are as LightGBM's `Tree::NumericalDecision` and
`Tree::CategoricalDecision` (include/LightGBM/tree.h) take them.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpress.converters.graph.trees import Tree
from onnxpress.packages.errors import ConversionRefused

Floats = NDArray[np.float64]

# LightGBM replaces values this close to zero by zero before any tree reads them (meta.h: a float32 literal).
ZERO = float(np.float32(1e-35))
CATEGORICAL, DEFAULT_LEFT = 1, 2
ZERO_IS_MISSING, NAN_IS_MISSING = 1, 2


@dataclass(frozen=True)
class CategorySplit:
    """A split of a tree's node on a category's code: the listed codes go left, all others and NaN right."""

    tree: int
    node: int
    feature: int
    left: tuple[int, ...]


@dataclass(frozen=True)
class LinearLeaves:
    """The linear models in one tree's leaves, by node: constant + coefficients · features."""

    constants: Floats  # [nodes]
    features: tuple[tuple[int, ...], ...]
    coefficients: tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class Booster:
    """A booster as its text describes it. A group is a column of raw scores: a class, or the only target."""

    objective: str  # the first word: binary, multiclass, ...; empty for a custom one
    options: dict[str, str]  # sigmoid:1 and the like; a flag such as sqrt has an empty value
    groups: int
    feature_names: tuple[str, ...]
    trees: tuple[Tree, ...]
    category_splits: tuple[CategorySplit, ...]
    zero_splits: tuple[tuple[int, int], ...]  # (tree, node) where zero means missing
    average: bool
    linear: tuple[LinearLeaves | None, ...]
    categorical: frozenset[int]  # features that were trained as categories

    @property
    def rounds(self) -> int:
        return len(self.trees) // self.groups


def read_booster(booster: Any, iterations: int | None) -> Booster:
    """The first `iterations` boosting rounds of a `lightgbm.Booster` (None: all)."""
    text = booster.model_to_string(num_iteration=-1 if iterations is None else iterations)
    head, *sections = _sections(text)
    if "num_class" not in head:
        raise ConversionRefused("LightGBM model text without num_class: not a model of LightGBM 2 or newer")
    groups = int(head["num_tree_per_iteration"])
    objective, *options = head.get("objective", "").split() or [""]
    infos = head.get("feature_infos", "").split()
    trees: list[Tree] = []
    categories: list[CategorySplit] = []
    zeros: list[tuple[int, int]] = []
    linear: list[LinearLeaves | None] = []
    for number, section in enumerate(sections):
        trees.append(_tree(section, number % groups))
        categories.extend(_category_splits(section, number))
        kinds = _integers(section, "decision_type")
        is_zero = ((kinds >> 2) & 3 == ZERO_IS_MISSING) & (kinds & CATEGORICAL == 0)
        zeros.extend((number, int(node)) for node in np.flatnonzero(is_zero))
        linear.append(_linear_leaves(section) if section.get("is_linear") == "1" else None)
    return Booster(
        objective=objective,
        options={key: value for key, _, value in (option.partition(":") for option in options)},
        groups=groups,
        feature_names=tuple(booster.feature_name()),
        trees=tuple(trees),
        category_splits=tuple(categories),
        zero_splits=tuple(zeros),
        average="average_output" in head,
        linear=tuple(linear),
        categorical=frozenset(index for index, info in enumerate(infos) if info != "none" and not info.startswith("[")),
    )


def _sections(text: str) -> Iterator[dict[str, str]]:
    """The header and then each tree as key -> value; a line without = is a key with an empty value."""
    section: dict[str, str] = {}
    for line in text.splitlines():
        if line.startswith("Tree=") or line == "end of trees":
            yield section
            section = {}
            if line == "end of trees":
                return
        key, _, value = line.partition("=")
        section[key] = value
    raise ConversionRefused("LightGBM model text ends before its `end of trees`")


def _integers(section: dict[str, str], key: str) -> NDArray[np.int64]:
    return np.array(section.get(key, "").split(), dtype=np.int64)


def _floats(section: dict[str, str], key: str) -> Floats:
    return np.array([float(number) for number in section.get(key, "").split()], dtype=np.float64)


def _tree(section: dict[str, str], group: int) -> Tree:
    """Splits first, as numbered in the text, then leaves: child ~n is leaf n."""
    leaves = int(section["num_leaves"])
    splits = leaves - 1
    values = _floats(section, "leaf_value")
    left, right = (_integers(section, key) for key in ("left_child", "right_child"))
    left, right = (np.where(child < 0, splits + ~child, child) for child in (left, right))
    kinds = _integers(section, "decision_type")
    thresholds = _snapped(_floats(section, "threshold"))
    missing = (kinds >> 2) & 3
    default_left = kinds & DEFAULT_LEFT != 0
    # NaN is zero where no missing value was seen in training; in a category it is in no set.
    nan_left = np.where(missing == 0, thresholds >= 0, default_left) & (kinds & CATEGORICAL == 0)
    none, nothing = np.full(leaves, -1, np.int64), np.zeros(leaves)
    return Tree(
        feature=np.concatenate([_integers(section, "split_feature"), np.zeros(leaves, np.int64)]),
        threshold=np.concatenate([thresholds, nothing]),
        left=np.concatenate([left, none]),
        right=np.concatenate([right, none]),
        nan_left=np.concatenate([nan_left, nothing.astype(np.bool_)]),
        weights=np.concatenate([np.zeros(splits), values]).reshape(-1, 1),
        first_target=group,
    )


def _snapped(thresholds: Floats) -> Floats:
    """Thresholds adjusted for LightGBM's replacement of values within ZERO of zero by zero."""
    at_most_zero = np.where(thresholds < 0, np.nextafter(-ZERO, -np.inf), ZERO)
    return np.where(np.abs(thresholds) <= ZERO, at_most_zero, thresholds)


def _category_splits(section: dict[str, str], tree: int) -> list[CategorySplit]:
    kinds = _integers(section, "decision_type")
    boundaries = _integers(section, "cat_boundaries")
    words = _integers(section, "cat_threshold")
    features = _integers(section, "split_feature")
    thresholds = _floats(section, "threshold")
    found = []
    for node in np.flatnonzero(kinds & CATEGORICAL):
        which = int(thresholds[node])
        codes = _bits(words[boundaries[which] : boundaries[which + 1]])
        found.append(CategorySplit(tree, int(node), int(features[node]), codes))
    return found


def _bits(words: Sequence[int] | NDArray[np.int64]) -> tuple[int, ...]:
    return tuple(32 * place + bit for place, word in enumerate(words) for bit in range(32) if int(word) >> bit & 1)


def _linear_leaves(section: dict[str, str]) -> LinearLeaves:
    leaves = int(section["num_leaves"])
    sizes = _integers(section, "num_features")
    features = iter(_integers(section, "leaf_features").tolist())
    coefficients = iter(_floats(section, "leaf_coeff").tolist())
    splits = leaves - 1
    none: tuple[tuple[()], ...] = ((),) * splits
    return LinearLeaves(
        constants=np.concatenate([np.zeros(splits), _floats(section, "leaf_const")]),
        features=(*none, *(tuple(next(features) for _ in range(size)) for size in sizes)),
        coefficients=(*none, *(tuple(next(coefficients) for _ in range(size)) for size in sizes)),
    )
