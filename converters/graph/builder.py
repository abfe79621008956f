"""A small builder of ONNX graphs: nodes in the order in which they are added, equal constants once."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from onnxpress.packages.datatypes import DATATYPES

# Old enough for earlier ONNX Runtimes to load the model, new enough for all operators that are emitted.
OPSETS = {"": 18, "ai.onnx.ml": 3}
IR_VERSION = 9
ML = "ai.onnx.ml"
FLOAT: int = TensorProto.FLOAT
DOUBLE: int = TensorProto.DOUBLE
INT64: int = TensorProto.INT64


class Graph:
    """Nodes, constants, inputs and outputs of one model, or of a part of one.

    `prefix` keeps the names of a part apart from those of the graph that it is put into: copy `nodes` and
    `initializers` over.
    """

    def __init__(self, prefix: str = "") -> None:
        self.prefix = prefix
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: list[onnx.TensorProto] = []
        self.inputs: list[onnx.ValueInfoProto] = []
        self.outputs: list[onnx.ValueInfoProto] = []
        self._constants: dict[tuple[str, tuple[int, ...], bytes], str] = {}
        self._names = 0

    def name(self, stem: str) -> str:
        """A tensor name that this graph has not used yet."""
        self._names += 1
        return f"{self.prefix}{stem}_{self._names}"

    def add(self, operator: str, *inputs: str, domain: str = "", **attributes: Any) -> str:
        """Append a node with one output and return the output's name."""
        return self.add_many(operator, *inputs, outputs=1, domain=domain, **attributes)[0]

    def add_many(
        self, operator: str, *inputs: str, outputs: int, domain: str = "", **attributes: Any
    ) -> tuple[str, ...]:
        """Append a node with several outputs and return their names."""
        names = tuple(self.name(operator.lower()) for _ in range(outputs))
        node = helper.make_node(operator, list(inputs), list(names), name=names[0], domain=domain)
        node.attribute.extend(helper.make_attribute(key, value) for key, value in sorted(attributes.items()))
        self.nodes.append(node)
        return names

    def constant(self, value: NDArray[Any]) -> str:
        """The name of an initializer that holds `value`; equal arrays share one."""
        array = np.asarray(value)
        content = repr(array.tolist()).encode() if array.dtype.kind in "OUS" else array.tobytes()
        key = (array.dtype.str, array.shape, content)
        if key not in self._constants:
            self._constants[key] = self.name("constant")
            if array.dtype.kind in "OUS":
                texts = [str(text).encode() for text in array.ravel()]
                tensor = helper.make_tensor(self._constants[key], TensorProto.STRING, array.shape, texts)
            else:
                tensor = numpy_helper.from_array(array, self._constants[key])
            self.initializers.append(tensor)
        return self._constants[key]

    @staticmethod
    def tensor(value: NDArray[Any]) -> onnx.TensorProto:
        """An attribute that is a tensor, as double thresholds are."""
        return numpy_helper.from_array(value)

    def float32(self, *values: float) -> str:
        """A float32 constant: a scalar for one value, a vector for several."""
        return self.constant(np.array(values if len(values) != 1 else values[0], dtype=np.float32))

    def int64(self, *values: int) -> str:
        """An int64 vector, as axes and shapes are given."""
        return self.constant(np.array(values, dtype=np.int64))

    def cast(self, tensor: str, element_type: int) -> str:
        return self.add("Cast", tensor, to=element_type)

    def concat(self, tensors: Iterable[str]) -> str:
        """The tensors concatenated, [rows, all their columns]; a single one is returned unchanged."""
        parts = list(tensors)
        return parts[0] if len(parts) == 1 else self.add("Concat", *parts, axis=1)

    def columns(self, tensor: str, indices: Iterable[int]) -> str:
        """The columns of a [rows, columns] tensor at `indices`, in that order."""
        return self.add("Gather", tensor, self.int64(*indices), axis=1)

    def input(self, name: str, datatype: str, width: int) -> str:
        """Declare an input [rows, width] of one of the protocol's datatypes."""
        self.inputs.append(helper.make_tensor_value_info(name, DATATYPES[datatype].element_type, ["rows", width]))
        return name

    def output(self, name: str, tensor: str, datatype: str, width: int | None = None) -> None:
        """Declare `tensor` as the output `name`, [rows, width], or [rows] without a width."""
        shape: list[str | int] = ["rows"] if width is None else ["rows", width]
        self.nodes.append(helper.make_node("Identity", [tensor], [name], name=self.name("output")))
        self.outputs.append(helper.make_tensor_value_info(name, DATATYPES[datatype].element_type, shape))

    def model(self, name: str = "onnxpress") -> onnx.ModelProto:
        """The finished model, checked against the operators' schemas."""
        body = helper.make_graph(self.nodes, name, self.inputs, self.outputs, self.initializers)
        used = {node.domain for node in self.nodes}
        opsets = [helper.make_opsetid(domain, OPSETS[domain]) for domain in sorted(used | {""})]
        model = helper.make_model(body, opset_imports=opsets, producer_name="onnxpress", ir_version=IR_VERSION)
        onnx.checker.check_model(model)
        return model
