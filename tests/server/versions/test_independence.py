"""Models whose rows depend on each other are found before their requests share a run, and others are not suspected."""

from collections.abc import Callable

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from onnxpress.packages.graph import constants
from onnxpress.packages.read import check_graph
from onnxpress.server.serving.cost import Sharing
from onnxpress.server.serving.runtime import Session
from onnxpress.server.versions.independence import sharing_of

FLOAT, INT, TEXT, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.STRING, TensorProto.BOOL
ROWS_MAX = 1024
node, tensor = helper.make_node, numpy_helper.from_array


def ints(name: str, *values: int) -> onnx.TensorProto:
    return tensor(np.array(values, np.int64), name)


def number(name: str, value: float) -> onnx.TensorProto:
    return tensor(np.array(value, np.float32), name)


def model(*nodes: onnx.NodeProto, constants: tuple[onnx.TensorProto, ...] = (), kind: int = FLOAT) -> bytes:
    """A graph from x [N, 4] to y."""
    x = helper.make_tensor_value_info("x", kind, ["N", 4])
    y = helper.make_tensor_value_info("y", FLOAT, ["N", None])
    graph = helper.make_graph(list(nodes), "g", [x], [y], list(constants))
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()


def only_where(condition: tuple[onnx.NodeProto, ...], *more: onnx.TensorProto) -> bytes:
    """x, with the batch's mean taken off where `condition` (the tensor c) holds."""
    mean = node("ReduceMean", ["x", "first"], ["mean"], keepdims=1)
    return model(
        mean, node("Sub", ["x", "mean"], ["less"]), *condition, node("Where", ["c", "less", "x"], ["y"]),
        constants=(ints("first", 0), *more),
    )  # fmt: skip


def from_rows(rows: int) -> bytes:
    """Takes the mean off in batches of at least `rows` rows only."""
    counted = (
        node("Shape", ["x"], ["shape"], end=1),
        node("GreaterOrEqual", ["shape", "rows"], ["c"]),
    )
    return only_where(counted, ints("rows", rows))


def threshold(operator: str, value: float) -> bytes:
    return only_where((node(operator, ["x", "v"], ["c"]),), number("v", value))


def along_rows(operator: str, **attributes: object) -> bytes:
    return model(node(operator, ["x"], ["y"], **attributes))


DEPENDENT: dict[str, Callable[[], bytes]] = {
    "mean": lambda: only_where((node("Equal", ["x", "x"], ["c"]),)),
    "softmax over the batch": lambda: along_rows("Softmax", axis=0),
    "hardmax over the batch": lambda: along_rows("Hardmax", axis=0),
    "cumulated": lambda: model(
        node("CumSum", ["x", "first"], ["y"]), constants=(tensor(np.array(0, np.int64), "first"),)
    ),
    "scaled by the maximum": lambda: model(
        node("ReduceMax", ["x", "first"], ["most"], keepdims=1), node("Div", ["x", "most"], ["y"]),
        constants=(ints("first", 0),),
    ),
    "ranked": lambda: model(
        node("Shape", ["x"], ["n"], end=1), node("TopK", ["x", "n"], ["y", "places"], axis=0), constants=()
    ),
    "reversed": lambda: model(
        node("Slice", ["x", "last", "end", "first", "back"], ["y"]),
        constants=(ints("last", -1), ints("end", -(2**31)), ints("first", 0), ints("back", -1)),
    ),
    "the first row for all": lambda: model(
        node("Slice", ["x", "first", "one", "first"], ["head"]), node("Shape", ["x"], ["shape"]),
        node("Expand", ["head", "shape"], ["y"]), constants=(ints("first", 0), ints("one", 1)),
    ),
    "by the number of rows": lambda: model(
        node("Shape", ["x"], ["n"], end=1), node("Cast", ["n"], ["rows"], to=FLOAT), node("Div", ["x", "rows"], ["y"])
    ),
    "noise": lambda: model(
        node("RandomNormalLike", ["x"], ["noise"]), node("Add", ["x", "noise"], ["y"])
    ),
    "from 8 rows on": lambda: from_rows(8),
    "from 100 rows on": lambda: from_rows(100),
    "from 1,000 rows on": lambda: from_rows(1000),
    "where x > 3": lambda: threshold("Greater", 3.0),
    "where x < -1e6": lambda: threshold("Less", -1e6),
    "where x is 1234.5": lambda: threshold("Equal", 1234.5),
}  # fmt: skip

WEIGHTS = np.random.default_rng(0).normal(size=(4, 3)).astype(np.float32)
INDEPENDENT: dict[str, Callable[[], bytes]] = {
    "scaled": lambda: model(
        node("Sub", ["x", "mean"], ["y"]), constants=(tensor(np.arange(4, dtype=np.float32), "mean"),)
    ),
    "normalised by row": lambda: along_rows("Softmax", axis=1),
    "reshaped": lambda: model(
        node("Reshape", ["x", "shape"], ["z"]), node("ReduceSum", ["z", "last"], ["y"], keepdims=0),
        constants=(ints("shape", -1, 2, 2), ints("last", 2)),
    ),
    "whole numbers": lambda: model(node("Cast", ["x"], ["y"], to=FLOAT), kind=INT),
    "labels": lambda: model(
        node("LabelEncoder", ["x"], ["y"], domain="ai.onnx.ml", keys_strings=["red", "blue"], values_floats=[1.0, 2.0]),
        kind=TEXT,
    ),
    "flags": lambda: model(node("Cast", ["x"], ["y"], to=FLOAT), kind=BOOL),
    "trees": lambda: model(
        node(
            "TreeEnsembleRegressor", ["x"], ["y"], domain="ai.onnx.ml", n_targets=1, nodes_treeids=[0, 0, 0],
            nodes_nodeids=[0, 1, 2], nodes_featureids=[1, 0, 0], nodes_modes=["BRANCH_LEQ", "LEAF", "LEAF"],
            nodes_values=[0.5, 0.0, 0.0], nodes_truenodeids=[1, 0, 0], nodes_falsenodeids=[2, 0, 0],
            nodes_hitrates=[1.0] * 3, nodes_missing_value_tracks_true=[0, 0, 0],
            target_ids=[0, 0], target_nodeids=[1, 2], target_treeids=[0, 0], target_weights=[1.5, 2.5],
        )
    ),
}  # fmt: skip


def found(onnx_bytes: bytes, now: Callable[[], float] = lambda: 0.0) -> Sharing:
    session = Session(onnx_bytes)
    known = constants(check_graph(onnx_bytes))
    return sharing_of(session.run, session.signature.inputs, ["y"], known, ROWS_MAX, now)


@pytest.mark.parametrize("name", DEPENDENT)
def test_dependent_rows_are_found(name: str) -> None:
    """Whatever makes a row's answer depend on its neighbours, their number or its place."""
    sharing = found(DEPENDENT[name]())
    assert sharing.rows_max == 1
    assert "'y'" in sharing.reason


@pytest.mark.parametrize("name", INDEPENDENT)
def test_independent_rows_share(name: str) -> None:
    """Whole batches are allowed, and nothing is said against them."""
    assert found(INDEPENDENT[name]()) == Sharing(ROWS_MAX)


def test_noise_is_called_by_its_name() -> None:
    """Two runs of the same row that differ are no question of batches."""
    assert "not deterministic" in found(DEPENDENT["noise"]()).reason


def test_a_batch_that_fails_is_a_dependence() -> None:
    """A graph that takes one row only, whatever its inputs say, must not be given two."""
    single = model(node("Reshape", ["x", "shape"], ["y"]), constants=(ints("shape", 1, 4),))
    sharing = found(single)
    assert sharing.rows_max == 1
    assert "fails" in sharing.reason


def test_what_there_is_no_time_for_is_not_shared() -> None:
    """The batch size ends where the time did."""
    clock = iter(np.arange(0.0, 1e4, 0.05))
    sharing = found(INDEPENDENT["scaled"](), lambda: float(next(clock)))
    assert sharing.reason == ""
    assert 1 < sharing.rows_max < ROWS_MAX
    slow = iter(np.arange(0.0, 1e4, 0.8))
    assert found(INDEPENDENT["scaled"](), lambda: float(next(slow))).rows_max == 1
