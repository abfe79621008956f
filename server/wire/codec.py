"""ModelInferRequest bytes in, ModelInferResponse bytes out: every check of the protocol, by the protobuf library."""

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from protos.inference_pb2 import InferTensorContents, ModelInferRequest, ModelInferResponse
from server.errors import InvalidRequestError
from server.serving.lane import Lane
from server.serving.request import Flat, Request
from server.serving.routes import Routes
from server.serving.tensors import ANY, TensorSpec

_LENGTH = struct.Struct("<I")
# The typed field of InferTensorContents that carries each datatype (Open Inference Protocol).
CONTENTS_FIELDS = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
PREFIXES_MAX = 4096
RAW_OUTPUT_TAG = b"\x32"  # raw_output_contents: field 6, length-delimited
ID_TAG = b"\x1a"  # id: field 3, length-delimited
NAME_SHOWN_MAX = 64


class ProtobufCodec:
    """The full path. Owns the answers' prefixes; threads may race to write one, with equal bytes."""

    def __init__(self) -> None:
        self._prefixes: dict[Any, bytes] = {}

    def decode(self, payload: bytes, routes: Routes) -> Request:
        """Raises InvalidRequestError, UnknownModelError, UnknownVersionError or NotReadyError."""
        return self.bind(parse(payload), len(payload), routes)

    def bind(self, message: ModelInferRequest, size: int, routes: Routes) -> Request:
        """The request of a parsed message, checked against the signature of the version that will answer it."""
        route = routes.route(message.model_name)
        version = message.model_version
        if version and not (version.isascii() and version.isdigit() and version[0] != "0"):
            raise InvalidRequestError(f"model_version must be a positive integer or empty, got {_shown(version)}")
        lane = route.lane(version)
        specs = lane.signature.inputs
        order = _match_inputs(message, specs)
        raws = message.raw_input_contents
        if raws:
            _check_raw(message, raws)
        rows = _check_shapes([message.inputs[place] for place in order], lane)
        tensors: list[Flat] = []
        for place, spec in zip(order, specs, strict=True):
            tensor = message.inputs[place]
            count = _elements(tensor.shape)
            if raws:
                tensors.append(_raw(raws[place], spec, count, tensor.shape))
            else:
                tensors.append(_typed(tensor.contents, spec, count, tensor.shape))
        lane.contract.check(tensors)
        batchable = lane.signature.batchable
        return Request(
            lane,
            None if version else route,
            rows if batchable else 1,
            tensors,
            size,
            None if batchable else [tuple(message.inputs[place].shape) for place in order],
            _match_outputs(message, lane),
            message.id,
        )

    def encode(self, request: Request, outputs: Sequence[Flat], shapes: Sequence[Sequence[int]] | None) -> bytes:
        """The ModelInferResponse of whole `outputs`, one per output of the signature."""
        lane, chosen = request.lane, request.outputs
        key = (lane, request.rows, chosen) if shapes is None else None
        prefix = self._prefixes.get(key)
        if prefix is None:
            prefix = _prefix(lane, request.rows, chosen, shapes)
            if key is not None:
                if len(self._prefixes) >= PREFIXES_MAX:
                    self._prefixes.clear()
                self._prefixes[key] = prefix
        pieces = [prefix]
        for flat in outputs if chosen is None else [outputs[index] for index in chosen]:
            data = b"".join(flat) if isinstance(flat, list) else flat
            pieces += (RAW_OUTPUT_TAG, varint(len(data)), data)
        if request.id:
            encoded = request.id.encode()
            pieces += (ID_TAG, varint(len(encoded)), encoded)
        return b"".join(pieces)

    def forget(self, lane: Lane) -> None:
        """Drops what is remembered of an unloaded lane."""
        for key in [key for key in list(self._prefixes) if key[0] is lane]:
            self._prefixes.pop(key, None)


def parse(payload: bytes) -> ModelInferRequest:
    """Raises InvalidRequestError."""
    try:
        return ModelInferRequest.FromString(payload)
    except DecodeError as error:
        raise InvalidRequestError(f"the request of {len(payload)} bytes is not a ModelInferRequest") from error


def varint(value: int) -> bytes:
    """Base-128 encoding of a length (protobuf wire format)."""
    encoded = bytearray()
    while value > 0x7F:
        encoded.append(value & 0x7F | 0x80)
        value >>= 7
    encoded.append(value)
    return bytes(encoded)


def _shown(text: str) -> str:
    return repr(text if len(text) <= NAME_SHOWN_MAX else text[:NAME_SHOWN_MAX] + "…")


def _names(names: Sequence[str]) -> str:
    return ", ".join(map(_shown, names)) or "none"


def _match_inputs(message: ModelInferRequest, specs: Sequence[TensorSpec]) -> list[int]:
    """For each input of the signature its place in the message."""
    got = [tensor.name for tensor in message.inputs]
    places = {name: place for place, name in enumerate(got)}
    expected = [spec.name for spec in specs]
    if len(places) != len(got):
        twice = sorted({name for name in got if got.count(name) > 1})
        raise InvalidRequestError(f"duplicate input {_names(twice)}: each input comes once")
    unexpected = [name for name in got if name not in set(expected)]
    missing = [name for name in expected if name not in places]
    if unexpected or missing:
        what = [f"unexpected input {_names(unexpected)}"] if unexpected else []
        what += [f"missing input {_names(missing)}"] if missing else []
        raise InvalidRequestError(f"{' and '.join(what)}: got {_names(got)}, expected {_names(expected)}")
    for place, spec in ((places[spec.name], spec) for spec in specs):
        datatype = message.inputs[place].datatype
        if datatype != spec.datatype:
            raise InvalidRequestError(f"input {spec.name!r} has datatype {_shown(datatype)}, expected {spec.datatype}")
    return [places[name] for name in expected]


def _match_outputs(message: ModelInferRequest, lane: Lane) -> tuple[int, ...] | None:
    if not message.outputs:
        return None
    known = [spec.name for spec in lane.signature.outputs]
    wanted = [output.name for output in message.outputs]
    unexpected = [name for name in wanted if name not in known]
    if unexpected:
        raise InvalidRequestError(f"unexpected output {_names(unexpected)}: expected some of {_names(known)}")
    if len(set(wanted)) != len(wanted):
        raise InvalidRequestError(f"duplicate output in {_names(wanted)}: each output comes once")
    return tuple(known.index(name) for name in wanted)


def _check_raw(message: ModelInferRequest, raws: Sequence[bytes]) -> None:
    typed = [tensor.name for tensor in message.inputs if tensor.HasField("contents")]
    if typed:
        raise InvalidRequestError(
            f"raw_input_contents and contents mixed: contents must be unset on input {_names(typed)}"
        )
    if len(raws) != len(message.inputs):
        raise InvalidRequestError(f"{len(raws)} raw_input_contents for {len(message.inputs)} inputs: expected one each")


def _check_shapes(tensors: Sequence[ModelInferRequest.InferInputTensor], lane: Lane) -> int:
    """The number of rows."""
    rows: dict[str, int] = {}
    for tensor, spec in zip(tensors, lane.signature.inputs, strict=True):
        shape = list(tensor.shape)
        fits = len(shape) == len(spec.shape) and all(
            size == expected or (expected == ANY and size >= 0)
            for size, expected in zip(shape, spec.shape, strict=True)
        )
        if not fits:
            raise InvalidRequestError(
                f"input {spec.name!r} has shape {shape}, expected {list(spec.shape)} with -1 for any size"
            )
        if 0 in shape:
            raise InvalidRequestError(f"input {spec.name!r} has shape {shape}: expected at least one row")
        rows[spec.name] = shape[0]
    if len(set(rows.values())) > 1:
        raise InvalidRequestError(
            f"inputs differ in rows: {', '.join(f'{name!r} has {n}' for name, n in rows.items())}"
        )
    return next(iter(rows.values()), 1)


def _elements(shape: Sequence[int]) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def _raw(raw: bytes, spec: TensorSpec, count: int, shape: Sequence[int]) -> Flat:
    if spec.datatype == "BYTES":
        return _strings(spec.name, split_bytes(spec.name, raw, count))
    expected = count * spec.dtype.itemsize
    if len(raw) != expected:
        raise InvalidRequestError(
            f"input {spec.name!r} of {spec.datatype} has {len(raw)} raw bytes, expected {expected} for shape {list(shape)}"
        )
    if spec.datatype == "BOOL" and raw.strip(b"\0\1"):
        raise InvalidRequestError(f"input {spec.name!r} has a BOOL byte that is neither 0 nor 1")
    return raw


def split_bytes(name: str, raw: bytes, count: int) -> list[bytes]:
    """The elements of a BYTES tensor: each a little-endian uint32 length and that many bytes."""
    elements, at, size = [], 0, len(raw)
    while at + 4 <= size:
        start = at + 4
        at = start + _LENGTH.unpack_from(raw, at)[0]
        if at > size:
            break
        elements.append(raw[start:at])
    if at != size or len(elements) != count:
        raise InvalidRequestError(
            f"input {name!r} has broken BYTES framing: {len(elements)} whole elements in {size} bytes, expected {count}"
        )
    return elements


def _strings(name: str, elements: Sequence[bytes]) -> list[str]:
    try:
        return [element.decode() for element in elements]
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"input {name!r} has an element that is not UTF-8: {error.reason}") from error


def _typed(contents: InferTensorContents, spec: TensorSpec, count: int, shape: Sequence[int]) -> Flat:
    wanted = CONTENTS_FIELDS.get(spec.datatype)
    if wanted is None:
        raise InvalidRequestError(f"input {spec.name!r} of {spec.datatype} must come in raw_input_contents")
    others = [field.name for field, _ in contents.ListFields() if field.name != wanted]
    if others:
        raise InvalidRequestError(f"input {spec.name!r} of {spec.datatype} has {others[0]}, expected {wanted}")
    values = getattr(contents, wanted)
    if len(values) != count:
        raise InvalidRequestError(
            f"input {spec.name!r} has {len(values)} values in {wanted}, expected {count} for shape {list(shape)}"
        )
    if spec.datatype == "BYTES":
        return _strings(spec.name, values)
    try:
        return np.array(values, spec.dtype).tobytes()
    except OverflowError as error:
        raise InvalidRequestError(f"input {spec.name!r} has a value that is no {spec.datatype}: {error}") from error


def _prefix(lane: Lane, rows: int, chosen: Sequence[int] | None, shapes: Sequence[Sequence[int]] | None) -> bytes:
    specs = lane.signature.outputs
    response = ModelInferResponse(model_name=lane.model, model_version=lane.version)
    for index in range(len(specs)) if chosen is None else chosen:
        spec = specs[index]
        shape = (rows, *spec.shape[1:]) if shapes is None else shapes[index]
        response.outputs.add(name=spec.name, datatype=spec.datatype, shape=shape)
    return response.SerializeToString()
