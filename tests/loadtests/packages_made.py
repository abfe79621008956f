"""Packages for the load generator's tests: small real ONNX models, with manifest, profile and golden rows.

Made by hand from the contracts in protos/package.proto, so that these tests need neither room that writes or reads
packages in earnest.
"""

import hashlib
import io
from pathlib import Path

import numpy as np
import onnx
from google.protobuf.json_format import MessageToJson
from onnx import TensorProto, helper

from onnxpress.protos.package_pb2 import (
    Feature,
    FeatureProfile,
    File,
    Layout,
    Manifest,
    NumericProfile,
    Profile,
    Task,
    Tensor,
)

FEATURES = 30
IR_VERSION = 10
OPSET = 18


def weights(version: int) -> np.ndarray:
    """The coefficients of a version: another seed, other answers."""
    return np.random.default_rng(version).normal(size=(FEATURES, 1)).astype(np.float32)


def graph(version: int) -> onnx.ModelProto:
    """Logistic regression: `input` [rows, 30] to `label` [rows] and `probabilities` [rows, 2]."""
    nodes = [
        helper.make_node("MatMul", ["input", "weights"], ["margin"]),
        helper.make_node("Sigmoid", ["margin"], ["one"]),
        helper.make_node("Sub", ["unit", "one"], ["zero"]),
        helper.make_node("Concat", ["zero", "one"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=0),
    ]
    coefficients = weights(version)
    made = helper.make_graph(
        nodes,
        "logistic",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [None, FEATURES])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2]),
        ],
        initializer=[
            helper.make_tensor("weights", TensorProto.FLOAT, coefficients.shape, coefficients.reshape(-1)),
            helper.make_tensor("unit", TensorProto.FLOAT, [1], [1.0]),
        ],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", OPSET)])
    model.ir_version = IR_VERSION
    onnx.checker.check_model(model)
    return model


def manifest(name: str, version: int) -> Manifest:
    return Manifest(
        format=1,
        name=name,
        version=version,
        task=Task.CLASSIFIER,
        layout=Layout.MATRIX,
        inputs=[Tensor(name="input", datatype="FP32", shape=[-1, FEATURES])],
        outputs=[
            Tensor(name="label", datatype="INT64", shape=[-1]),
            Tensor(name="probabilities", datatype="FP32", shape=[-1, 2]),
        ],
        features=[Feature(name=f"f{index}", datatype="FP32") for index in range(FEATURES)],
        classes=["0", "1"],
        label_datatype="INT64",
    )


def profile() -> Profile:
    edges = [-1.0, 0.0, 1.0]
    numeric = NumericProfile(min=-3, max=3, std=1, p001=-3, p999=3, edges=edges, counts=[160, 340, 340, 160])
    return Profile(
        rows=1000,
        features=[FeatureProfile(name=f"f{index}", datatype="FP32", numeric=numeric) for index in range(FEATURES)],
    )


def golden(version: int, rows: int = 16) -> dict[str, np.ndarray]:
    """Rows with the answers of the original, computed in float64."""
    inputs = np.random.default_rng(100 + version).normal(size=(rows, FEATURES)).astype(np.float32)
    one = 1 / (1 + np.exp(-inputs.astype(np.float64) @ weights(version).astype(np.float64)))
    probabilities = np.concatenate([1 - one, one], axis=1)
    return {
        "inputs/input": inputs,
        "outputs/label": probabilities.argmax(axis=1),
        "outputs/probabilities": probabilities,
        "tolerance/probabilities": np.full_like(probabilities, 1e-5),
    }


def write_package(repository: Path, version: int, name: str = "churn") -> Path:
    """A version's folder, with the digests that a server believes."""
    folder = repository / name / str(version)
    folder.mkdir(parents=True)
    buffer = io.BytesIO()
    np.savez(buffer, **golden(version))
    contents = {
        "model.onnx": graph(version).SerializeToString(),
        "profile.json": MessageToJson(profile(), preserving_proto_field_name=True).encode(),
        "golden.npz": buffer.getvalue(),
    }
    said = manifest(name, version)
    for file, content in contents.items():
        said.files[file].CopyFrom(File(sha256=hashlib.sha256(content).hexdigest(), bytes=len(content)))
        (folder / file).write_bytes(content)
    (folder / "manifest.json").write_text(MessageToJson(said, preserving_proto_field_name=True))
    return folder
