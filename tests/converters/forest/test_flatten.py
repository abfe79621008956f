"""From the attributes of a TreeEnsembleRegressor to arrays: every kind of split, and every reason to refuse."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from onnxpress.converters.forest.flatten import flatten
from onnxpress.packages.errors import ForestError
from onnxpress.packages.forest.compiled import DOUBLE, NARROW, WIDE, CompiledForest, Walk
from onnxpress.packages.forest.engine import ForestEngine

pytestmark = pytest.mark.kernel

INFINITY = np.float32(np.inf)
TINY = np.finfo(np.float32).smallest_subnormal
VALUES = np.array(
    [-np.inf, -1, -TINY, -0.0, 0.0, TINY, np.nextafter(np.float32(1), np.float32(0)), 1, 1.5, np.inf, np.nan],
    np.float32,
)


def stump(mode: str = "BRANCH_LT", threshold: float = 1.0, missing_true: int = 0, **changed: Any) -> dict[str, Any]:
    """The true branch gives 1, the false one 2."""
    return {
        "n_targets": 1,
        "aggregate_function": b"SUM",
        "post_transform": b"NONE",
        "nodes_treeids": [0, 0, 0],
        "nodes_nodeids": [0, 1, 2],
        "nodes_featureids": [0, 0, 0],
        "nodes_modes": [mode.encode(), b"LEAF", b"LEAF"],
        "nodes_values": [threshold, 0.0, 0.0],
        "nodes_truenodeids": [1, 0, 0],
        "nodes_falsenodeids": [2, 0, 0],
        "nodes_missing_value_tracks_true": [missing_true, 0, 0],
        "target_treeids": [0, 0],
        "target_nodeids": [1, 2],
        "target_ids": [0, 0],
        "target_weights": [1.0, 2.0],
    } | changed


def answers(walk: Walk, values: NDArray[Any]) -> list[float]:
    (sums,) = ForestEngine(CompiledForest(b"", (walk,), b"", ("y",))).run({"x": values.reshape(-1, 1)})
    return [float(value) for value in sums[:, 0]]


COMPARE = {"BRANCH_LT": np.less, "BRANCH_LEQ": np.less_equal, "BRANCH_GT": np.greater, "BRANCH_GTE": np.greater_equal}


@pytest.mark.parametrize("missing_true", [0, 1])
@pytest.mark.parametrize("threshold", [1.0, 0.0, -0.0, TINY, -TINY, np.inf, -np.inf, np.finfo(np.float32).max])
@pytest.mark.parametrize("mode", COMPARE)
def test_a_split_takes_the_branch_that_onnx_defines(mode: str, threshold: float, missing_true: int) -> None:
    """Every mode at, beside and beyond every threshold; NaN goes where the split says."""
    found = answers(flatten(stump(mode, threshold, missing_true), "x", "y"), VALUES)
    true = COMPARE[mode](VALUES, np.float32(threshold)) | (np.isnan(VALUES) & bool(missing_true))
    assert found == np.where(true, 1.0, 2.0).tolist()


def test_the_narrowest_nodes_that_fit() -> None:
    """8 bytes, 12 once a tree has 65,536 nodes, and 16 with float64 thresholds."""
    assert flatten(stump(), "x", "y").kind == NARROW
    double = stump()
    double |= {
        "nodes_values_as_tensor": np.array(double.pop("nodes_values")),
        "target_weights_as_tensor": np.array(double.pop("target_weights")),
    }
    assert flatten(double, "x", "y").kind == DOUBLE
    for splits, kind in ((32_767, NARROW), (32_768, WIDE)):  # a chain of n splits has 2 n + 1 nodes
        walk = flatten(chain(splits), "x", "y")
        assert (walk.kind, len(walk.nodes), int(walk.trees["depth"][0])) == (kind, 2 * splits + 1, splits)
        assert answers(walk, np.array([0, splits, 5.5], np.float32)) == [0, splits, 5]


def chain(splits: int) -> dict[str, Any]:
    """Split n is node 2 n, x < n + 1; its true branch is the leaf 2 n + 1 with value n, the last leaf has `splits`."""
    nodes = 2 * splits + 1
    number = np.arange(nodes)
    split = (number % 2 == 0) & (number < nodes - 1)
    leaves = number[~split]
    return stump() | {
        "nodes_treeids": np.zeros(nodes, int),
        "nodes_nodeids": number,
        "nodes_featureids": np.zeros(nodes, int),
        "nodes_modes": np.where(split, b"BRANCH_LT", b"LEAF").tolist(),
        "nodes_values": np.where(split, number // 2 + 1, 0).astype(np.float32),
        "nodes_truenodeids": np.where(split, number + 1, 0),
        "nodes_falsenodeids": np.where(split, number + 2, 0),
        "nodes_missing_value_tracks_true": [0] * nodes,
        "target_treeids": np.zeros(len(leaves), int),
        "target_nodeids": leaves,
        "target_ids": np.zeros(len(leaves), int),
        "target_weights": (leaves // 2).astype(np.float32),
    }


def test_unreachable_nodes_are_left_out() -> None:
    """A pruned leaf takes no room, and what is reachable still answers."""
    pruned = stump(
        nodes_treeids=[0] * 4, nodes_nodeids=[0, 1, 2, 9], nodes_featureids=[0] * 4, nodes_values=[1.0, 0, 0, 0],
        nodes_modes=[b"BRANCH_LT", b"LEAF", b"LEAF", b"LEAF"], nodes_truenodeids=[1, 0, 0, 0],
        nodes_falsenodeids=[2, 0, 0, 0], nodes_missing_value_tracks_true=[0] * 4,
    )  # fmt: skip
    walk = flatten(pruned, "x", "y")
    assert len(walk.nodes) == 3
    assert answers(walk, np.array([0, 3], np.float32)) == [1, 2]


REFUSED: dict[str, dict[str, Any]] = {
    "aggregate_function AVERAGE": stump(aggregate_function=b"AVERAGE"),
    "post_transform LOGISTIC": stump(post_transform=b"LOGISTIC"),
    "base_values": stump(base_values=[0.5]),
    "splits of mode BRANCH_EQ": stump("BRANCH_EQ"),
    "a split has a negative feature": stump(nodes_featureids=[-1, 0, 0]),
    "a threshold is NaN": stump(threshold=np.nan),
    "its trees are not in order": stump(nodes_treeids=[1, 0, 0]),
    "a node is defined twice": stump(nodes_nodeids=[0, 1, 1]),
    "a node is missing": stump(nodes_falsenodeids=[7, 0, 0]),
    "a node has two parents": stump(nodes_falsenodeids=[1, 0, 0]),
    "a split has a value": stump(target_nodeids=[1, 0]),
    "a leaf has no value": stump(target_treeids=[0], target_nodeids=[1], target_ids=[0], target_weights=[1.0]),
    "a leaf adds to a target that does not exist": stump(target_ids=[0, 1]),
    "the leaves of a tree add to different targets": stump(n_targets=2, target_ids=[0, 1]),
}


@pytest.mark.parametrize("reason", REFUSED)
def test_what_the_kernel_cannot_walk(reason: str) -> None:
    """Such trees stay with ONNX Runtime, and the reason is named."""
    with pytest.raises(ForestError, match=reason):
        flatten(REFUSED[reason], "x", "y")
