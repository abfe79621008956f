"""Trees as one ensemble node, compared with a plain evaluation of their tables."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from onnxpress.converters.graph.builder import Graph
from onnxpress.converters.graph.trees import (
    AT_MOST,
    LESS,
    Tree,
    add_trees,
    constant_tree,
    largest_leaves,
    thresholds_as,
)
from tests.converters.compiled import around, differs_by_batch, run

FEATURES = 4
FLOATS = st.floats(allow_nan=False, allow_infinity=False, width=64, min_value=-3e38, max_value=3e38)


def grown(random: np.random.Generator, targets: int, depth: int = 4) -> Tree:
    """A random tree with thresholds that float32 cannot hold, and some dead nodes."""
    splits = 2**depth - 1
    count = 2 * splits + 1
    leaf = np.arange(count) >= splits
    leaf |= (random.random(count) < 0.2) & (np.arange(count) > 0)
    return Tree(
        feature=random.integers(0, FEATURES, count),
        threshold=random.choice(np.array([0.1, 1 / 3, -0.7, 1e-30, 2.5]), count),
        left=np.where(leaf, -1, 2 * np.arange(count) + 1),
        right=np.where(leaf, -1, 2 * np.arange(count) + 2),
        nan_left=random.random(count) < 0.5,
        weights=random.normal(size=(count, targets)),
    )


def walked(tree: Tree, row: NDArray[np.float64], mode: str) -> NDArray[np.float64]:
    node = 0
    while tree.left[node] >= 0:
        value, threshold = row[tree.feature[node]], tree.threshold[node]
        left = tree.nan_left[node] if np.isnan(value) else value < threshold or (mode == AT_MOST and value == threshold)
        node = tree.left[node] if left else tree.right[node]
    return tree.weights[node]


def hard_rows(random: np.random.Generator, count: int = 300) -> NDArray[np.float64]:
    values = np.concatenate([around([0.1, 1 / 3, -0.7, 1e-30, 2.5]), [np.nan, np.inf, -np.inf, 0.0, -0.0, 1e-42, 3e38]])
    return random.choice(values.astype(np.float64), (count, FEATURES))


def forest(trees: list[Tree], targets: int, mode: str, *, double: bool = False) -> Graph:
    graph = Graph()
    rows = graph.input("input", "FP64" if double else "FP32", FEATURES)
    graph.output("output", add_trees(graph, trees, rows, targets, mode=mode, double=double), "FP32", targets)
    return graph


@pytest.mark.parametrize("mode", [LESS, AT_MOST])
@pytest.mark.parametrize("targets", [1, 3])
def test_float32_rows_take_the_branches_of_float64_thresholds(mode: str, targets: int) -> None:
    """At, above and below thresholds that float32 cannot hold, no row takes a wrong branch."""
    random = np.random.default_rng(targets)
    trees = [constant_tree(random.normal(size=targets)), *(grown(random, targets) for _ in range(20))]
    rows = hard_rows(random)
    expected = np.zeros((len(rows), targets), np.float32)
    for tree in trees:  # float32 sums, tree by tree, are the runtime's own order: equal to the bit
        expected += np.array([walked(tree, row, mode) for row in rows]).astype(np.float32)
    found = run(forest(trees, targets, mode), input=rows.astype(np.float32))["output"]
    assert found.tobytes() == expected.tobytes()


def test_float64_rows_are_compared_in_float64() -> None:
    """Rows one float64 step beside a threshold take different branches."""
    random = np.random.default_rng(5)
    trees = [grown(random, 1) for _ in range(10)]
    at = np.array([0.1, 1 / 3, -0.7, 1e-30, 2.5])
    values = np.concatenate([at, np.nextafter(at, np.inf), np.nextafter(at, -np.inf), [np.nan]])
    rows = random.choice(values, (300, FEATURES))
    expected = np.sum([[walked(tree, row, AT_MOST) for row in rows] for tree in trees], axis=0)
    found = run(forest(trees, 1, AT_MOST, double=True), input=rows)["output"]
    np.testing.assert_allclose(found, expected, rtol=1e-7, atol=1e-7)


@pytest.mark.parametrize("count", [1, 79, 81, 130])
def test_answers_are_the_same_bits_in_every_batch(count: int) -> None:
    """The sums have the same order for batch sizes at which the runtime switches its algorithm."""
    random = np.random.default_rng(count)
    graph = forest([grown(random, 2) for _ in range(count)], 2, LESS)
    assert differs_by_batch(graph, hard_rows(random, 400).astype(np.float32)) == []


@given(threshold=FLOATS, steps=st.integers(-2, 2))
@settings(max_examples=300, deadline=None)
def test_rounded_thresholds_split_float32_as_the_exact_ones(threshold: float, steps: int) -> None:
    """For any threshold, the float32 values around it take the branch of the exact threshold."""
    value = np.float32(threshold)
    for _ in range(abs(steps)):
        value = np.nextafter(value, np.float32(np.inf if steps > 0 else -np.inf))
    exact = np.array([threshold])
    assert (value <= thresholds_as(np.float32, exact, AT_MOST)[0]) == (float(value) <= threshold)
    assert (value < thresholds_as(np.float32, exact, LESS)[0]) == (float(value) < threshold)


def test_thresholds_beyond_float32_still_split() -> None:
    """1e300 is above every finite float32 and below infinity."""
    at_most = thresholds_as(np.float32, np.array([1e300, -1e300]), AT_MOST)
    less = thresholds_as(np.float32, np.array([1e300, -1e300]), LESS)
    assert at_most.tolist() == [np.finfo(np.float32).max, -np.inf]
    assert less.tolist() == [np.inf, np.finfo(np.float32).min]


def test_nodes_that_no_row_can_meet_are_dropped() -> None:
    """Dead nodes of a pruned tree are not in the graph."""
    tree = Tree(
        feature=np.zeros(5, np.int64),
        threshold=np.full(5, 0.5),
        left=np.array([3, -1, 1, -1, -1]),
        right=np.array([4, -1, 1, -1, -1]),
        nan_left=np.zeros(5, bool),
        weights=np.arange(5.0).reshape(-1, 1),
    )
    assert tree.reachable().tolist() == [0, 3, 4]
    graph = forest([tree], 1, LESS)
    attributes = {attribute.name: attribute for attribute in graph.nodes[0].attribute}
    assert len(attributes["nodes_nodeids"].ints) == 3
    assert run(graph, input=np.array([[0, 0, 0, 0], [1, 0, 0, 0]], np.float32))["output"].tolist() == [[3.0], [4.0]]


def test_largest_leaves_count_what_can_be_met_by_target() -> None:
    """The scale of a target is the sum of its trees' largest reachable |leaf|."""
    stump = Tree(
        feature=np.zeros(4, np.int64),
        threshold=np.zeros(4),
        left=np.array([1, -1, -1, -1]),
        right=np.array([2, -1, -1, -1]),
        nan_left=np.zeros(4, bool),
        weights=np.array([[9.0], [-3.0], [2.0], [50.0]]),
        first_target=1,
    )
    assert largest_leaves([constant_tree([1.0, -5.0]), stump, stump], 2).tolist() == [1.0, 11.0]
