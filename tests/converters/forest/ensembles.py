"""Random tree ensembles as ONNX models, with everything in them that a forest could get wrong."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

MODES = ("BRANCH_LT", "BRANCH_LEQ", "BRANCH_GT", "BRANCH_GTE")


@dataclass(frozen=True)
class Shape:
    """Of an ensemble; `vectors`: every leaf adds to all targets."""

    features: int = 3
    targets: int = 1
    trees: int = 5
    depth: int = 5
    double: bool = False
    vectors: bool = False
    modes: tuple[str, ...] = ("BRANCH_LT",)


def specials(dtype: Any) -> NDArray[Any]:
    """Numbers at which comparisons go wrong first."""
    limits = np.finfo(dtype)
    some = [0.0, 1.0, limits.max, limits.tiny, limits.smallest_subnormal, np.inf]
    return np.array([sign * number for number in some for sign in (1, -1)], dtype)


class Ensemble:
    """The model's bytes, and the thresholds that are in it."""

    def __init__(self, shape: Shape, seed: int) -> None:
        self.shape = shape
        self._rng = np.random.default_rng(seed)
        self._dtype = np.float64 if shape.double else np.float32
        self._lists: dict[str, list[Any]] = {
            name: []
            for name in (
                "nodes_treeids", "nodes_nodeids", "nodes_featureids", "nodes_values", "nodes_modes",
                "nodes_truenodeids", "nodes_falsenodeids", "nodes_missing_value_tracks_true",
                "target_treeids", "target_nodeids", "target_ids", "target_weights",
            )
        }  # fmt: skip
        for tree in range(shape.trees):
            self._grow(tree)
        self.thresholds = np.array(self._lists["nodes_values"], self._dtype)
        self.onnx = self._model()

    def rows(self, count: int) -> NDArray[Any]:
        """Values at, beside and far from thresholds, and missing ones."""
        rng, shape = self._rng, (count, self.shape.features)
        near = rng.choice(np.concatenate([self.thresholds, specials(self._dtype)]), shape)
        toward = np.where(rng.random(shape) < 0.5, self._dtype(np.inf), self._dtype(-np.inf))
        with np.errstate(over="ignore", under="ignore"):
            beside = np.nextafter(near, toward)
        rows = np.where(rng.random(shape) < 0.5, near, beside)
        rows = np.where(rng.random(shape) < 0.3, rng.normal(size=shape).astype(self._dtype), rows)
        return np.where(rng.random(shape) < 0.15, self._dtype(np.nan), rows).astype(self._dtype)

    def _number(self) -> Any:
        if self._rng.random() < 0.3:
            return self._rng.choice(specials(self._dtype))
        return self._dtype(self._rng.normal())

    def _grow(self, tree: int) -> None:
        """Nodes in the order of a walk that is deep first, so that siblings are apart."""
        lists, rng = self._lists, self._rng
        numbers = iter(range(1 << 30))
        first = int(rng.integers(self.shape.targets))

        def node(level: int) -> int:
            number, place = next(numbers), len(lists["nodes_modes"])
            leaf = level >= self.shape.depth or (level > 0 and rng.random() < 0.25)
            lists["nodes_treeids"].append(tree)
            lists["nodes_nodeids"].append(number)
            lists["nodes_featureids"].append(0 if leaf else int(rng.integers(self.shape.features)))
            lists["nodes_values"].append(self._dtype(0) if leaf else self._number())
            lists["nodes_modes"].append("LEAF" if leaf else str(rng.choice(self.shape.modes)))
            lists["nodes_missing_value_tracks_true"].append(0 if leaf else int(rng.integers(2)))
            lists["nodes_truenodeids"].append(0)
            lists["nodes_falsenodeids"].append(0)
            if leaf:
                for target in range(self.shape.targets) if self.shape.vectors else (first,):
                    lists["target_treeids"].append(tree)
                    lists["target_nodeids"].append(number)
                    lists["target_ids"].append(target)
                    lists["target_weights"].append(self._dtype(rng.normal() * 10.0 ** rng.integers(-3, 4)))
            else:
                lists["nodes_truenodeids"][place] = node(level + 1)
                lists["nodes_falsenodeids"][place] = node(level + 1)
            return number

        node(0)

    def _model(self) -> bytes:
        lists = dict(self._lists)
        if self.shape.double:
            for name in ("nodes_values", "target_weights"):
                lists[f"{name}_as_tensor"] = numpy_helper.from_array(np.array(lists.pop(name)), name)
        trees = helper.make_node(
            "TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", n_targets=self.shape.targets,
            aggregate_function="SUM", post_transform="NONE", **lists,
        )  # fmt: skip
        kind = TensorProto.DOUBLE if self.shape.double else TensorProto.FLOAT
        graph = helper.make_graph(
            [trees],
            "trees",
            [helper.make_tensor_value_info("x", kind, [None, self.shape.features])],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, self.shape.targets])],
        )
        opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
        model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
        return bytes(model.SerializeToString())
