"""ONNX Runtime: the only file that imports it."""

import os

# Wheels of 1.32 carry a telemetry uploader; it reads this before anything else happens.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from onnxpress.packages.datatypes import BY_TENSOR_TYPE
from onnxpress.packages.errors import RefusedPackageError
from onnxpress.server.serving.tensors import ANY, Signature, TensorSpec

onnxruntime.disable_telemetry_events()

VERSION: str = onnxruntime.__version__
ERRORS_ONLY = 3


class RunError(Exception):
    """ONNX Runtime could not answer; the message is its own."""


class Session:
    """One compiled model in memory. `run` may be called from several threads at once; it releases the GIL."""

    def __init__(self, onnx: bytes, scalars: AbstractSet[str] = frozenset()) -> None:
        """`scalars`: inputs and outputs that the graph declares so; ONNX Runtime says the same of those of any rank.

        Raises RefusedPackageError with ONNX Runtime's reason, or for outputs that are no tensors.
        """
        options = onnxruntime.SessionOptions()
        # One thread and no spinning: answers do not depend on the batch (P1), and parallelism is the pumps' business.
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        # Batches differ in size, so that a plan of where their tensors lie would never be used twice.
        options.enable_mem_pattern = False
        options.log_severity_level = ERRORS_ONLY
        try:
            self._session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise RefusedPackageError(f"ONNX Runtime {VERSION} cannot load it: {error}") from error
        self.signature = Signature(
            tuple(_spec(tensor, scalars) for tensor in self._session.get_inputs()),
            tuple(_spec(tensor, scalars) for tensor in self._session.get_outputs()),
        )
        # Beneath its Python wrapper, which asks for name and type of every input before each run: 2 to 7 µs.
        self._run = self._session._sess.run  # noqa: SLF001
        self._outputs = [spec.name for spec in self.signature.outputs]

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """Every output, in the signature's order. Raises RunError."""
        try:
            return self._run(self._outputs, feeds, None)  # type: ignore[no-any-return]
        except Exception as error:
            raise RunError(str(error)) from error


def _spec(tensor: Any, scalars: AbstractSet[str]) -> TensorSpec:
    datatype = BY_TENSOR_TYPE.get(tensor.type)
    if datatype is None:
        raise RefusedPackageError(
            f"{tensor.name!r} is {tensor.type}: only tensors can be served (convert without ZipMap)"
        )
    shape = tuple(size if isinstance(size, int) and size >= 0 else ANY for size in tensor.shape)
    return TensorSpec(tensor.name, datatype.name, shape if shape or tensor.name in scalars else (ANY,))


def zeros(spec: TensorSpec, rows: int) -> NDArray[Any]:
    """An input of `rows` rows to warm up with: zeros, empty strings."""
    shape = [rows if size == ANY and not place else max(size, 1) for place, size in enumerate(spec.shape)]
    return np.full(shape, "", object) if spec.datatype == "BYTES" else np.zeros(shape, spec.dtype)
