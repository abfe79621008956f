"""A loaded version: its session, its queue and what it holds."""

import struct
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpress.server.serving.batching import Part, Queue
from onnxpress.server.serving.contract import Contract
from onnxpress.server.serving.cost import CostModel
from onnxpress.server.serving.request import Bunch, Flat, Request
from onnxpress.server.serving.runtime import RunError, Session

_LENGTH = struct.Struct("<I")


class Lane:
    """The queue and run slots of one loaded version.

    `queue`, `cost` and the counts belong to the Scheduler and change under its lock only; the rest never changes.
    """

    def __init__(
        self, model: str, version: int, session: Session, digest: str, contract: Contract, cost: CostModel
    ) -> None:
        self.model = model
        self.version = str(version)
        self.session = session
        self.signature = session.signature
        self.digest = digest
        self.contract = contract
        self.cost = cost
        self.queue = Queue()
        self.running = 0  # batches
        self.asked = 0  # monotonic ns of the newest request
        self.queued_since = 0  # monotonic ns when the queue was last seen empty
        self.held = 0  # leases: requests queued, running or being answered

    def __repr__(self) -> str:
        return f"Lane({self.model}/{self.version}, queued={self.queue.rows}, running={self.running}, held={self.held})"

    def assemble(self, requests: Sequence[Request], part: Part | None) -> dict[str, NDArray[Any]]:
        """The inputs of one run: the rows of every request, one after the other, then those of `part`."""
        batchable = self.signature.batchable
        feeds: dict[str, NDArray[Any]] = {}
        for index, spec in enumerate(self.signature.inputs):
            flats = [request.tensors[index] for request in requests]
            if part is not None:
                flats.append(part.request.tensors[index][part.start * spec.stride : part.stop * spec.stride])
            shape = (-1, *spec.shape[1:]) if batchable else (requests[0].shapes or [])[index]
            if spec.datatype == "BYTES":
                elements = list(chain.from_iterable(flats))
                strings = np.empty(len(elements), object)
                strings[:] = elements  # several times faster than np.array(elements, object)
                feeds[spec.name] = strings.reshape(shape)
            else:
                joined = flats[0] if len(flats) == 1 else b"".join(flats)
                feeds[spec.name] = np.frombuffer(joined, spec.dtype).reshape(shape)
        return feeds

    def assemble_bunch(self, bunch: Bunch) -> dict[str, NDArray[Any]]:
        spec = self.signature.inputs[0]
        return {spec.name: np.frombuffer(b"".join(bunch.tensors), spec.dtype).reshape((-1, *spec.shape[1:]))}

    def run(self, feeds: dict[str, NDArray[Any]], rows: int) -> tuple[list[Flat], list[Sequence[int]]]:
        """Every output flat, and its shape. Raises RunError; too few rows back is an error, never an empty answer."""
        arrays = self.session.run(feeds)
        if self.signature.batchable:
            for spec, array in zip(self.signature.outputs, arrays, strict=True):
                if array.shape != (rows, *spec.shape[1:]):
                    raise RunError(f"output {spec.name!r} has shape {list(array.shape)} for {rows} rows")
        return [_flat(array) for array in arrays], [array.shape for array in arrays]


def _flat(array: NDArray[Any]) -> Flat:
    """Bytes of numbers; for strings a list of elements as the wire wants them: uint32 length and bytes."""
    if array.dtype == object:
        encoded = [str(element).encode() for element in array.ravel()]
        return [_LENGTH.pack(len(element)) + element for element in encoded]
    return array.tobytes()
