"""Arrays to ModelInfer requests, and responses to arrays."""

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from onnxpress.client.errors import ClientError
from onnxpress.client.results import InferResult
from onnxpress.client.signature import Signature
from onnxpress.packages.datatypes import DATATYPES
from onnxpress.packages.names import is_version
from onnxpress.protos.inference_pb2 import ModelInferRequest, ModelInferResponse

_LENGTH = struct.Struct("<I")


def write_request(
    model: str, version: str, id_: str, signature: Signature, arrays: Sequence[NDArray[Any]], outputs: Sequence[str]
) -> ModelInferRequest:
    """A request; `arrays`: one for each input, in its datatype. Raw contents are row-major and little-endian."""
    message = ModelInferRequest(model_name=model, model_version=version, id=id_)
    for spec, array in zip(signature.inputs, arrays, strict=True):
        message.inputs.add(name=spec.name, datatype=spec.datatype, shape=array.shape)
        message.raw_input_contents.append(_raw(array, spec.datatype))
    for name in outputs:
        message.outputs.add(name=name)
    return message


def read_response(message: ModelInferResponse) -> InferResult:
    """The outputs of a response. Raises ClientError for contents that do not match their shape or datatype."""
    outputs = {}
    for place, tensor in enumerate(message.outputs):
        try:
            if message.raw_output_contents:
                flat = _flat(message.raw_output_contents[place], tensor.datatype)
            else:
                field = DATATYPES[tensor.datatype].contents_field or ""
                flat = _typed(getattr(tensor.contents, field), tensor.datatype)
            outputs[tensor.name] = flat.reshape(tuple(tensor.shape))
        except (AttributeError, IndexError, KeyError, ValueError, struct.error) as error:
            what = f"output {tensor.name!r} of {tensor.datatype} {list(tensor.shape)}"
            raise ClientError(f"the answer's {what} cannot be read: {error}") from error
    version = int(message.model_version) if is_version(message.model_version) else 0
    return InferResult(message.model_name, version, message.id, outputs)


def _raw(array: NDArray[Any], datatype: str) -> bytes:
    if datatype == "BYTES":
        encoded = [text.encode() for text in array.ravel()]
        return b"".join([_LENGTH.pack(len(text)) + text for text in encoded])
    return np.ascontiguousarray(array, DATATYPES[datatype].dtype).tobytes()


def _flat(raw: bytes, datatype: str) -> NDArray[Any]:
    if datatype != "BYTES":
        return np.frombuffer(raw, DATATYPES[datatype].dtype)
    elements, at = [], 0
    while at < len(raw):
        start = at + 4
        at = start + _LENGTH.unpack_from(raw, at)[0]
        if at > len(raw):
            raise ValueError("an element is longer than the rest of the contents")
        elements.append(raw[start:at])
    return _typed(elements, datatype)


def _typed(values: Any, datatype: str) -> NDArray[Any]:
    if datatype != "BYTES":
        return np.array(values, DATATYPES[datatype].dtype)
    texts = np.empty(len(values), object)
    texts[:] = [value.decode() for value in values]
    return texts
