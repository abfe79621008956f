"""The inputs of a version, as the server reports them, and a cache of them."""

import json
import threading
from collections import OrderedDict
from dataclasses import dataclass

from onnxpress.protos.inference_pb2 import ModelConfig, ModelMetadataResponse

ANY = -1  # a dimension of any size
SIGNATURES_MAX = 256
# Parameters of ModelConfig: the ordered columns of a matrix input, as a JSON list, and the version that they are of.
FEATURES, VERSION = "features", "version"


@dataclass(frozen=True)
class Input:
    """One input: datatype as the protocol names it; shape with -1 for any size."""

    name: str
    datatype: str
    shape: tuple[int, ...]

    @property
    def column(self) -> bool:
        """Whether it is one value per row: [-1] or [-1, 1]."""
        return self.shape in ((ANY,), (ANY, 1))


@dataclass(frozen=True)
class Signature:
    """The inputs of a version; features: the ordered columns of its matrix, empty where the server names none."""

    inputs: tuple[Input, ...]
    features: tuple[str, ...] = ()


def wants_features(metadata: ModelMetadataResponse) -> bool:
    """Whether the model takes one matrix, whose columns ModelMetadata does not name."""
    return len(metadata.inputs) == 1 and len(metadata.inputs[0].shape) == 2


def read_inputs(metadata: ModelMetadataResponse) -> tuple[Input, ...]:
    """The inputs of a ModelMetadata response."""
    return tuple(Input(one.name, one.datatype, tuple(one.shape)) for one in metadata.inputs)


def read_features(config: ModelConfig) -> tuple[str, tuple[str, ...]]:
    """The version of a ModelConfig and the columns of its matrix; empty where the server does not send them."""
    told = config.parameters[FEATURES].string_value if FEATURES in config.parameters else ""
    version = config.parameters[VERSION].string_value if VERSION in config.parameters else ""
    return version, tuple(json.loads(told)) if told else ()


def matrix_signature(inputs: tuple[Input, ...], features: tuple[str, ...]) -> Signature:
    """The signature of one matrix. The names give its width, since ModelMetadata may be of another version."""
    (matrix,) = inputs
    return Signature((Input(matrix.name, matrix.datatype, (ANY, len(features))),), features)


class Signatures:
    """A cache of signatures by model and version ("" for the live one), which drops the least recently used.

    Owns its table, under its lock, since threads may share a client.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, str], tuple[str, Signature]] = OrderedDict()

    def get(self, model: str, version: str) -> tuple[str, Signature] | None:
        """(the version of the signature, or "" if unknown, and the signature); None: not cached."""
        with self._lock:
            found = self._known.get((model, version))
            if found is not None:
                self._known.move_to_end((model, version))
            return found

    def put(self, model: str, version: str, of: str, signature: Signature) -> None:
        """Stores a signature; `of`: its version, or "" if unknown."""
        with self._lock:
            self._known[(model, version)] = (of, signature)
            self._known.move_to_end((model, version))
            if len(self._known) > SIGNATURES_MAX:
                self._known.popitem(last=False)

    def forget(self, model: str) -> None:
        """Drops the signature of the live version, since that changes; the next call fetches it."""
        with self._lock:
            self._known.pop((model, ""), None)
