"""ModelInfer from the tests' side: requests of arrays, answers as arrays, over plain grpc."""

import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from onnxpress.protos.admin_pb2_grpc import AdminStub
from onnxpress.protos.inference_pb2 import ModelInferRequest, ModelInferResponse
from onnxpress.protos.inference_pb2_grpc import GRPCInferenceServiceStub
from tests.answers import Arrays, encode_strings

DATATYPES = {"f4": "FP32", "f8": "FP64", "i8": "INT64", "b1": "BOOL", "O": "BYTES", "O8": "BYTES"}
NUMPY = {"FP32": "<f4", "FP64": "<f8", "INT64": "<i8", "BOOL": "?"}
INFER = "/inference.GRPCInferenceService/ModelInfer"
# Nothing of ours takes this long; a call that does is a failure, not a hang of the suite.
DEADLINE_S = 60.0
OPTIONS = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))


def encode(array: NDArray[Any]) -> bytes:
    """The raw contents of a tensor."""
    if array.dtype == object:
        return encode_strings(array)
    return np.ascontiguousarray(array).tobytes()


def request(
    feeds: Arrays, model: str = "numbers", version: str = "", id_: str = "", outputs: Sequence[str] = ()
) -> ModelInferRequest:
    """A request with raw contents."""
    message = ModelInferRequest(model_name=model, model_version=version, id=id_)
    for name, array in feeds.items():
        datatype = "BYTES" if array.dtype == object else DATATYPES[array.dtype.str[1:]]
        message.inputs.add(name=name, datatype=datatype, shape=array.shape)
        message.raw_input_contents.append(encode(array))
    for name in outputs:
        message.outputs.add(name=name)
    return message


def decode(response: ModelInferResponse) -> dict[str, NDArray[Any]]:
    """The outputs; strings as objects."""
    arrays: dict[str, NDArray[Any]] = {}
    for tensor, raw in zip(response.outputs, response.raw_output_contents, strict=True):
        if tensor.datatype == "BYTES":
            flat = np.array(split(raw), object)
        else:
            flat = np.frombuffer(raw, NUMPY[tensor.datatype])
        arrays[tensor.name] = flat.reshape(tuple(tensor.shape))
    return arrays


def split(raw: bytes) -> list[str]:
    """The elements of a BYTES tensor."""
    elements, at = [], 0
    while at < len(raw):
        (size,) = struct.unpack_from("<I", raw, at)
        elements.append(raw[at + 4 : at + 4 + size].decode())
        at += 4 + size
    return elements


def same(got: Arrays, expected: Arrays) -> bool:
    """Bit for bit: the same names, types, shapes and bytes."""
    return set(got) == set(expected) and all(
        got[name].shape == expected[name].shape
        and (got[name].dtype == object) == (expected[name].dtype == object)
        and encode(got[name]) == encode(expected[name])
        for name in expected
    )


@contextmanager
def connected(address: str) -> Iterator[GRPCInferenceServiceStub]:
    """A stub on a connection of its own (grpc shares connections between channels unless told not to)."""
    with grpc.insecure_channel(address, (*OPTIONS, ("grpc.use_local_subchannel_pool", 1))) as channel:
        yield GRPCInferenceServiceStub(channel)


@contextmanager
def administered(address: str) -> Iterator[AdminStub]:
    with grpc.insecure_channel(address) as channel:
        yield AdminStub(channel)
