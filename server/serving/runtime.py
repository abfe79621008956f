"""The session of a lane: its signature, and the engine that runs a batch."""

import sys
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpress.packages.datatypes import DATATYPES
from onnxpress.packages.errors import RefusedPackageError, RunError
from onnxpress.packages.forest.engine import ForestEngine
from onnxpress.packages.runtime import VERSION, Port
from onnxpress.packages.runtime import Session as RuntimeSession
from onnxpress.server.serving.tensors import ANY, Signature, TensorSpec

__all__ = ["VERSION", "RunError", "Session", "zeros"]


NEVER = sys.maxsize


class Session(RuntimeSession):
    """A compiled model in memory, with its signature.

    Batches of at least `forest_rows` rows are run by the compiled forest, others by ONNX Runtime. Both give the same
    bits, so nobody can see which one did. without_forest: why the forest runs none; empty if it runs some.
    """

    def __init__(self, onnx: bytes, scalars: AbstractSet[str] = frozenset()) -> None:
        """`scalars`: names of the inputs and outputs that are scalars; ONNX Runtime reports unknown ranks the same way.

        Raises RefusedPackageError with ONNX Runtime's reason, or if an input or output is not a tensor.
        """
        super().__init__(onnx)
        inputs, outputs = (tuple(_spec(port, scalars) for port in ports) for ports in (self.inputs, self.outputs))
        self.signature = Signature(inputs, outputs)
        self.forest_rows, self.without_forest = NEVER, "no forest was asked for"
        self._forest: ForestEngine | None = None

    def use_forest(self, forest: ForestEngine | None, rows: int, reason: str = "") -> None:
        """Lets `forest` run batches of at least `rows` rows; called before the lane is published."""
        self._forest, self.forest_rows, self.without_forest = forest, rows, reason

    def run(self, feeds: Mapping[str, NDArray[Any]], rows: int = 0) -> Sequence[NDArray[Any]]:
        """Every output, in the graph's order, of a batch of `rows` rows; 0: by ONNX Runtime. Raises RunError."""
        if rows >= self.forest_rows:
            return self._forest.run(feeds)  # type: ignore[union-attr] # NEVER without one
        return super().run(feeds)

    @property
    def engine(self) -> str:
        """What runs the batches, for people."""
        if self.without_forest:
            return f"ONNX Runtime ({self.without_forest})"
        return f"compiled forest from batch size {self.forest_rows} on"


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
