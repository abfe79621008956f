"""The ONNX Runtime session of a lane, with the signature that requests are checked against."""

from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpress.packages.datatypes import DATATYPES
from onnxpress.packages.errors import RefusedPackageError, RunError
from onnxpress.packages.runtime import VERSION, Port
from onnxpress.packages.runtime import Session as RuntimeSession
from onnxpress.server.serving.tensors import ANY, Signature, TensorSpec

__all__ = ["VERSION", "RunError", "Session", "zeros"]


class Session(RuntimeSession):
    """A compiled model in memory, with its signature."""

    def __init__(self, onnx: bytes, scalars: AbstractSet[str] = frozenset()) -> None:
        """`scalars`: names of the inputs and outputs that are scalars; ONNX Runtime reports unknown ranks the same way.

        Raises RefusedPackageError with ONNX Runtime's reason, or if an input or output is not a tensor.
        """
        super().__init__(onnx)
        inputs, outputs = (tuple(_spec(port, scalars) for port in ports) for ports in (self.inputs, self.outputs))
        self.signature = Signature(inputs, outputs)


def _spec(port: Port, scalars: AbstractSet[str]) -> TensorSpec:
    if port.datatype not in DATATYPES:
        raise RefusedPackageError(
            f"{port.name!r} is {port.datatype}: only tensors can be served (convert without ZipMap)"
        )
    return TensorSpec(port.name, port.datatype, port.shape if port.shape or port.name in scalars else (ANY,))


def zeros(spec: TensorSpec, rows: int) -> NDArray[Any]:
    """An input of `rows` rows of zeros or empty strings, for warming up."""
    shape = [rows if size == ANY and not place else max(size, 1) for place, size in enumerate(spec.shape)]
    return np.full(shape, "", object) if spec.datatype == "BYTES" else np.zeros(shape, spec.dtype)
