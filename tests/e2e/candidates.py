"""Versions of one small model, as bare ONNX: a good one, and candidates that are worse in one way each."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

FEATURES = 4
# Rows whose second feature is beyond this share of its range have the fault.
FAILING, INVALID, RARE = 0.95, 0.99, 0.999
# A product of matrices of this size takes some 30 ms on one thread.
SLOW_SIZE = 1000

Nodes = list[object]


def rows(seed: int, count: int) -> NDArray[np.float32]:
    """Uniform in [0, 1), FP32 [count, FEATURES]."""
    return np.random.default_rng(seed).random((count, FEATURES), np.float32)


class Graph:
    """Nodes and constants of a graph that is being written."""

    def __init__(self) -> None:
        self.nodes: Nodes = []
        self.constants: list[object] = []

    def add(self, kind: str, *inputs: str, **attributes: object) -> str:
        name = f"v{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def constant(self, value: object, dtype: type = np.float32) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.array(value, dtype), name))
        return name

    def column(self, number: int) -> str:
        return self.add("Gather", "x", self.constant([number], np.int64), axis=1)

    def beyond(self, share: float) -> str:
        """Whether the second feature of each row is beyond `share`, [rows, 1]."""
        return self.add("Greater", self.column(1), self.constant(share))


def good(_graph: Graph, score: str) -> str:
    return score


def exchanged(graph: Graph, score: str) -> str:
    return graph.add("Sub", graph.constant(1.0), score)


def invalid(graph: Graph, score: str) -> str:
    return graph.add("Where", graph.beyond(INVALID), graph.constant(np.nan), score)


def failing(graph: Graph, score: str) -> str:
    """An index out of range, which fails the run of that row."""
    far = graph.add("Mul", graph.add("Cast", graph.beyond(FAILING), to=TensorProto.INT64), graph.constant(9, np.int64))
    return graph.add("Add", score, graph.add("Gather", graph.constant([0.0]), far, axis=0))


def rare(graph: Graph, score: str) -> str:
    """Another score, and another label, for the one row in a thousand whose second feature is the largest."""
    return graph.add("Where", graph.beyond(RARE), graph.add("Sub", graph.constant(1.0), score), score)


def slow(graph: Graph, score: str) -> str:
    """Zero times a product that depends on the input, so that it is computed in every run."""
    nothing = graph.add("Mul", graph.add("ReduceMax", "x", keepdims=0), graph.constant(0.0))
    size = graph.constant([SLOW_SIZE, SLOW_SIZE], np.int64)
    matrix = graph.add("Expand", nothing, size)
    product = graph.add("ReduceMax", graph.add("MatMul", matrix, matrix), keepdims=0)
    return graph.add("Add", score, product)


def shifted(graph: Graph, score: str) -> str:
    """Another distribution of scores and nearly the same labels, as after a retraining."""
    return graph.add("Add", graph.add("Mul", score, graph.constant(0.9)), graph.constant(0.05))


CANDIDATES: dict[str, Callable[[Graph, str], str]] = {
    "good": good, "exchanged": exchanged, "invalid": invalid, "failing": failing, "slow": slow, "shifted": shifted,
    "rare": rare,
}  # fmt: skip


def write(repository: Path, model: str, version: int, kind: str) -> None:
    """Writes `<repository>/<model>/<version>/model.onnx`."""
    graph = Graph()
    score = CANDIDATES[kind](graph, graph.column(0))
    label = graph.add("Cast", graph.add("Greater", score, graph.constant(0.5)), to=TensorProto.INT64)
    graph.nodes += [helper.make_node("Identity", [label], ["label"]), helper.make_node("Identity", [score], ["score"])]
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", FEATURES])
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.INT64, ["N", 1]),
        helper.make_tensor_value_info("score", TensorProto.FLOAT, ["N", 1]),
    ]
    made = helper.make_graph(graph.nodes, "g", [x], outputs, graph.constants)
    folder = repository / model / str(version)
    folder.mkdir(parents=True)
    onnx = helper.make_model(made, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    (folder / "model.onnx").write_bytes(onnx.SerializeToString())
