"""The converters' ONNX Runtime session: outputs by name; a graph that does not load is a refused conversion."""

from onnxpress.converters.family import Tensors
from onnxpress.packages import runtime
from onnxpress.packages.errors import ConversionRefused, RefusedPackageError
from onnxpress.packages.runtime import VERSION, Port

__all__ = ["VERSION", "Port", "Session"]


class Session:
    """A compiled model in a session with the options of the server, so that the gate proves what clients receive."""

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
