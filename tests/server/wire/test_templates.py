"""Learned headers: the template path gives the same request as the parser path, or none."""

import struct
from itertools import product
from typing import Any
from unittest.mock import Mock

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onnxpress.packages.errors import OnnxpressError
from onnxpress.protos.inference_pb2 import ModelInferRequest
from onnxpress.server.errors import UnknownModelError
from onnxpress.server.serving.request import Parsed, UniformBatch
from onnxpress.server.serving.tensors import Signature, TensorSpec, interned
from onnxpress.server.wire.codec import Codec, check, parse
from onnxpress.server.wire.templates import BY_LENGTH_MAX, FLEXIBLE_MAX, Learned, learn

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


# `matrix` as another version has it, with another output name.
RENAMED = interned(Signature(SIGNATURES["matrix"].inputs, (TensorSpec("score", "FP32", (-1, 1)),)))


def read(codec: Codec, payload: bytes, signature: Signature | None = None) -> Parsed:
    """The request as a binder reads it: the signature is that of the model that the header names."""
    header = codec.open(payload)
    if header.model not in SIGNATURES:
        raise UnknownModelError(header.model)
    wanted = signature or interned(SIGNATURES[header.model])
    if isinstance(header, Parsed) and header.signature is wanted:
        return header
    return codec.decode(payload, header, wanted)


def known(codec: Codec, payload: bytes) -> Parsed | None:
    """The request if its header is known, else None."""
    header = codec.open(payload)
    return header if isinstance(header, Parsed) else None


def in_full(payload: bytes) -> Parsed:
    """The request as a new codec reads it, which has learned no header."""
    return read(Codec(1 << 20), payload)


def together(codec: Codec, payloads: Any) -> UniformBatch | None:
    uniform = next(codec.uniform(payloads), None)
    if uniform is not None:
        uniform.front, uniform.calls, uniform.arrival = Mock(), range(len(payloads)), 0
        uniform.details = [None] * len(payloads)
    return uniform


@st.composite
def requests(draw: st.DrawFn) -> ModelInferRequest:
    """Requests as clients send them: any model, rows, ids, parameters, outputs, order of inputs."""
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
    """The fields of the decoded request, or the class of the error."""
    try:
        parsed = decode()
    except OnnxpressError as error:
        return type(error)
    return *facts(parsed), parsed.size


def facts(one: Parsed) -> tuple[object, ...]:
    return one.model, one.version, one.signature, one.rows, list(one.tensors), one.outputs, one.id, one.key


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


def check_all(examples: list[tuple[ModelInferRequest, list[tuple[int, int, bytes]]]]) -> None:
    """Decodes every payload twice with one codec, which may know the header the second time."""
    codec, payloads = Codec(1 << 20), []
    for message, edits in examples:
        for payload in (message.SerializeToString(), mutate(message.SerializeToString(), edits)):
            expected = outcome(lambda payload=payload: in_full(payload))
            for _ in range(2):
                assert outcome(lambda payload=payload: read(codec, payload)) == expected, payload
            payloads.append(payload)
    for pair in product(payloads, repeat=2):
        uniform = together(codec, pair)
        if uniform is not None:
            alone = [in_full(payload) for payload in pair]
            # Calls of one batch differ in length by their ids only; each gets an equal share of the batch's size.
            assert [facts(request.parsed) for request in uniform.requests()] == list(map(facts, alone)), pair
            assert uniform.size == sum(one.size for one in alone)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(requests(), EDITS), min_size=1, max_size=6))
def test_templates_agree_with_the_full_path(examples: list[tuple[ModelInferRequest, list[Any]]]) -> None:
    """On generated and mutated bytes both paths give the same request or the same class of error."""
    check_all(examples)


@pytest.mark.long
@settings(max_examples=5000, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.tuples(requests(), EDITS), min_size=1, max_size=6))
def test_templates_agree_with_the_full_path_for_long(examples: list[tuple[ModelInferRequest, list[Any]]]) -> None:
    """The same as above, with many more examples."""
    check_all(examples)


def matrix(id_: str = "", rows: int = 1, fill: bytes = b"\1") -> bytes:
    message = ModelInferRequest(model_name="matrix", id=id_)
    message.inputs.add(name="input", datatype="FP32", shape=[rows, 3])
    message.raw_input_contents.append(fill * (rows * 12))
    return message.SerializeToString()


@pytest.mark.parametrize("ids", [("", ""), ("a", "b"), ("a", "longer-id-0001"), ("1", "1" * 127)])
def test_a_repeated_header_is_known(ids: tuple[str, str]) -> None:
    """A second request with the same header and other rows is decoded without the parser, for any id."""
    codec = Codec(1 << 20)
    read(codec, matrix(ids[0]))
    parsed = known(codec, matrix(ids[1], fill=b"\2"))
    assert parsed is not None
    assert (parsed.id, parsed.rows, list(parsed.tensors)) == (ids[1], 1, [b"\2" * 12])


@pytest.mark.parametrize("id_", ["", "a"])
def test_one_header_is_known_with_each_signature(id_: str) -> None:
    """Versions with equal inputs and different outputs share a header; each is read with its own signature."""
    codec, own = Codec(1 << 20), interned(SIGNATURES["matrix"])
    for signature in (own, RENAMED, own):
        assert read(codec, matrix(id_), signature).signature is signature
    learned = {uniform.signature for uniform in codec.uniform([matrix(id_)])}
    assert learned == {own, RENAMED}


def test_headers_with_route_keys_are_not_learned() -> None:
    """A request with a route key is always parsed: keys vary, and their headers would displace recurring ones."""
    codec = Codec(1 << 20)
    for number in range(2 * FLEXIBLE_MAX):
        message = ModelInferRequest.FromString(matrix())
        message.parameters["route_key"].string_param = f"cust-{number}"
        assert read(codec, message.SerializeToString()).key == f"cust-{number}"
        assert known(codec, message.SerializeToString()) is None


@pytest.mark.parametrize("ids", [("", "", ""), ("a", "b", "longer-id-0001"), ("1" * 127, "1", "2")])
def test_calls_with_one_header_are_uniform(ids: tuple[str, ...]) -> None:
    """Calls with one header form a uniform batch, for any ids."""
    codec = Codec(1 << 20)
    payloads = [matrix(id_, fill=bytes([number])) for number, id_ in enumerate(ids)]
    assert together(codec, payloads) is None  # the header is not known yet
    read(codec, payloads[0])
    uniform = together(codec, payloads)
    assert uniform is not None
    assert uniform.tensors == [bytes([number]) * 12 for number in range(3)]
    assert (uniform.rows, uniform.size) == (1, sum(map(len, payloads)))


@pytest.mark.parametrize("model", ["nothing", "text"])
def test_answers_of_no_fixed_size_are_not_uniform(model: str) -> None:
    """Calls of a model whose outputs are BYTES or have no elements form no uniform batch."""
    codec = Codec(1 << 20)
    payload = matrix().replace(b"\x06matrix", bytes([len(model)]) + model.encode())
    read(codec, payload)
    assert known(codec, payload) is not None
    assert together(codec, [payload]) is None


DIFFERENT = {
    "another header": [matrix(rows=2), matrix("x", rows=2), matrix().replace(b"matrix", b"MATRIX")],
    "another type": [matrix("x").replace(b"FP32", b"FP64"), matrix().replace(b"FP32", b"FP64")],
    "cut": [b"", matrix()[:9], matrix("x")[:9], matrix("x")[:10], matrix()[:-1], matrix("x")[:-1]],
    "longer": [matrix() + b"\0", matrix("x") + b"\0"],
    "an id that needs the parser": [matrix("é"), matrix("1" * 128), matrix("x").replace(b"\x1a\x01x", b"\x1a\x00")],
}


@pytest.mark.parametrize("usual", [matrix(), matrix("y")], ids=["no id", "id"])
@pytest.mark.parametrize("kind", DIFFERENT)
def test_one_different_call_prevents_a_uniform_batch(usual: bytes, kind: str) -> None:
    """If one call has another header, or must be parsed, the calls form no uniform batch."""
    for different in DIFFERENT[kind]:
        codec = Codec(1 << 20)
        read(codec, usual)
        assert together(codec, [usual, usual]) is not None
        assert together(codec, [usual, different]) is None
        assert together(codec, [different, usual]) is None


def test_headers_are_known_for_strings_of_any_length() -> None:
    """A header with a BYTES input is known again although the strings have another length."""
    codec = Codec(1 << 20)

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

    read(codec, columns("Köln"))
    parsed = known(codec, columns("a longer street"))
    assert parsed is not None
    assert list(parsed.tensors) == [["a longer street"], b"\0" * 8, b"\1" * 8]


def test_a_header_that_cannot_be_split_off_is_not_learned() -> None:
    """A message that ends with an unknown field whose content looks like raw contents is always parsed."""
    codec = Codec(1 << 20)
    message = ModelInferRequest(model_name="matrix")
    message.inputs.add(name="input", datatype="FP32", shape=[1, 3])
    raw = b"\x3a\x0c" + b"\1" * 12
    tricky = message.SerializeToString() + raw + b"\x9a\x06" + bytes([len(raw)]) + raw
    expected = list(read(codec, tricky).tensors)
    other = tricky[: -len(raw)] + b"\x3a\x0c" + b"\2" * 12
    assert list(read(codec, other).tensors) == expected == [b"\1" * 12]


def test_learned_headers_are_bounded() -> None:
    """The number of learned headers stays within its limits when every request has a new one."""
    learned, signature = Learned(), interned(SIGNATURES["matrix"])
    for rows in range(1, 6000):
        remember(learned, matrix(rows=rows), signature)
    for number in range(200):
        message = ModelInferRequest.FromString(matrix(id_="x"))
        message.parameters[f"key{number}"].int64_param = number
        remember(learned, message.SerializeToString(), signature)
    assert len(learned.by_length) <= BY_LENGTH_MAX
    assert len(learned.flexible) <= FLEXIBLE_MAX + 1


def remember(learned: Learned, payload: bytes, signature: Signature) -> None:
    message = parse(payload)
    template = learn(payload, message, *check(message, len(payload), signature))
    assert template is not None
    learned.add(template, len(payload))
