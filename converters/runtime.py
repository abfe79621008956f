"""ONNX Runtime as the converters use it: answers by name, and a graph that does not load is a refused conversion."""

from onnxpress.converters.family import Tensors
from onnxpress.packages import runtime
from onnxpress.packages.errors import ConversionRefused, RefusedPackageError
from onnxpress.packages.runtime import VERSION, Port

__all__ = ["VERSION", "Port", "Session"]


class Session:
    """A compiled model in the session that will serve it, so that the gate proves what clients get."""

    def __init__(self, model: bytes) -> None:
        """Raises ConversionRefused with ONNX Runtime's reason."""
        try:
            self._session = runtime.Session(model)
        except RefusedPackageError as refusal:
            raise ConversionRefused(f"the compiled model: {refusal}") from refusal
        self.inputs = self._session.inputs
        self.outputs = self._session.outputs

    def run(self, feeds: Tensors, names: tuple[str, ...] = ()) -> Tensors:
        """The named outputs, or all of them; raises RunError."""
        return self._session.answers(feeds, names)
