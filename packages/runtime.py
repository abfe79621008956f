"""ONNX Runtime, which no other file imports. Gate and server run models with the same session options."""

import os

# Wheels since 1.32 carry a telemetry uploader and keep a device id: it must be off before the library is loaded.
os.environ["ORT_DISABLE_TELEMETRY"] = "1"

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from onnxpress.packages.datatypes import BY_TENSOR_TYPE
from onnxpress.packages.errors import RefusedPackageError, RunError
from onnxpress.packages.golden import Golden

onnxruntime.disable_telemetry_events()

VERSION: str = onnxruntime.__version__
FATAL_ONLY = 4
ANY = -1


@dataclass(frozen=True)
class Port:
    """An input or output of a graph; datatype: the protocol's, else ONNX Runtime's name; shape: -1 for any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]


def session_options(*, arena: bool = True) -> Any:
    """The options of every session, with which a row's answer depends neither on its batch nor on the cores.

    `arena`: whether the session keeps the memory of its runs.
    """
    options = onnxruntime.SessionOptions()
    # One thread and no spinning: sums do not depend on the batch, and callers run batches in parallel.
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    # Batches differ in size, so a memory plan for one size would rarely be used again.
    options.enable_mem_pattern = False
    options.enable_cpu_mem_arena = arena
    # Errors are raised with the same text; ONNX Runtime would also write them to standard error.
    options.log_severity_level = FATAL_ONLY
    return options


class Session:
    """One compiled model in memory. `run` may be called from several threads at once; it releases the GIL."""

    def __init__(self, onnx: bytes, *, arena: bool = True) -> None:
        """Raises RefusedPackageError with ONNX Runtime's reason."""
        options = session_options(arena=arena)
        try:
            self._session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise RefusedPackageError(f"ONNX Runtime {VERSION} cannot load it: {error}") from error
        self.inputs = tuple(_port(node) for node in self._session.get_inputs())
        self.outputs = tuple(_port(node) for node in self._session.get_outputs())
        # Calls below the Python wrapper, which looks up name and type of every input in each run: 2 to 7 µs.
        self._run = self._session._sess.run  # noqa: SLF001
        self._names = [port.name for port in self.outputs]

    def run(self, feeds: Mapping[str, NDArray[Any]]) -> Sequence[NDArray[Any]]:
        """Every output, in the graph's order. Raises RunError."""
        try:
            return self._run(self._names, feeds, None)  # type: ignore[no-any-return]
        except Exception as error:
            raise RunError(str(error)) from error

    def answers(self, feeds: Mapping[str, NDArray[Any]], names: Sequence[str] = ()) -> dict[str, NDArray[Any]]:
        """The named outputs, or all, by name. Raises RunError."""
        wanted = list(names) or self._names
        try:
            return dict(zip(wanted, map(_array, self._run(wanted, feeds, None)), strict=True))
        except Exception as error:
            raise RunError(str(error)) from error


def replay(session: Session, golden: Golden, classes: Sequence[str]) -> None:
    """Runs the golden rows. Raises RefusedPackageError with the first row that breaks the golden rule."""
    try:
        answers = session.answers(golden.feeds())
    except RunError as error:
        raise RefusedPackageError(f"the golden rows do not run on ONNX Runtime {VERSION}: {error}") from error
    found = golden.first_difference(answers, classes)
    if found is not None:
        raise RefusedPackageError(
            f"golden row {found.row} differs in {found.output!r} on ONNX Runtime {VERSION}: "
            f"the original said {found.original}, it says {found.answer}"
        )


def _array(value: Any) -> NDArray[Any]:
    # A ZipMap returns a list of dictionaries; as an object array it fails the check of types with a clear message.
    return value if isinstance(value, np.ndarray) else np.array(value, dtype=object)


def _port(node: Any) -> Port:
    shape = tuple(size if isinstance(size, int) and size >= 0 else ANY for size in node.shape)
    datatype = BY_TENSOR_TYPE.get(node.type)
    return Port(node.name, datatype.name if datatype else node.type, shape)
