"""The requests of the load generator: framed ModelInfer messages, each with its own rows and optionally its own id."""

import struct
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from onnxpress.protos.inference_pb2 import ModelInferRequest

FEATURES = 30
# Different bodies for each kind of request, sent in turn; enough that branch predictors do not learn them.
DIFFERENT = 1024
DIFFERENT_IDS = 65_536
# Bytes of the file for one kind, so requests of many rows have fewer different bodies.
FILE_BYTES_MAX = 64 << 20


@dataclass(frozen=True)
class Bodies:
    """Framed requests of one size, on disk. `first` is one of them; `all` holds every one, end to end."""

    rows: int
    size: int
    first: Path
    all: Path

    def one(self) -> bytes:
        """A request without its frame, for clients that add the frame."""
        return self.first.read_bytes()[5:]


def frame(message: bytes) -> bytes:
    """A gRPC frame: uncompressed flag, length in four big-endian bytes, message."""
    return b"\0" + struct.pack(">I", len(message)) + message


def rows_of(seed: int, count: int) -> np.ndarray:
    """Rows distributed like the numeric models' training rows: FP32 [count, FEATURES]."""
    return np.random.default_rng(seed).normal(size=(count, FEATURES)).astype(np.float32)


def matrix(model: str, rows: np.ndarray, id_: str = "") -> bytes:
    """A request for `rows`, FP32 [rows, features], in matrix layout."""
    message = ModelInferRequest(model_name=model, id=id_)
    message.inputs.add(name="input", datatype="FP32", shape=rows.shape)
    message.raw_input_contents.append(rows.tobytes())
    return message.SerializeToString()


def write(folder: Path, name: str, rows: int, messages: Sequence[bytes]) -> Bodies:
    """Raises ValueError unless all messages have one length."""
    if len({len(message) for message in messages}) != 1:
        raise ValueError(f"{name}: the bodies of one run must have one length")
    framed = [frame(message) for message in messages]
    folder.mkdir(parents=True, exist_ok=True)
    bodies = Bodies(rows, len(framed[0]), folder / f"{name}.body", folder / f"{name}.bodies")
    bodies.first.write_bytes(framed[0])
    bodies.all.write_bytes(b"".join(framed))
    return bodies


def numeric(folder: Path, model: str, rows: int, *, ids: bool = False) -> Bodies:
    """Requests of `rows` rows for a model in matrix layout."""
    count = max(1, min(DIFFERENT, FILE_BYTES_MAX // (rows * FEATURES * 4)))
    blocks = rows_of(rows, rows * count).reshape(count, rows, FEATURES)
    if ids:
        messages = [matrix(model, blocks[n % count], f"{n:016x}") for n in range(DIFFERENT_IDS)]
    else:
        messages = [matrix(model, block) for block in blocks]
    return write(folder, f"{model}-{rows}{'-ids' if ids else ''}", rows, messages)


def repeated(folder: Path, name: str, bodies: Bodies) -> Bodies:
    """The same body for every request, as most load generators send it; branch predictors learn it."""
    return write(folder, name, bodies.rows, [bodies.one()])


def of_one_length(messages: Sequence[bytes]) -> list[bytes]:
    """The messages of the most frequent length, since all bodies of a run have one length."""
    length = Counter(map(len, messages)).most_common(1)[0][0]
    return [message for message in messages if len(message) == length]
