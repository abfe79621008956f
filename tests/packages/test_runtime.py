"""One ONNX Runtime session for the gate, the server and `verify`."""

import subprocess
import sys
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

from onnxpress.converters.runtime import Session as GateSession
from onnxpress.packages.errors import ConversionRefused, RefusedPackageError, RunError
from onnxpress.packages.runtime import Port, Session
from onnxpress.server.serving.runtime import Session as LaneSession


def model_of(*nodes: onnx.NodeProto, outputs: Any = ()) -> bytes:
    ports = [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", 2])]
    graph = helper.make_graph(list(nodes), "graph", ports, list(outputs))
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=9).SerializeToString()


@pytest.fixture(scope="module")
def doubled() -> bytes:
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [None, 2]) for name in ("twice", "same")]
    nodes = [helper.make_node("Add", ["x", "x"], ["twice"]), helper.make_node("Identity", ["x"], ["same"])]
    return model_of(*nodes, outputs=outputs)


@pytest.fixture
def zip_map() -> bytes:
    element = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    output = helper.make_value_info("maps", helper.make_sequence_type_proto(element))
    node = helper.make_node("ZipMap", ["x"], ["maps"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])
    return model_of(node, outputs=[output])


def test_the_gate_and_the_server_use_the_same_options(doubled: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Single-threaded, sequential, no spinning, no memory pattern, for whoever opens a session."""
    opened: list[Any] = []
    original = onnxruntime.InferenceSession

    def opening(model: bytes, options: Any, **named: Any) -> Any:
        opened.append((options, named))
        return original(model, options, **named)

    monkeypatch.setattr(onnxruntime, "InferenceSession", opening)
    for kind in (Session, GateSession, LaneSession):
        kind(doubled)
    assert len(opened) == 3
    for options, named in opened:
        assert (options.intra_op_num_threads, options.inter_op_num_threads) == (1, 1)
        assert options.execution_mode == onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        assert options.get_session_config_entry("session.intra_op.allow_spinning") == "0"
        assert options.enable_mem_pattern is False
        assert named == {"providers": ["CPUExecutionProvider"]}


def test_answers_by_name_and_in_order(doubled: bytes) -> None:
    """`run` gives every output in the graph's order, `answers` those that are named."""
    session = Session(doubled)
    rows = np.ones((3, 2), np.float32)
    assert session.inputs == (Port("x", "FP32", (-1, 2)),)
    assert [array.tolist() for array in session.run({"x": rows})] == [(rows * 2).tolist(), rows.tolist()]
    assert list(session.answers({"x": rows})) == ["twice", "same"]
    assert session.answers({"x": rows}, ("same",))["same"].tolist() == rows.tolist()


@pytest.mark.parametrize(
    "feeds",
    [{}, {"x": np.ones((3, 3), np.float32)}, {"x": np.ones((3, 2))}, {"x": np.full((3, 2), "1", object)}, {"y": None}],
    ids=["missing", "wide", "double", "text", "name"],
)
def test_odd_inputs_raise(doubled: bytes, feeds: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
    """A missing input, another shape, type or name raises RunError, and nothing is written to standard error."""
    session = Session(doubled)
    for ask in (session.run, session.answers):
        with pytest.raises(RunError):
            ask(feeds)
    assert capfd.readouterr().err == ""


def test_what_does_not_load_is_refused(zip_map: bytes) -> None:
    """The reason is ONNX Runtime's: a package is refused, and so is a conversion. A ZipMap loads, and is no tensor."""
    with pytest.raises(RefusedPackageError, match=r"ONNX Runtime .* cannot load it"):
        Session(b"no model")
    with pytest.raises(ConversionRefused, match="compiled model: ONNX Runtime"):
        GateSession(b"no model")
    assert Session(zip_map).outputs[0].datatype == "seq(map(int64,tensor(float)))"
    assert Session(zip_map).answers({"x": np.ones((1, 2), np.float32)})["maps"].dtype == object
    with pytest.raises(RefusedPackageError, match="ZipMap"):
        LaneSession(zip_map)


def test_telemetry_is_off_before_the_library_is_imported() -> None:
    """The variable that switches the uploader off is set when ONNX Runtime's own code first runs."""
    child = (
        "import os, sys\n"
        "class Watch:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name == 'onnxruntime': print(os.environ.get('ORT_DISABLE_TELEMETRY'))\n"
        "sys.meta_path.insert(0, Watch())\n"
        "import onnxpress.packages.runtime\n"
    )
    said = subprocess.run([sys.executable, "-c", child], capture_output=True, text=True, check=True)
    assert said.stdout == "1\n"
