"""Decodes and checks ModelInferRequests, and encodes ModelInferResponses."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import repeat
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from onnxpress.packages.datatypes import DATATYPES
from onnxpress.protos.inference_pb2 import InferTensorContents, ModelInferRequest, ModelInferResponse
from onnxpress.server.errors import InvalidRequestError, TooLargeError
from onnxpress.server.serving.binding import Header
from onnxpress.server.serving.lane import Lane
from onnxpress.server.serving.request import Parsed, Request, UniformBatch
from onnxpress.server.serving.tensors import ANY, Flat, Signature, TensorSpec
from onnxpress.server.wire.strings import split_bytes
from onnxpress.server.wire.templates import ID_TAG, KEY_PARAMETER, Learned, learn, varint

PLANS_MAX = 4096
# Part of the largest message that is reserved for everything but the rows: names, shapes, the id, parameters.
HEADER_BYTES = 64 * 1024
INT32_MAX = 2**31 - 1
RAW_OUTPUT_TAG = b"\x32"  # raw_output_contents: field 6, length-delimited
NAME_SHOWN_MAX = 64


@dataclass(slots=True)
class Plan:
    """How to encode the responses for one lane, row count and choice of outputs.

    tensors: for each output its index in the signature, its stride, and the bytes before its contents: the tag, the
    length if all lengths are `fixed`, and before the first output the response's header.
    """

    tensors: tuple[tuple[int, int, bytes], ...]
    fixed: bool


class Message:
    """A payload whose header is not known: parsed, but not yet checked against a signature."""

    __slots__ = ("key", "message", "model", "version")

    def __init__(self, message: ModelInferRequest) -> None:
        self.message = message
        self.model = message.model_name
        self.version = message.model_version
        self.key = message.parameters[KEY_PARAMETER].string_param if KEY_PARAMETER in message.parameters else ""


class Codec:
    """Decodes by template if the header is known, else with the protobuf parser, and then learns the header.

    Owns the templates and the plans of responses; threads may race to add one, with equal content.
    """

    def __init__(self, message_max: int, rows_max: int = INT32_MAX) -> None:
        """`message_max` and `rows_max`: the most bytes and the most rows that one request may have."""
        self._message_max = message_max
        self._rows_max = min(rows_max, INT32_MAX)
        self._plans: dict[tuple[Lane, int, tuple[int, ...] | None], Plan] = {}
        self._learned = Learned()
        self.uniform = self._learned.uniform

    def open(self, payload: bytes) -> Parsed | Message:
        """The whole request if its header is known, else the parsed message, of which model and version can be read.

        Raises TooLargeError, InvalidRequestError.
        """
        return self._learned.match(payload) or self._parse(payload)

    def request_rows_max(self, signature: Signature) -> int:
        """The most rows that one request may have: as many as fit into a message if all texts are empty; at least 1."""
        header = min(HEADER_BYTES, self._message_max // 2)
        return max(1, min(self._rows_max, (self._message_max - header) // max(1, signature.row_bytes)))

    def decode(self, payload: bytes, header: Header, signature: Signature) -> Parsed:
        """The request, checked against `signature`; `header` is the result of `open`.

        Raises InvalidRequestError, TooLargeError.
        """
        if isinstance(header, Message):
            message = header.message
        else:  # the header is known with another signature
            parsed = self._learned.match(payload, signature)
            if parsed is not None:
                return parsed
            message = self._parse(payload).message
        parsed, order = check(message, len(payload), signature)
        rows_max = self.request_rows_max(signature)
        if parsed.rows > rows_max:
            raise TooLargeError(
                f"the request has {parsed.rows} rows, one request to model {parsed.model!r} may have {rows_max}"
            )
        template = learn(payload, message, parsed, order)
        if template is not None:
            self._learned.add(template, len(payload))
        return parsed

    def _parse(self, payload: bytes) -> Message:
        if len(payload) > self._message_max:
            raise TooLargeError(f"the request has {len(payload)} bytes, the limit is {self._message_max}")
        return Message(parse(payload))

    def encode_uniform(self, lane: Lane, uniform: UniformBatch, outputs: Sequence[Flat]) -> Iterable[bytes]:
        """The ModelInferResponses, in the order of the calls."""
        ids = [ID_TAG + id_ for id_ in uniform.ids] if uniform.ids is not None else None
        return _encode_equal(self._plan((lane, uniform.rows, None)), uniform.rows, len(uniform.calls), ids, outputs)

    def encode(self, lane: Lane, requests: Sequence[Request], outputs: Sequence[Flat]) -> Iterable[bytes]:
        """The ModelInferResponses of requests whose rows are consecutive in the flat outputs of one batch."""
        parsed = [request.parsed for request in requests]
        if len(parsed) > 1:
            rows = parsed[0].rows
            plan = self._plan((lane, rows, None))
            if plan.fixed and not [one for one in parsed if one.outputs or one.rows != rows]:
                ids = [_id_field(one.id) for one in parsed]
                return _encode_equal(plan, rows, len(ids), ids if any(ids) else None, outputs)
        answers: list[bytes] = []
        at, rows, chosen = 0, 0, None
        for one in parsed:
            if not rows or one.rows != rows or one.outputs != chosen:
                rows, chosen = one.rows, one.outputs
                plan = self._plan((lane, rows, chosen))
            pieces: list[Any] = []
            for index, stride, frame in plan.tensors:
                flat = outputs[index][at * stride : (at + rows) * stride]
                if plan.fixed:
                    pieces += (frame, flat)
                else:
                    data = b"".join(flat) if isinstance(flat, list) else flat
                    pieces += (frame, varint(len(data)), data)
            if one.id:
                pieces.append(_id_field(one.id))
            answers.append(b"".join(pieces))
            at += rows
        return answers

    def encode_shaped(
        self, lane: Lane, request: Request, outputs: Sequence[Flat], shapes: Sequence[Sequence[int]]
    ) -> bytes:
        """The response of a version that is not batchable: whole outputs in their own shapes."""
        chosen = request.parsed.outputs or range(len(outputs))
        pieces: list[Any] = [_header(lane, chosen, [shapes[index] for index in chosen])]
        for index in chosen:
            _append_tensor(pieces, outputs[index])
        if request.parsed.id:
            pieces.append(_id_field(request.parsed.id))
        return b"".join(pieces)

    def _plan(self, key: tuple[Lane, int, tuple[int, ...] | None]) -> Plan:
        return self._plans.get(key) or self._new_plan(key)

    def _new_plan(self, key: tuple[Lane, int, tuple[int, ...] | None]) -> Plan:
        lane, rows, wanted = key
        specs = lane.signature.outputs
        chosen = tuple(range(len(specs))) if wanted is None else wanted
        header = _header(lane, chosen, [(rows, *specs[index].shape[1:]) for index in chosen])
        fixed = all(specs[index].fixed for index in chosen)
        frames = [RAW_OUTPUT_TAG + (varint(rows * specs[index].stride) if fixed else b"") for index in chosen]
        frames[0] = header + frames[0]
        plan = Plan(tuple((i, specs[i].stride, frame) for i, frame in zip(chosen, frames, strict=True)), fixed)
        if len(self._plans) >= PLANS_MAX:
            self._plans.clear()
        self._plans[key] = plan
        return plan

    def forget(self, lane: Lane) -> None:
        """Drops the plans of an unloaded lane."""
        for key in [key for key in list(self._plans) if key[0] is lane]:
            self._plans.pop(key, None)


def _encode_equal(
    plan: Plan, rows: int, count: int, ids: Sequence[bytes] | None, outputs: Sequence[Flat]
) -> Iterable[bytes]:
    """The responses to `count` requests of `rows` rows each that want all outputs, none of them BYTES.

    `ids`: the encoded id field of each.
    """
    pieces: list[Iterable[bytes]] = []
    for index, stride, frame in plan.tensors:
        flat, size = outputs[index], rows * stride
        pieces += (repeat(frame), [flat[at : at + size] for at in range(0, count * size, size)])
    if ids is not None:
        pieces.append(ids)
    return map(b"".join, zip(*pieces, strict=False))  # `repeat` is endless


def _append_tensor(pieces: list[Any], flat: Flat) -> None:
    data = b"".join(flat) if isinstance(flat, list) else flat
    pieces += (RAW_OUTPUT_TAG, varint(len(data)), data)


def _id_field(id_: str) -> bytes:
    encoded = id_.encode()
    return ID_TAG + varint(len(encoded)) + encoded if encoded else b""


def check(message: ModelInferRequest, size: int, signature: Signature) -> tuple[Parsed, list[int]]:
    """The request of a parsed message of `size` bytes, checked against `signature`; raises InvalidRequestError.

    The second result is the place in the message of each input of the signature.
    """
    specs = signature.inputs
    order = _match_inputs(message, specs)
    raws = message.raw_input_contents
    if raws:
        _check_raw(message, raws)
    rows = _check_shapes([message.inputs[place] for place in order], specs)
    tensors: list[Flat] = []
    for place, spec in zip(order, specs, strict=True):
        tensor = message.inputs[place]
        count = math.prod(tensor.shape)
        if raws:
            tensors.append(_raw(raws[place], spec, count, tensor.shape))
        else:
            tensors.append(_typed(tensor.contents, spec, count, tensor.shape))
    outputs = _match_outputs(message, signature)
    names, header = (message.model_name, message.model_version), Message(message)
    if signature.batchable:
        return Parsed(*names, signature, rows, tensors, size, None, outputs, message.id, header.key), order
    shapes = [tuple(message.inputs[place].shape) for place in order]
    return Parsed(*names, signature, 1, tensors, size, shapes, outputs, message.id, header.key), order


def parse(payload: bytes) -> ModelInferRequest:
    """The parsed message. Raises InvalidRequestError."""
    try:
        return ModelInferRequest.FromString(payload)
    except DecodeError as error:
        raise InvalidRequestError(f"the request of {len(payload)} bytes is not a ModelInferRequest") from error


def _shown(text: str) -> str:
    return repr(text if len(text) <= NAME_SHOWN_MAX else text[:NAME_SHOWN_MAX] + "…")


def _names(names: Sequence[str]) -> str:
    return ", ".join(map(_shown, names)) or "none"


def _match_inputs(message: ModelInferRequest, specs: Sequence[TensorSpec]) -> list[int]:
    """The place in the message of each input of the signature. Raises InvalidRequestError."""
    got = [tensor.name for tensor in message.inputs]
    places = {name: place for place, name in enumerate(got)}
    expected = [spec.name for spec in specs]
    if len(places) != len(got):
        twice = sorted({name for name in got if got.count(name) > 1})
        raise InvalidRequestError(f"duplicate input {_names(twice)}: send each input once")
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


def _match_outputs(message: ModelInferRequest, signature: Signature) -> tuple[int, ...] | None:
    if not message.outputs:
        return None
    known = [spec.name for spec in signature.outputs]
    wanted = [output.name for output in message.outputs]
    unexpected = [name for name in wanted if name not in known]
    if unexpected:
        raise InvalidRequestError(f"unexpected output {_names(unexpected)}: expected some of {_names(known)}")
    if len(set(wanted)) != len(wanted):
        raise InvalidRequestError(f"duplicate output in {_names(wanted)}: name each output once")
    return tuple(known.index(name) for name in wanted)


def _check_raw(message: ModelInferRequest, raws: Sequence[bytes]) -> None:
    typed = [tensor.name for tensor in message.inputs if tensor.HasField("contents")]
    if typed:
        raise InvalidRequestError(
            f"raw_input_contents and contents mixed: contents must be unset on input {_names(typed)}"
        )
    if len(raws) != len(message.inputs):
        raise InvalidRequestError(f"{len(raws)} raw_input_contents for {len(message.inputs)} inputs: expected one each")


def _check_shapes(tensors: Sequence[ModelInferRequest.InferInputTensor], specs: Sequence[TensorSpec]) -> int:
    """The number of rows. Raises InvalidRequestError."""
    rows: dict[str, int] = {}
    for tensor, spec in zip(tensors, specs, strict=True):
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
        if spec.shape[:1] == (ANY,):
            rows[spec.name] = shape[0]
    if len(rows) == len(tensors) and len(set(rows.values())) > 1:
        raise InvalidRequestError(
            f"inputs differ in rows: {', '.join(f'{name!r} has {n}' for name, n in rows.items())}"
        )
    return next(iter(rows.values()), 1)


def _raw(raw: bytes, spec: TensorSpec, count: int, shape: Sequence[int]) -> Flat:
    if spec.datatype == "BYTES":
        return _strings(spec.name, split_bytes(spec.name, raw, count))
    expected = count * spec.dtype.itemsize
    if len(raw) != expected:
        raise InvalidRequestError(
            f"input {spec.name!r} of {spec.datatype} has {len(raw)} raw bytes, "
            f"expected {expected} for shape {list(shape)}"
        )
    if spec.datatype == "BOOL" and raw.strip(b"\0\1"):
        raise InvalidRequestError(f"input {spec.name!r} has a BOOL byte that is neither 0 nor 1")
    return raw


def _strings(name: str, elements: Sequence[bytes]) -> list[str]:
    try:
        return [element.decode() for element in elements]
    except UnicodeDecodeError as error:
        raise InvalidRequestError(f"input {name!r} has an element that is not UTF-8: {error.reason}") from error


def _typed(contents: InferTensorContents, spec: TensorSpec, count: int, shape: Sequence[int]) -> Flat:
    wanted = DATATYPES[spec.datatype].contents_field
    if wanted is None:
        raise InvalidRequestError(f"input {spec.name!r} of {spec.datatype} must be sent in raw_input_contents")
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
        raise InvalidRequestError(f"input {spec.name!r} has a value that is not {spec.datatype}: {error}") from error


def _header(lane: Lane, chosen: Sequence[int], shapes: Sequence[Sequence[int]]) -> bytes:
    response = ModelInferResponse(model_name=lane.model, model_version=lane.version)
    for index, shape in zip(chosen, shapes, strict=True):
        spec = lane.signature.outputs[index]
        response.outputs.add(name=spec.name, datatype=spec.datatype, shape=shape)
    return response.SerializeToString()
