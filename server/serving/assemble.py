"""Assembles the inputs of one run from many requests, runs it, and flattens its outputs for encoding."""

import struct
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpress.server.serving.batching import Part
from onnxpress.server.serving.request import Request, UniformBatch
from onnxpress.server.serving.runtime import RunError, Session
from onnxpress.server.serving.tensors import Flat, Signature

Feeds = dict[str, NDArray[Any]]
_LENGTH = struct.Struct("<I")


def assemble(signature: Signature, requests: Sequence[Request], part: Part | None) -> Feeds:
    """The inputs of one run by name: the rows of all requests in order, then those of `part`."""
    parsed = [request.parsed for request in requests]
    feeds: Feeds = {}
    for index, spec in enumerate(signature.inputs):
        flats = [one.tensors[index] for one in parsed]
        if part is not None:
            flats.append(part.request.parsed.tensors[index][part.start * spec.stride : part.stop * spec.stride])
        shape = (-1, *spec.shape[1:]) if signature.batchable else (parsed[0].shapes or [])[index]
        if spec.datatype == "BYTES":
            elements = list(chain.from_iterable(flats))
            strings = np.empty(len(elements), object)
            strings[:] = elements  # several times faster than np.array(elements, object)
            feeds[spec.name] = strings.reshape(shape)
        else:
            joined = flats[0] if len(flats) == 1 else b"".join(flats)
            feeds[spec.name] = np.frombuffer(joined, spec.dtype).reshape(shape)
    return feeds


def assemble_uniform(signature: Signature, uniform: UniformBatch) -> Feeds:
    """The input of one run of a uniform batch."""
    spec = signature.inputs[0]
    return {spec.name: np.frombuffer(b"".join(uniform.tensors), spec.dtype).reshape((-1, *spec.shape[1:]))}


def run(session: Session, signature: Signature, feeds: Feeds, rows: int) -> tuple[list[Flat], list[Sequence[int]]]:
    """All outputs, flat, and their shapes. Raises RunError, also when an output does not have `rows` rows."""
    arrays = session.run(feeds, rows)
    if signature.batchable:
        for spec, array in zip(signature.outputs, arrays, strict=True):
            if array.shape != (rows, *spec.shape[1:]):
                raise RunError(f"output {spec.name!r} has shape {list(array.shape)} for {rows} rows")
    return [_flat(array) for array in arrays], [array.shape for array in arrays]


def _flat(array: NDArray[Any]) -> Flat:
    """The bytes of numbers; of strings the list of elements as encoded for BYTES: uint32 length and UTF-8."""
    if array.dtype == object:
        encoded = [str(element).encode() for element in array.ravel()]
        return [_LENGTH.pack(len(element)) + element for element in encoded]
    return array.tobytes()
