"""Tensors and constants of an ONNX graph, read without the onnx package."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpress.packages.errors import RefusedPackageError
from onnxpress.protos.onnx_graph_pb2 import AttributeProto, GraphProto, ModelProto, TensorProto

GRAPH_DEPTH_MAX = 8
# TensorProto.DataType (ONNX IR); half floats and narrow integers are in int32_data where not in raw_data.
STRING = 8
NUMBERS = {
    1: "<f4", 2: "u1", 3: "i1", 4: "<u2", 5: "<i2", 6: "<i4", 7: "<i8", 9: "?", 10: "<f2", 11: "<f8", 12: "<u4",
    13: "<u8",
}  # fmt: skip
FIELDS = {1: "float_data", 7: "int64_data", 11: "double_data", 12: "uint64_data", 13: "uint64_data"}
FLOAT16 = 10
# Values kept of each tensor and attribute: trees have millions of thresholds, of which a sample is enough.
KEPT_OF_EACH = 256
KEPT_MAX = 8192


@dataclass(frozen=True)
class Constants:
    """Values that a graph may compare its inputs with, each once. numbers: finite, ascending."""

    numbers: tuple[float, ...] = ()
    strings: tuple[str, ...] = ()


def tensor_numbers(tensor: TensorProto) -> NDArray[Any] | None:
    """The elements, flat; None for strings, types that numpy does not have and broken tensors."""
    kind = NUMBERS.get(tensor.data_type)
    if kind is None:
        return None
    if tensor.raw_data:
        usable = len(tensor.raw_data) % np.dtype(kind).itemsize == 0
        return np.frombuffer(tensor.raw_data, kind) if usable else None
    stored = getattr(tensor, FIELDS.get(tensor.data_type, "int32_data"))
    if tensor.data_type == FLOAT16:
        return np.array(stored, np.uint16).view(np.float16)
    return np.array(stored).astype(kind)


def constants(model: ModelProto) -> Constants:
    """The values of initializers and attributes of every graph, evenly sampled where there are many."""
    numbers: set[float] = set()
    strings: set[bytes] = set()
    for graph in graphs(model.graph):
        for tensor in graph.initializer:
            _add_tensor(tensor, numbers, strings)
        for node in graph.node:
            for attribute in node.attribute:
                _add_attribute(attribute, numbers, strings)
    texts = (text.decode(errors="ignore") for text in sorted(strings)[:KEPT_MAX])
    return Constants(tuple(_sampled(np.array(sorted(numbers)), KEPT_MAX).tolist()), tuple(texts))


def graphs(graph: GraphProto, depth: int = 0) -> Iterator[GraphProto]:
    """A graph and the graphs inside its nodes. Raises RefusedPackageError where they are nested too deeply."""
    if depth > GRAPH_DEPTH_MAX:
        raise RefusedPackageError(f"graphs nested deeper than {GRAPH_DEPTH_MAX}")
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            for inner in (*([attribute.g] if attribute.HasField("g") else []), *attribute.graphs):
                yield from graphs(inner, depth + 1)


def scalars(model: ModelProto) -> frozenset[str]:
    """Inputs and outputs declared as scalars, which ONNX Runtime reports like those of unknown rank."""
    return frozenset(
        value.name
        for value in (*model.graph.input, *model.graph.output)
        if value.type.tensor_type.HasField("shape") and not value.type.tensor_type.shape.dim
    )


def _add_attribute(attribute: AttributeProto, numbers: set[float], strings: set[bytes]) -> None:
    if attribute.HasField("t"):
        _add_tensor(attribute.t, numbers, strings)
    for tensor in attribute.tensors:
        _add_tensor(tensor, numbers, strings)
    _add_numbers(np.array([attribute.f, attribute.i], np.float64), numbers)
    for listed in (attribute.floats, attribute.ints):
        _add_numbers(np.array(listed, np.float64), numbers)
    strings.update(attribute.strings[:KEPT_OF_EACH], [attribute.s] if attribute.s else [])


def _add_tensor(tensor: TensorProto, numbers: set[float], strings: set[bytes]) -> None:
    strings.update(tensor.string_data[:KEPT_OF_EACH])
    found = tensor_numbers(tensor)
    if found is not None:
        _add_numbers(_sampled(found, KEPT_OF_EACH).astype(np.float64), numbers)


def _add_numbers(found: NDArray[np.float64], numbers: set[float]) -> None:
    kept = _sampled(found, KEPT_OF_EACH)
    numbers.update(kept[np.isfinite(kept)].tolist())


def _sampled(values: NDArray[Any], most: int) -> NDArray[Any]:
    return values if len(values) <= most else values[np.linspace(0, len(values) - 1, most).astype(int)]
