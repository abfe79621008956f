"""ONNX Runtime, for the converters: the only module that imports it, with its telemetry off before the import."""

import os

# Wheels since 1.32 carry an uploader and keep a device id: it must be off before the library is loaded.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from onnxruntime.capi import onnxruntime_pybind11_state as native

from onnxpress.converters.family import (
    Tensors,
)
from onnxpress.packages.datatypes import BY_TENSOR_TYPE
from onnxpress.packages.errors import ConversionRefused

onnxruntime.disable_telemetry_events()

VERSION: str = onnxruntime.__version__
# ONNX Runtime's exceptions share no base; its Python layer adds the built-in ones.
FAILURES: tuple[type[Exception], ...] = (
    ValueError,
    TypeError,
    RuntimeError,
    *(kind for kind in vars(native).values() if isinstance(kind, type) and issubclass(kind, Exception)),
)


@dataclass(frozen=True)
class Port:
    """An input or output of a graph: its datatype (ONNX Runtime's own name where ours has none), -1 for any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class Session:
    """A compiled model, loaded with one thread, which makes every row's answer independent of its batch."""

    def __init__(self, model: bytes) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 4
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except FAILURES as failure:
            raise ConversionRefused(f"ONNX Runtime {VERSION} does not load the compiled model: {failure}") from failure
        self.inputs = tuple(_port(node) for node in self._session.get_inputs())
        self.outputs = tuple(_port(node) for node in self._session.get_outputs())

    def run(self, feeds: Tensors, names: tuple[str, ...] = ()) -> Tensors:
        """The named outputs, or all; raises one of FAILURES."""
        wanted = list(names) or [port.name for port in self.outputs]
        return dict(zip(wanted, map(_array, self._session.run(wanted, feeds)), strict=True))


def _array(value: Any) -> Any:
    # A ZipMap gives a list of dictionaries: as an object array it fails the check of types with a clear message.
    return value if isinstance(value, np.ndarray) else np.array(value, dtype=object)


def _port(node: Any) -> Port:
    shape = tuple(size if isinstance(size, int) else -1 for size in node.shape)
    datatype = BY_TENSOR_TYPE.get(node.type)
    return Port(node.name, datatype.name if datatype else node.type, shape)
