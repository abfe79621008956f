"""Versions that must never go live, one per way to be wrong, and what the refusal must name."""

import hashlib
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.answers import FEATURES
from tests.model_repository import copy_version, edit_manifest

# A version that needs more than these is refused; the tests' own models take a fraction.
LOAD_SECONDS_MAX = 8
LOAD_MIB_MAX = 1024


@dataclass(frozen=True)
class Broken:
    name: str
    spoil: Callable[[Path], object]
    words: tuple[str, ...]


def _flip_byte(package: Path) -> None:
    content = bytearray((package / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (package / "model.onnx").write_bytes(content)


def _sign(package: Path, name: str) -> None:
    """Makes the manifest agree with the file as it is now."""

    def change(manifest: Any) -> None:
        content = (package / name).read_bytes()
        manifest.files[name].sha256 = hashlib.sha256(content).hexdigest()
        manifest.files[name].bytes = len(content)

    edit_manifest(package, change)


def _wrong_digest(package: Path) -> None:
    def change(manifest: Any) -> None:
        manifest.files["model.onnx"].sha256 = "0" * 64

    edit_manifest(package, change)


def _golden_off(package: Path) -> None:
    with np.load(package / "golden.npz") as stored:
        arrays = dict(stored)
    arrays["outputs/probabilities"][3] += 0.01
    buffer = io.BytesIO()
    np.savez(buffer, **arrays)
    (package / "golden.npz").write_bytes(buffer.getvalue())
    _sign(package, "golden.npz")


def _no_golden_archive(package: Path) -> None:
    (package / "golden.npz").write_bytes(b"PK no archive")
    _sign(package, "golden.npz")


def _pickled_golden(package: Path) -> None:
    np.savez(package / "golden.npz", **{"inputs/input": np.array([{"code": "runs"}], object)})
    _sign(package, "golden.npz")


def _other_inputs(package: Path) -> None:
    def change(manifest: Any) -> None:
        manifest.inputs[0].name = "rows"

    edit_manifest(package, change)


def _other_version(package: Path) -> None:
    edit_manifest(package, lambda manifest: setattr(manifest, "version", 77))


def _other_model(package: Path) -> None:
    edit_manifest(package, lambda manifest: setattr(manifest, "name", "price"))


def _newer_format(package: Path) -> None:
    def change(manifest: Any) -> None:
        manifest.format = 2

    edit_manifest(package, change)


def _outside(package: Path) -> None:
    manifest = json.loads((package / "manifest.json").read_text())
    manifest["files"]["../../secret"] = {"sha256": "0" * 64, "bytes": "1"}
    (package / "manifest.json").write_text(json.dumps(manifest))


def _bare(make: Callable[[], onnx.ModelProto]) -> Callable[[Path], object]:
    """A version that is a model.onnx alone."""

    def spoil(package: Path) -> None:
        shutil.rmtree(package)
        package.mkdir()
        (package / "model.onnx").write_bytes(make().SerializeToString())

    return spoil


def _model(nodes: list[Any], initializers: tuple[Any, ...] = (), opset: int = 18, **named: Any) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "graph",
        [helper.make_tensor_value_info("input", TensorProto.FLOAT, [None, FEATURES])],
        [helper.make_tensor_value_info("output", TensorProto.FLOAT, [None, FEATURES])],
        initializers,
    )
    opsets = [helper.make_opsetid("", opset), *named.pop("opsets", [])]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10, **named)


def _custom_operator() -> onnx.ModelProto:
    node = helper.make_node("Exec", ["input"], ["output"], domain="com.evil")
    return _model([node], opsets=[helper.make_opsetid("com.evil", 1)])


def _custom_operator_in_a_branch() -> onnx.ModelProto:
    def branch(name: str, domain: str) -> Any:
        output = helper.make_tensor_value_info(name, TensorProto.FLOAT, None)
        return helper.make_graph([helper.make_node("Identity", ["input"], [name], domain=domain)], name, [], [output])

    condition = helper.make_tensor("condition", TensorProto.BOOL, [], [True])
    node = helper.make_node(
        "If", ["condition"], ["output"], then_branch=branch("a", ""), else_branch=branch("b", "com.evil")
    )
    return _model([node], (condition,), opsets=[helper.make_opsetid("com.evil", 1)])


def _external_data() -> onnx.ModelProto:
    tensor = TensorProto(
        name="weights", data_type=TensorProto.FLOAT, dims=[FEATURES], data_location=TensorProto.EXTERNAL
    )
    tensor.external_data.add(key="location", value="../../../../etc/passwd")
    return _model([helper.make_node("Add", ["input", "weights"], ["output"])], (tensor,))


def _local_function() -> onnx.ModelProto:
    body = helper.make_function(
        "local", "Twice", ["x"], ["y"], [helper.make_node("Add", ["x", "x"], ["y"])], [helper.make_opsetid("", 18)]
    )
    node = helper.make_node("Twice", ["input"], ["output"], domain="local")
    return _model([node], opsets=[helper.make_opsetid("local", 1)], functions=[body])


def _new_opset() -> onnx.ModelProto:
    return _model([helper.make_node("Identity", ["input"], ["output"])], opset=99)


def _no_such_operator() -> onnx.ModelProto:
    return _model([helper.make_node("Frobnicate", ["input"], ["output"])])


def _endless() -> onnx.ModelProto:
    """Loads at once, then runs 2^40 iterations."""
    body = helper.make_graph(
        [helper.make_node("Identity", ["keep_in"], ["keep"]), helper.make_node("Abs", ["x_in"], ["x"])],
        "body",
        [
            helper.make_tensor_value_info("i", TensorProto.INT64, []),
            helper.make_tensor_value_info("keep_in", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x_in", TensorProto.FLOAT, None),
        ],
        [
            helper.make_tensor_value_info("keep", TensorProto.BOOL, []),
            helper.make_tensor_value_info("x", TensorProto.FLOAT, None),
        ],
    )
    trips = helper.make_tensor("trips", TensorProto.INT64, [], [2**40])
    keep = helper.make_tensor("keep_going", TensorProto.BOOL, [], [True])
    return _model([helper.make_node("Loop", ["trips", "keep_going", "input"], ["output"], body=body)], (trips, keep))


def _greedy() -> onnx.ModelProto:
    """A few bytes that ask for 64 GiB when run."""
    shape = helper.make_tensor("shape", TensorProto.INT64, [2], [2**34 // FEATURES, FEATURES])
    zero = helper.make_tensor("zero", TensorProto.INT64, [1], [0])
    nodes = [
        helper.make_node("ConstantOfShape", ["shape"], ["huge"]),
        helper.make_node("ReduceSum", ["huge", "zero"], ["sum"], keepdims=1),
        helper.make_node("Add", ["input", "sum"], ["output"]),
    ]
    return _model(nodes, (shape, zero))


def _sequence() -> onnx.ModelProto:
    """A ZipMap, as plain converters make it."""
    scores = helper.make_tensor_value_info("input", TensorProto.FLOAT, [None, 2])
    element = helper.make_map_type_proto(TensorProto.INT64, helper.make_tensor_type_proto(TensorProto.FLOAT, []))
    output = helper.make_value_info("output", helper.make_sequence_type_proto(element))
    node = helper.make_node("ZipMap", ["input"], ["output"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])
    graph = helper.make_graph([node], "graph", [scores], [output])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


BROKEN = (
    Broken("corrupt file", _flip_byte, ("model.onnx", "digest")),
    Broken("wrong digest", _wrong_digest, ("model.onnx", "digest", "000000000000")),
    Broken("missing file", lambda package: (package / "profile.json").unlink(), ("profile.json", "No such file")),
    Broken("manifest that is none", lambda p: (p / "manifest.json").write_text("[]"), ("manifest.json",)),
    Broken("manifest of a newer format", _newer_format, ("manifest.json", "format 2", "reads 1")),
    Broken("manifest with a path", _outside, ("manifest.json", "outside its package")),
    Broken("manifest of another version", _other_version, ("manifest.json", "version 77 of 'numbers'", "'numbers'")),
    Broken("manifest of another model", _other_model, ("manifest.json", "of 'price'", "of 'numbers'")),
    Broken("manifest of other inputs", _other_inputs, ("'input'", "manifest", "graph")),
    Broken("golden rows off", _golden_off, ("golden row 3", "probabilities", "ONNX Runtime")),
    Broken("golden rows unreadable", _no_golden_archive, ("golden.npz",)),
    Broken("golden rows with a pickle", _pickled_golden, ("golden.npz",)),
    Broken("custom operator", _bare(_custom_operator), ("Exec", "com.evil", "ai.onnx")),
    Broken("custom operator in a branch", _bare(_custom_operator_in_a_branch), ("Identity", "com.evil")),
    Broken("local function", _bare(_local_function), ("Twice", "function")),
    Broken("external data", _bare(_external_data), ("external data",)),
    Broken("too new an opset", _bare(_new_opset), ("opset", "99")),
    Broken("unknown operator", _bare(_no_such_operator), ("Frobnicate",)),
    Broken("garbage", _bare(onnx.ModelProto), ("model.onnx is not an ONNX model",)),
    Broken("sequence output", _bare(_sequence), ("output", "ZipMap")),
    Broken("run without an end", _bare(_endless), ("longer than", f"{LOAD_SECONDS_MAX} s")),
    Broken("run without a limit", _bare(_greedy), ("memory",)),
)


def make(numbers: Path) -> None:
    """Version 1 is right; 2, 3, … are spoiled copies in the order of BROKEN."""
    for version, broken in enumerate(BROKEN, 2):
        broken.spoil(copy_version(numbers / "1", version))
