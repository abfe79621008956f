"""Calls that share a run with one that fails: they are answered by themselves, and every call is in the metrics."""

import re
import urllib.request
from pathlib import Path

import grpc
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from onnxpress.protos import inference_pb2 as pb
from tests.conftest import FRONTS
from tests.inference_calls import DEADLINE_S, connected
from tests.server_process import ServerProcess

TABLE = np.array([10.0, 20.0, 30.0], np.float32)
OUTSIDE = 99  # ONNX Runtime fails a run with such an index
CALLS, BAD_EVERY = 200, 50
COUNT = re.compile(r'^onnxpress_requests_total\{code="(\w+)",model="table",version="1"\} ([\d.]+)', re.MULTILINE)


def lookup(index: int) -> pb.ModelInferRequest:
    message = pb.ModelInferRequest(model_name="table")
    message.inputs.add(name="index", datatype="INT64", shape=[1, 1])
    message.raw_input_contents.append(np.int64(index).tobytes())
    return message


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A model that looks its row up in a table, as embeddings do."""
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Gather", ["table", "index"], ["y"])],
        "g",
        [value("index", TensorProto.INT64, ["N", 1])],
        [value("y", TensorProto.FLOAT, ["N", 1])],
        [onnx.numpy_helper.from_array(TABLE, "table")],
    )
    folder = tmp_path / "repository" / "table" / "1"
    folder.mkdir(parents=True)
    opset = helper.make_opsetid("", 18)
    onnx.save(helper.make_model(graph, opset_imports=[opset], ir_version=9), folder / "model.onnx")
    return tmp_path / "repository"


@pytest.mark.parametrize("front", FRONTS)
def test_every_call_of_a_failed_batch_is_counted(front: str, repository: Path) -> None:
    """Good calls are answered right and counted as OK, bad ones are refused and counted with their code."""
    sent: dict[bool, int] = {True: 0, False: 0}
    with ServerProcess(repository, front=front).ready() as server, connected(server.grpc) as stub:
        while "each request runs alone" not in server.log:
            indices = [OUTSIDE if n % BAD_EVERY == 1 else n % len(TABLE) for n in range(CALLS)]
            calls = [stub.ModelInfer.future(lookup(index), timeout=DEADLINE_S) for index in indices]
            for index, call in zip(indices, calls, strict=True):
                bad = index == OUTSIDE
                sent[bad] += 1
                assert (call.exception() is not None) == bad
                if not bad:
                    assert call.result().raw_output_contents[0] == TABLE[index].tobytes()
        code = next(call.code() for call in calls if call.code() is not grpc.StatusCode.OK)
        with urllib.request.urlopen(f"http://{server.http}/metrics", timeout=DEADLINE_S) as answer:
            counts = {name: float(count) for name, count in COUNT.findall(answer.read().decode())}
    assert counts == {"OK": sent[False], code.name: sent[True]}
