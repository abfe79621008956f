"""A graph in three parts: each case gives the answers of the whole graph, and the parts hold what they should."""

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxpress.converters.forest.compile import compile_forest
from onnxpress.converters.forest.split import split
from onnxpress.packages.errors import ForestError
from onnxpress.packages.forest.engine import ForestEngine
from onnxpress.packages.runtime import Session
from tests.converters.forest.ensembles import Ensemble, Shape

pytestmark = pytest.mark.kernel

node = helper.make_node
FLOAT, DOUBLE, INT64 = TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64
ROWS = np.random.default_rng(0).normal(size=(50, 3)).astype(np.float32)


def trees(source: str, target: str, seed: int = 0, *, double: bool = False) -> onnx.NodeProto:
    made = onnx.load_from_string(Ensemble(Shape(double=double), seed).onnx).graph.node[0]
    made.input[0], made.output[0] = source, target
    return made


def model(*nodes: onnx.NodeProto, outputs: dict[str, int], initializers: tuple[Any, ...] = ()) -> onnx.ModelProto:
    graph = helper.make_graph(
        list(nodes),
        "graph",
        [helper.make_tensor_value_info("x", FLOAT, [None, 3])],
        [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in initializers],
    )
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9)


def branches() -> onnx.NodeProto:
    """An If whose graphs take the trees' output from outside."""
    then = helper.make_graph([node("Neg", ["t"], ["a"])], "then", [], [helper.make_tensor_value_info("a", FLOAT, None)])
    other = helper.make_graph(
        [node("Abs", ["t"], ["b"])], "else", [], [helper.make_tensor_value_info("b", FLOAT, None)]
    )
    return node("If", ["true"], ["y"], then_branch=then, else_branch=other)


Y = {"y": FLOAT}
ONE = (("one", np.array([1], np.float32)),)
# Name -> the model, and how many nodes precede and follow its trees.
CASES = {
    "trees alone": (model(trees("x", "y"), outputs=Y), 0, 0),
    "another name for the trees": (model(trees("x", "t"), node("Identity", ["t"], ["y"]), outputs=Y), 0, 0),
    "something precedes": (model(node("Add", ["x", "one"], ["z"]), trees("z", "y"), outputs=Y, initializers=ONE), 1, 0),
    "something follows": (model(trees("x", "t"), node("Add", ["t", "one"], ["y"]), outputs=Y, initializers=ONE), 0, 1),
    "both": (
        model(
            node("Add", ["x", "one"], ["z"]), trees("z", "t"), node("Sub", ["t", "one"], ["y"]),
            outputs=Y, initializers=ONE,
        ), 1, 1,
    ),
    "two ensembles": (
        model(trees("x", "a", 1), trees("x", "b", 2), node("Concat", ["a", "b"], ["y"], axis=1), outputs=Y), 0, 1,
    ),
    "outputs of every part": (
        model(
            node("Add", ["x", "one"], ["z"]), trees("z", "t"), node("Neg", ["t"], ["y"]),
            node("Identity", ["x"], ["same"]),
            outputs={"z": FLOAT, "t": FLOAT, "y": FLOAT, "same": FLOAT}, initializers=ONE,
        ), 1, 1,
    ),
    "what follows takes what precedes": (
        model(
            node("Add", ["x", "one"], ["z"]), trees("z", "t"), node("Add", ["t", "z"], ["y"]),
            outputs=Y, initializers=ONE,
        ), 1, 1,
    ),
    "a cast that the engine does": (
        model(node("Cast", ["x"], ["wide"], to=DOUBLE), trees("wide", "y", double=True), outputs=Y), 0, 0,
    ),
    "casts there and back": (
        model(
            node("Cast", ["x"], ["a"], to=DOUBLE), node("Cast", ["a"], ["b"], to=FLOAT),
            node("Cast", ["b"], ["c"], to=DOUBLE), trees("c", "y", double=True), outputs=Y,
        ), 0, 0,
    ),
    "a cast that changes values": (
        model(
            node("Cast", ["x"], ["a"], to=INT64), node("Cast", ["a"], ["b"], to=DOUBLE), trees("b", "y", double=True),
            outputs=Y,
        ), 2, 0,
    ),
    "a cast of something computed": (
        model(
            node("Add", ["x", "one"], ["z"]), node("Cast", ["z"], ["wide"], to=DOUBLE), trees("wide", "y", double=True),
            outputs=Y, initializers=ONE,
        ), 2, 0,
    ),
    "a graph inside a node": (
        model(trees("x", "t"), branches(), outputs=Y, initializers=(("true", np.array(1, bool)),)), 0, 1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_the_parts_answer_as_the_whole(case: str) -> None:
    """All outputs in order with the same bits, and each part has the nodes and initializers that it needs."""
    whole, before, after = CASES[case]
    parts = split(whole)
    assert (len(parts.before.graph.node), len(parts.after.graph.node)) == (before, after)
    for part in (parts.before, parts.after):
        taken = {name for one in part.graph.node for name in one.input}
        inside = {"true"} if any(one.op_type == "If" for one in part.graph.node) else set()
        assert {one.name for one in part.graph.initializer} <= taken | inside
    engine, session = ForestEngine(compile_forest(whole)), Session(whole.SerializeToString())
    for expected, actual in zip(session.run({"x": ROWS}), engine.run({"x": ROWS}), strict=True):
        assert (actual.dtype, actual.shape, actual.tobytes()) == (expected.dtype, expected.shape, expected.tobytes())


def test_no_trees() -> None:
    """A model without trees stays with ONNX Runtime."""
    with pytest.raises(ForestError, match="it has no trees"):
        split(model(node("Neg", ["x"], ["y"]), outputs=Y))


def test_trees_that_take_what_trees_give() -> None:
    """A stacked model would need another order of the parts."""
    stacked = model(trees("x", "a"), node("Concat", ["a", "a", "a"], ["z"], axis=1), trees("z", "y"), outputs=Y)
    with pytest.raises(ForestError, match="what other trees give"):
        split(stacked)
