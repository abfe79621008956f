"""Models that are ONNX already: there is no original, so the gate proves shape, batch invariance and determinism."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx
import pandas as pd
from numpy.typing import NDArray
from onnx import TensorProto, compose, helper

from onnxpress.converters import sample as samples
from onnxpress.converters.family import (
    Answer,
    Column,
    Schema,
)
from onnxpress.converters.runtime import Port, Session
from onnxpress.packages.datatypes import COLUMN_DATATYPES, DATATYPES
from onnxpress.packages.errors import ConversionRefused, RunError
from onnxpress.protos.package_pb2 import Layout, Task

DOMAINS = ("", "ai.onnx", "ai.onnx.ml")
OPSET_MAX = {"": 22, "ai.onnx": 22, "ai.onnx.ml": 5}
IR_VERSION_MAX = 10
PREFIX = "model/"
ELEMENT_TYPES = {DATATYPES[name].element_type for name in COLUMN_DATATYPES}
NOTES = ("there was no original model to compare with: only shapes, batch invariance and determinism are proved",)
CLASS_ATTRIBUTES = ("classlabels_int64s", "classlabels_strings", "classlabels_ints")


class OnnxFamily:
    """Models brought as .onnx files (`onnx.ModelProto`)."""

    name = "onnx"

    def claims(self, model: object) -> bool:
        return isinstance(model, onnx.ModelProto)

    def open(self, model: Any, frame: pd.DataFrame, layout: str) -> "OnnxModel":
        _check(model)
        graph = normalised(model)
        session = Session(graph.SerializeToString())
        return OnnxModel(graph, session, _schema(model, session, frame, layout))


@dataclass(frozen=True)
class OnnxModel:
    """One graph, with the inputs and outputs of converted models, and its session."""

    graph: onnx.ModelProto
    session: Session
    schema: Schema

    def compile(self) -> onnx.ModelProto:
        return self.graph

    def answer(self, rows: pd.DataFrame) -> Answer:
        outputs = self.session.run(samples.feeds(rows, self.schema))
        if "label" in outputs and outputs["label"].dtype == np.object_:
            outputs["label"] = outputs["label"].astype(str)
        return Answer(outputs, {name: np.zeros(values.shape) for name, values in outputs.items() if name != "label"})

    def splits(self) -> dict[str, NDArray[np.float64]]:
        return {}

    def categories(self) -> dict[str, tuple[Any, ...]]:
        return {}


FAMILY = OnnxFamily()


def _schema(model: onnx.ModelProto, session: Session, sample: pd.DataFrame, layout: str) -> Schema:
    columns, found = _columns(session.inputs, sample)
    if layout not in ("auto", "matrix" if found == Layout.MATRIX else "columns"):
        raise ConversionRefused(f"the inputs of an ONNX model are fixed: layout {layout} is not available")
    probe = Schema(columns, found, Task.REGRESSOR)
    rows = samples.typed(samples.select(sample, [column.name for column in columns]).head(2), probe)
    try:
        answers = session.run(samples.feeds(rows, probe))
    except RunError as failure:
        raise ConversionRefused(f"the model does not run on the sample: {failure}") from failure
    if "label" not in answers:
        return Schema(columns, found, Task.REGRESSOR, targets=answers["prediction"].shape[1], notes=NOTES)
    width = answers["probabilities"].shape[1]
    return Schema(columns, found, Task.CLASSIFIER, _classes(model, answers["label"], width), notes=NOTES)


def _check(model: onnx.ModelProto) -> None:
    foreign = sorted({node.domain for node in model.graph.node} - set(DOMAINS))
    if foreign:
        raise ConversionRefused(f"operators of {', '.join(foreign)}: only ai.onnx and ai.onnx.ml are served")
    if any(tensor.data_location == TensorProto.EXTERNAL for tensor in model.graph.initializer):
        raise ConversionRefused("the model keeps weights in other files: save it as one file")
    for opset in model.opset_import:
        if opset.domain in OPSET_MAX and opset.version > OPSET_MAX[opset.domain]:
            raise ConversionRefused(
                f"the model needs opset {opset.version} of {opset.domain or 'ai.onnx'}, newer than "
                f"{OPSET_MAX[opset.domain]}: export it for that one"
            )


def normalised(model: onnx.ModelProto) -> onnx.ModelProto:
    """The same graph with the inputs and outputs of converted models: `input` or one input a column, and no ZipMap."""
    inner = compose.add_prefix(model, PREFIX)
    graph = inner.graph
    maps = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "ZipMap"}
    nodes = [node for node in graph.node if node.op_type != "ZipMap"]
    stored = {tensor.name for tensor in graph.initializer}
    inputs, before = _inputs([value for value in graph.input if value.name not in stored])
    outputs, after = _outputs(list(graph.output), maps)
    result = helper.make_model(
        helper.make_graph([*before, *nodes, *after], "onnxpress", inputs, outputs, list(graph.initializer)),
        opset_imports=list(inner.opset_import),
        ir_version=min(inner.ir_version, IR_VERSION_MAX),
        producer_name="onnxpress",
    )
    result.graph.initializer.extend([helper.make_tensor("flat", TensorProto.INT64, [1], [-1])])
    result.graph.initializer.extend([helper.make_tensor("rows", TensorProto.INT64, [2], [0, -1])])
    return result


def _inputs(values: list[onnx.ValueInfoProto]) -> tuple[list[onnx.ValueInfoProto], list[onnx.NodeProto]]:
    kinds = [value.type.tensor_type for value in values]
    if len(values) == 1 and kinds[0].elem_type in (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.INT64):
        shape = kinds[0].shape.dim
        if len(shape) == 2 and shape[1].dim_value != 1:
            node = helper.make_node("Cast", ["input"], [values[0].name], to=kinds[0].elem_type)
            return [helper.make_tensor_value_info("input", TensorProto.FLOAT, ["rows", shape[1].dim_value or None])], [
                node
            ]
    inputs, nodes = [], []
    for value, kind in zip(values, kinds, strict=True):
        name = value.name.removeprefix(PREFIX)
        if kind.elem_type not in ELEMENT_TYPES or len(kind.shape.dim) != 2 or kind.shape.dim[1].dim_value not in (0, 1):
            raise ConversionRefused(f"input {name!r} is neither one column nor the only input, a table of numbers")
        inputs.append(helper.make_tensor_value_info(name, kind.elem_type, ["rows", 1]))
        nodes.append(helper.make_node("Identity", [name], [value.name]))
    return inputs, nodes


def _outputs(
    values: list[onnx.ValueInfoProto], maps: dict[str, str]
) -> tuple[list[onnx.ValueInfoProto], list[onnx.NodeProto]]:
    labels = [v for v in values if v.type.tensor_type.elem_type in (TensorProto.INT64, TensorProto.STRING)]
    floats = [v for v in values if v not in labels]
    if len(labels) > 1 or len(floats) != 1:
        names = ", ".join(value.name.removeprefix(PREFIX) for value in values)
        raise ConversionRefused(f"outputs {names}: expected a label and its probabilities, or one prediction")
    score = "probabilities" if labels else "prediction"
    source = maps.get(floats[0].name, floats[0].name)
    nodes = [
        helper.make_node("Cast", [source], ["score"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["score", "rows"], [score]),
    ]
    outputs = [helper.make_tensor_value_info(score, TensorProto.FLOAT, ["rows", None])]
    if labels:
        nodes.append(helper.make_node("Reshape", [labels[0].name, "flat"], ["label"]))
        kind = labels[0].type.tensor_type.elem_type
        outputs.insert(0, helper.make_tensor_value_info("label", kind, ["rows"]))
    return outputs, nodes


def _columns(inputs: tuple[Port, ...], sample: pd.DataFrame) -> tuple[tuple[Column, ...], "Layout"]:
    if [port.name for port in inputs] != ["input"] or inputs[0].shape[1] == 1:
        return tuple(Column(port.name, port.datatype) for port in inputs), Layout.COLUMNS
    width = inputs[0].shape[1]
    if width not in (-1, sample.shape[1]):
        raise ConversionRefused(f"the model takes {width} features, the sample has {sample.shape[1]} columns")
    return tuple(Column(str(name), "FP32") for name in sample.columns), Layout.MATRIX


def _classes(model: onnx.ModelProto, label: NDArray[Any], width: int) -> tuple[str, ...] | tuple[int, ...]:
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name in CLASS_ATTRIBUTES:
                found = list(attribute.ints) or [text.decode() for text in attribute.strings]
                if len(found) == width:
                    return tuple(found)
    if label.dtype.kind in "iu":
        return tuple(range(width))
    raise ConversionRefused("the model's labels are text, and none of its operators lists them in order")
