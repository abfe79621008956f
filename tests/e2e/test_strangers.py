"""Models that others made, without a package: their rows may depend on each other, and their inputs may be scalars."""

import threading
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from onnxpress.protos import admin_pb2
from onnxpress.protos import inference_pb2 as pb
from tests.conftest import FRONTS
from tests.inference_calls import DEADLINE_S, administered, connected
from tests.server_process import ServerProcess

CALLERS, CALLS = 16, 40


def save(
    repository: Path, name: str, nodes: list[onnx.NodeProto], inputs: dict[str, list[object]], **constants: object
):
    value = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "g",
        [value(one, TensorProto.FLOAT, shape) for one, shape in inputs.items()],
        [value("y", TensorProto.FLOAT, next(iter(inputs.values())))],
        [onnx.numpy_helper.from_array(np.array(numbers), one) for one, numbers in constants.items()],
    )
    (repository / name / "1").mkdir(parents=True)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    onnx.save(model, repository / name / "1" / "model.onnx")


def ask(model: str, **inputs: np.ndarray) -> pb.ModelInferRequest:
    message = pb.ModelInferRequest(model_name=model)
    for name, array in inputs.items():
        message.inputs.add(name=name, datatype="FP32", shape=array.shape)
        message.raw_input_contents.append(array.astype(np.float32).tobytes())
    return message


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """`batch_mean` takes the mean of the batch off; `scaled` does not look beyond a row; `times` has a scalar input."""
    root = tmp_path / "repository"
    mean = helper.make_node("ReduceMean", ["x", "axes"], ["mean"], keepdims=1)
    save(root, "batch_mean", [mean, helper.make_node("Sub", ["x", "mean"], ["y"])], {"x": ["N", 4]}, axes=[0])
    save(root, "scaled", [helper.make_node("Mul", ["x", "two"], ["y"])], {"x": ["N", 4]}, two=np.float32(2))
    save(root, "times", [helper.make_node("Mul", ["x", "by"], ["y"])], {"x": ["N", 4], "by": []})
    return root


@pytest.mark.parametrize("front", FRONTS)
def test_dependent_rows_never_share_a_run(front: str, repository: Path) -> None:
    """Whatever the load, a row alone is zero there; two rows of one request are answered as the graph answers two."""
    wrong: list[bytes] = []
    with ServerProcess(repository, front=front).ready() as server, connected(server.grpc) as stub:

        def call(seed: int) -> None:
            for row in np.random.default_rng(seed).normal(size=(CALLS, 1, 4)):
                answer = stub.ModelInfer(ask("batch_mean", x=row), timeout=DEADLINE_S)
                if np.frombuffer(answer.raw_output_contents[0], np.float32).any():
                    wrong.append(answer.raw_output_contents[0])

        threads = [threading.Thread(target=call, args=(seed,)) for seed in range(CALLERS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert wrong == []
        answer = stub.ModelInfer(ask("batch_mean", x=np.array([[1.0] * 4, [3.0] * 4])), timeout=DEADLINE_S)
        assert np.frombuffer(answer.raw_output_contents[0], np.float32).tolist() == [-1.0] * 4 + [1.0] * 4


def test_why_batches_are_not_shared_is_told(repository: Path) -> None:
    """Status, model configuration and log name the output; a model with independent rows shares batches."""
    with ServerProcess(repository).ready() as server, connected(server.grpc) as stub:
        configs = {
            name: stub.ModelConfig(pb.ModelConfigRequest(name=name), timeout=DEADLINE_S).config
            for name in ("batch_mean", "scaled")
        }
        assert "'y'" in configs["batch_mean"].parameters["shared_batches"].string_value
        assert configs["batch_mean"].max_batch_size == 0
        assert configs["scaled"].parameters["shared_batches"].string_value == "yes"
        assert configs["scaled"].max_batch_size > 0
        server.wait_for(r"'batch_mean' version 1: shared batches: no: output 'y' of a row differs in a batch of")
        with administered(server.admin) as admin:
            status = admin.GetDeployment(admin_pb2.GetDeploymentRequest(model="batch_mean"), timeout=DEADLINE_S)
        assert "output 'y'" in status.versions[0].alone


@pytest.mark.parametrize("front", FRONTS)
def test_scalar_inputs(front: str, repository: Path) -> None:
    """An input of shape [] is told as [], taken as [], and refused as [1]."""
    rows = np.arange(8.0).reshape(2, 4)
    with ServerProcess(repository, front=front).ready() as server, connected(server.grpc) as stub:
        metadata = stub.ModelMetadata(pb.ModelMetadataRequest(name="times"), timeout=DEADLINE_S)
        assert {one.name: list(one.shape) for one in metadata.inputs} == {"x": [-1, 4], "by": []}
        answer = stub.ModelInfer(ask("times", x=rows, by=np.float32(3)), timeout=DEADLINE_S)
        assert np.frombuffer(answer.raw_output_contents[0], np.float32).tolist() == (rows * 3).ravel().tolist()
        with pytest.raises(Exception, match=r"'by' has shape \[1\], expected \[\]"):
            stub.ModelInfer(ask("times", x=rows, by=np.array([3.0])), timeout=DEADLINE_S)
