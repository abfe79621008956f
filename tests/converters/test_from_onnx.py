"""Models that are ONNX already: adapted to our inputs and outputs, and proved as far as possible."""

from typing import Any

import numpy as np
import onnx
import pandas as pd
import pytest
from onnx import TensorProto, helper, numpy_helper
from skl2onnx import to_onnx
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor

from onnxpress import ConversionRefused, convert
from onnxpress.converters.runtime import Session
from onnxpress.protos.package_pb2 import Layout

ROWS = np.random.default_rng(0).normal(size=(120, 3))
LABELS = np.array(["ja", "nein"])[(ROWS[:, 0] > 0).astype(int)]
OPSETS = {"": 18, "ai.onnx.ml": 3}


def exported(model: Any, **options: Any) -> onnx.ModelProto:
    return to_onnx(model, ROWS[:1].astype(np.float32), target_opset=OPSETS, **options)


def graph_of(nodes: list[onnx.NodeProto], inputs: dict[str, Any], output: Any, **more: Any) -> onnx.ModelProto:
    ports = [helper.make_tensor_value_info(name, kind, shape) for name, (kind, shape) in inputs.items()]
    result = [helper.make_tensor_value_info("y", *output)]
    graph = helper.make_graph(nodes, "g", ports, result, **more)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def test_a_classifier_with_zipmap_gets_our_outputs() -> None:
    """ZipMap is removed, outputs are label and probabilities, classes are read from the graph, answers stay."""
    model = RandomForestClassifier(5, random_state=0).fit(ROWS, LABELS)
    package = convert(exported(model), ROWS, name="brought")
    assert list(package.manifest.classes) == ["ja", "nein"]
    assert [(port.name, port.datatype) for port in package.manifest.outputs] == [
        ("label", "BYTES"),
        ("probabilities", "FP32"),
    ]
    assert package.manifest.source.framework == "onnx"
    narrow = ROWS.astype(np.float32)
    found = Session(package.onnx).run({"input": narrow})
    assert found["label"].tolist() == model.predict(narrow).tolist()
    assert np.allclose(found["probabilities"], model.predict_proba(narrow), atol=1e-6)


def test_notes_that_there_was_no_original() -> None:
    """The manifest's notes say that only shapes, batch invariance and determinism are proved."""
    model = RandomForestRegressor(3, random_state=0).fit(ROWS, ROWS[:, 0])
    package = convert(exported(model), ROWS, name="brought")
    assert any("no original" in note for note in package.manifest.notes)
    assert package.golden.outputs["prediction"].shape[1] == 1


def test_inputs_of_one_column_give_the_columns_layout() -> None:
    """A model with one input a column keeps them, including names with spaces and umlauts."""
    nodes = [
        helper.make_node("Cast", ["größe ü"], ["n"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["n", "x y"], ["y"]),
    ]
    inputs = {"größe ü": (TensorProto.INT64, [None, 1]), "x y": (TensorProto.FLOAT, [None, 1])}
    frame = pd.DataFrame({"x y": [1.5, 2.5, 3.5], "größe ü": [1, 2, 3]})
    package = convert(graph_of(nodes, inputs, (TensorProto.FLOAT, [None, 1])), frame, name="sum")
    assert package.manifest.layout == Layout.COLUMNS
    assert [(port.name, port.datatype) for port in package.manifest.inputs] == [("größe ü", "INT64"), ("x y", "FP32")]


def test_a_batch_dependent_graph_is_refused() -> None:
    """A graph with a mean over the batch is refused by generator B."""
    nodes = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[0]),
        helper.make_node("Add", ["x", "m"], ["y"]),
    ]
    model = graph_of(nodes, {"x": (TensorProto.FLOAT, [None, 3])}, (TensorProto.FLOAT, [None, 3]))
    model.opset_import[0].version = 17
    with pytest.raises(ConversionRefused, match=r"^B "):
        convert(model, ROWS, name="mean")


def test_a_fixed_batch_is_refused() -> None:
    """A graph that only runs one row is refused in one line."""
    shape = numpy_helper.from_array(np.array([1, 3]), "s")
    nodes = [helper.make_node("Reshape", ["x", "s"], ["y"])]
    model = graph_of(nodes, {"x": (TensorProto.FLOAT, [1, 3])}, (TensorProto.FLOAT, [1, 3]), initializer=[shape])
    with pytest.raises(ConversionRefused, match="does not run on the sample"):
        convert(model, ROWS, name="one")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda model: setattr(model.graph.node[0], "domain", "com.microsoft"), "operators of com.microsoft"),
        (lambda model: setattr(model.opset_import[0], "version", 23), "opset 23"),
        (lambda model: setattr(model.graph.initializer[0], "data_location", TensorProto.EXTERNAL), "other files"),
    ],
)
def test_what_the_server_would_not_load_is_refused(change: Any, reason: str) -> None:
    """Foreign operators, too new opsets and weights in other files are refused."""
    weight = numpy_helper.from_array(np.float32([[2.0]]), "w")
    nodes = [helper.make_node("Mul", ["x", "w"], ["y"])]
    port = (TensorProto.FLOAT, [None, 3])
    model = graph_of(nodes, {"x": port}, port, initializer=[weight])
    assert convert(model, ROWS, name="fine").manifest.outputs[0].name == "prediction"
    change(model)
    with pytest.raises(ConversionRefused, match=reason):
        convert(model, ROWS, name="foreign")


def test_a_sample_of_another_width_is_refused() -> None:
    """The message names both widths."""
    model = RandomForestRegressor(3, random_state=0).fit(ROWS, ROWS[:, 0])
    with pytest.raises(ConversionRefused, match="takes 3 features, the sample has 2 columns"):
        convert(exported(model), ROWS[:, :2], name="brought")
