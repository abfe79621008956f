"""Compiles the trees of an ONNX model for the kernel."""

from typing import Any

import onnx
from onnx import AttributeProto, TensorProto, helper, numpy_helper

from onnxpress.converters.forest.flatten import flatten
from onnxpress.converters.forest.split import split, with_inputs
from onnxpress.converters.runtime import Session
from onnxpress.packages.datatypes import DATATYPES
from onnxpress.packages.errors import ConversionRefused, ForestError
from onnxpress.packages.forest.compiled import CompiledForest


def compile_forest(model: onnx.ModelProto) -> CompiledForest:
    """The same model for the second engine. Raises ForestError: it stays with ONNX Runtime, with the reason."""
    parts = split(model)
    walks = tuple(
        flatten(_attributes(node), source, node.output[0])
        for node, source in zip(parts.trees, parts.sources, strict=True)
    )
    try:
        before = parts.before.SerializeToString() if parts.before.graph.node else b""
        types: dict[str, int] = {walk.target: TensorProto.FLOAT for walk in walks}
        for port in Session(before).outputs if before else ():
            types[port.name] = DATATYPES[port.datatype].element_type
        after = with_inputs(parts.after, types).SerializeToString() if parts.after.graph.node else b""
    except (ConversionRefused, KeyError) as error:
        raise ForestError(f"the part before its trees does not stand alone: {error}") from error
    return CompiledForest(before, walks, after, parts.outputs)


def _attributes(node: onnx.NodeProto) -> dict[str, Any]:
    return {
        one.name: numpy_helper.to_array(one.t) if one.type == AttributeProto.TENSOR else helper.get_attribute_value(one)
        for one in node.attribute
    }
