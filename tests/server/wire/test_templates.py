"""Remembered headers: the template path says what the full path says, or nothing."""

import struct
from itertools import product
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onnxpress.packages.errors import OnnxpressError
from onnxpress.protos.inference_pb2 import ModelInferRequest
from onnxpress.server.serving.contract import Contract
from onnxpress.server.serving.request import Request
from onnxpress.server.serving.routing import Route, Routes
from onnxpress.server.serving.tensors import Signature, TensorSpec
from onnxpress.server.wire.codec import Codec, bind, parse

SIGNATURES = {
    "matrix": Signature((TensorSpec("input", "FP32", (-1, 3)),), (TensorSpec("prediction", "FP32", (-1, 1)),)),
    "nothing": Signature(
        (TensorSpec("input", "FP32", (-1, 3)),),
        (TensorSpec("prediction", "FP32", (-1, 1)), TensorSpec("nothing", "FP32", (-1, 0))),
    ),
    "text": Signature((TensorSpec("input", "FP32", (-1, 3)),), (TensorSpec("label", "BYTES", (-1,)),)),
    "columns": Signature(
        (
            TensorSpec("Köln", "BYTES", (-1, 1)),
            TensorSpec("price", "FP64", (-1, 1)),
            TensorSpec("count", "INT64", (-1, 1)),
        ),
        (TensorSpec("label", "BYTES", (-1,)), TensorSpec("probabilities", "FP32", (-1, 2))),
    ),
}
SIZES = {"FP32": 4, "FP64": 8, "INT64": 8}


def routes() -> Routes:
    """Two models with a lane each; nothing is ever run."""
    models = {}
    for name, signature in SIGNATURES.items():
        lane: Any = Mock(
            model=name, version="1", signature=signature, contract=Contract(), cost=SimpleNamespace(batch_rows=64)
        )
        models[name] = Route(name, 1, lane, {"1": lane}, {})
    return Routes(models)


@st.composite
def requests(draw: st.DrawFn) -> ModelInferRequest:
    """Requests as clients write them: any model, rows, ids, parameters, outputs, order of inputs."""
    name = draw(st.sampled_from(sorted(SIGNATURES)))
    signature = SIGNATURES[name]
    message = ModelInferRequest(model_name=name, model_version=draw(st.sampled_from(["", "1"])))
    message.id = draw(st.one_of(st.just(""), st.text(max_size=8), st.sampled_from(["a", "b" * 130])))
    if draw(st.booleans()):
        message.parameters["route_key"].string_param = draw(st.text(max_size=4))
    rows = draw(st.sampled_from([1, 1, 1, 2, 40]))
    for spec in draw(st.permutations(signature.inputs)):
        message.inputs.add(name=spec.name, datatype=spec.datatype, shape=(rows, *spec.shape[1:]))
        if spec.datatype == "BYTES":
            texts = [draw(st.text(max_size=draw(st.sampled_from([3, 200])))) for _ in range(rows)]
            raw = b"".join(struct.pack("<I", len(text.encode())) + text.encode() for text in texts)
        else:
            raw = draw(st.binary(min_size=1, max_size=1)) * (rows * SIZES[spec.datatype] * spec.row_elements)
        message.raw_input_contents.append(raw)
    for spec in draw(st.lists(st.sampled_from(signature.outputs), unique=True)):
        message.outputs.add(name=spec.name)
    return message


def outcome(decode: Any) -> object:
    """What a decoder makes of a payload: the request's facts, or the kind of refusal."""
    try:
        request = decode()
    except OnnxpressError as error:
        return type(error)
    return *facts(request), request.size


def facts(request: Request) -> tuple[object, ...]:
    live = request.route is not None
    return request.lane.model, live, request.rows, list(request.tensors), request.outputs, request.id


def mutate(payload: bytes, edits: list[tuple[int, int, bytes]]) -> bytes:
    """Cuts, repeats and overwrites parts of a payload."""
    for kind, at, data in edits:
        place = at % (len(payload) + 1)
        if kind == 0:
            payload = payload[:place] + data + payload[place + len(data) :]
        elif kind == 1:
            payload = payload[:place] + data + payload[place:]
        elif kind == 2:
            payload = payload[:place]
        else:
            payload += payload[place:]
    return payload


EDITS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 400), st.binary(min_size=1, max_size=4)), max_size=2)


def check(examples: list[tuple[ModelInferRequest, list[tuple[int, int, bytes]]]]) -> None:
    """Decodes every payload twice with one memory: the second time it may be remembered."""
    known, codec = routes(), Codec(1 << 20)
    payloads = []
    for message, edits in examples:
        for payload in (message.SerializeToString(), mutate(message.SerializeToString(), edits)):
            expected = outcome(lambda payload=payload: bind(parse(payload), len(payload), known)[0])
            for _ in range(2):
                assert outcome(lambda payload=payload: codec.decode(payload, known)) == expected, payload
            payloads.append(payload)
    for together in product(payloads, repeat=2):
        bunch = codec.bunch(together, known)
        if bunch is not None:
            bunch.front, bunch.calls, bunch.arrival = Mock(), together, 0
            alone = [bind(parse(payload), len(payload), known)[0] for payload in together]
            assert list(map(facts, bunch.requests())) == list(map(facts, alone)), together
            assert bunch.size == sum(request.size for request in alone)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(requests(), EDITS), min_size=1, max_size=6))
def test_templates_agree_with_the_full_path(examples: list[tuple[ModelInferRequest, list[Any]]]) -> None:
    """On generated and mutated bytes both paths give the same request or the same refusal."""
    check(examples)


@pytest.mark.long
@settings(max_examples=5000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(requests(), EDITS), min_size=1, max_size=6))
def test_templates_agree_with_the_full_path_for_long(examples: list[tuple[ModelInferRequest, list[Any]]]) -> None:
    """The same with many more examples."""
    check(examples)


def matrix(id_: str = "", rows: int = 1, fill: bytes = b"\1") -> bytes:
    message = ModelInferRequest(model_name="matrix", id=id_)
    message.inputs.add(name="input", datatype="FP32", shape=[rows, 3])
    message.raw_input_contents.append(fill * (rows * 12))
    return message.SerializeToString()


@pytest.mark.parametrize("ids", [("", ""), ("a", "b"), ("a", "longer-id-0001"), ("1", "1" * 127)])
def test_a_repeated_header_is_recognised(ids: tuple[str, str]) -> None:
    """A second request with the same header and other rows needs no parser, whatever its id."""
    known, codec = routes(), Codec(1 << 20)
    codec.decode(matrix(ids[0]), known)
    request = known.learned.match(matrix(ids[1], fill=b"\2"))
    assert request is not None
    assert (request.id, request.rows, list(request.tensors)) == (ids[1], 1, [b"\2" * 12])


@pytest.mark.parametrize("ids", [("", "", ""), ("a", "b", "longer-id-0001"), ("1" * 127, "1", "2")])
def test_calls_with_one_header_are_a_bunch(ids: tuple[str, ...]) -> None:
    """Whatever their ids, they are read without an object for each."""
    known, codec = routes(), Codec(1 << 20)
    payloads = [matrix(id_, fill=bytes([number])) for number, id_ in enumerate(ids)]
    assert codec.bunch(payloads, known) is None  # nothing is known yet
    codec.decode(payloads[0], known)
    bunch = codec.bunch(payloads, known)
    assert bunch is not None
    assert bunch.tensors == [bytes([number]) * 12 for number in range(3)]
    assert (bunch.rows, bunch.size) == (1, sum(map(len, payloads)))


@pytest.mark.parametrize("model", ["nothing", "text"])
def test_answers_of_no_fixed_size_make_no_bunch(model: str) -> None:
    """Text, and outputs without elements, are written one answer after the other."""
    known, codec = routes(), Codec(1 << 20)
    payload = matrix().replace(b"\x06matrix", bytes([len(model)]) + model.encode())
    codec.decode(payload, known)
    assert known.learned.match(payload) is not None
    assert codec.bunch([payload], known) is None


STRANGERS = {
    "another header": [matrix(rows=2), matrix("x", rows=2), matrix().replace(b"matrix", b"MATRIX")],
    "another type": [matrix("x").replace(b"FP32", b"FP64"), matrix().replace(b"FP32", b"FP64")],
    "cut": [b"", matrix()[:9], matrix("x")[:9], matrix("x")[:10], matrix()[:-1], matrix("x")[:-1]],
    "longer": [matrix() + b"\0", matrix("x") + b"\0"],
    "an id that needs looking at": [matrix("é"), matrix("1" * 128), matrix("x").replace(b"\x1a\x01x", b"\x1a\x00")],
}


@pytest.mark.parametrize("usual", [matrix(), matrix("y")], ids=["no id", "id"])
@pytest.mark.parametrize("kind", STRANGERS)
def test_one_stranger_and_it_is_no_bunch(usual: bytes, kind: str) -> None:
    """One call that is not alike, and each is decoded for itself."""
    for stranger in STRANGERS[kind]:
        known, codec = routes(), Codec(1 << 20)
        codec.decode(usual, known)
        assert codec.bunch([usual, usual], known) is not None
        assert codec.bunch([usual, stranger], known) is None
        assert codec.bunch([stranger, usual], known) is None


def test_strings_of_other_lengths_are_recognised() -> None:
    """A text column's length differs from request to request; the header is still the same."""
    known, codec = routes(), Codec(1 << 20)

    def columns(text: str) -> bytes:
        message = ModelInferRequest(model_name="columns")
        for spec, raw in zip(
            SIGNATURES["columns"].inputs,
            (struct.pack("<I", len(text.encode())) + text.encode(), b"\0" * 8, b"\1" * 8),
            strict=True,
        ):
            message.inputs.add(name=spec.name, datatype=spec.datatype, shape=[1, 1])
            message.raw_input_contents.append(raw)
        return message.SerializeToString()

    codec.decode(columns("Köln"), known)
    request = known.learned.match(columns("a longer street"))
    assert request is not None
    assert list(request.tensors) == [["a longer street"], b"\0" * 8, b"\1" * 8]


def test_a_field_that_swallows_the_tensor_is_not_learned() -> None:
    """Raw contents first and an unknown field whose content looks like them: the cut cannot be proved."""
    known, codec = routes(), Codec(1 << 20)
    message = ModelInferRequest(model_name="matrix")
    message.inputs.add(name="input", datatype="FP32", shape=[1, 3])
    raw = b"\x3a\x0c" + b"\1" * 12
    tricky = message.SerializeToString() + raw + b"\x9a\x06" + bytes([len(raw)]) + raw
    expected = list(codec.decode(tricky, known).tensors)
    other = tricky[: -len(raw)] + b"\x3a\x0c" + b"\2" * 12
    assert list(codec.decode(other, known).tensors) == expected == [b"\1" * 12]


def test_what_is_remembered_is_bounded() -> None:
    """A client whose every header is new costs no memory for long."""
    known, codec = routes(), Codec(1 << 20)
    for rows in range(1, 6000):
        codec.decode(matrix(rows=rows), known)
    for number in range(200):
        message = ModelInferRequest.FromString(matrix(id_="x"))
        message.parameters[f"key{number}"].int64_param = number
        codec.decode(message.SerializeToString(), known)
    assert len(known.learned.by_length) <= 4096
    assert len(known.learned.flexible) <= 33
