"""Responses: those encoded together equal those encoded one by one; the row limit of requests."""

from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxpress.protos.inference_pb2 import ModelInferRequest, ModelInferResponse
from onnxpress.server.errors import TooLargeError
from onnxpress.server.serving.request import Parsed, Request, UniformBatch
from onnxpress.server.serving.tensors import Signature, TensorSpec
from onnxpress.server.wire.codec import HEADER_BYTES, Codec

PREDICTION, PAIR = TensorSpec("prediction", "FP32", (-1, 1)), TensorSpec("probabilities", "FP32", (-1, 2))
LABEL, NOTHING = TensorSpec("label", "BYTES", (-1,)), TensorSpec("nothing", "FP32", (-1, 0))
OUTPUTS = ((PREDICTION,), (PREDICTION, PAIR), (LABEL, PAIR), (PREDICTION, NOTHING))


def lane(outputs: tuple[TensorSpec, ...]) -> Any:
    return Mock(model="m", version="3", signature=Signature((PREDICTION,), outputs))


def flat(spec: TensorSpec, rows: int) -> Any:
    """Contents of an output in which every row has a different value."""
    if spec.datatype == "BYTES":
        return [b"\3\0\0\0" + f"{row:03}".encode() for row in range(rows)]
    return np.arange(rows * spec.row_elements, dtype=spec.dtype).tobytes()


@given(
    st.sampled_from(OUTPUTS),
    st.lists(st.tuples(st.sampled_from([1, 1, 1, 2, 40]), st.sampled_from(["", "", "id"])), min_size=1, max_size=6),
    st.booleans(),
)
def test_a_batch_is_answered_as_each_request_alone(
    specs: tuple[TensorSpec, ...], kinds: list[tuple[int, str]], some: bool
) -> None:
    """Each response equals the one encoded for the request alone, for equal and mixed rows, ids and outputs."""
    owner = lane(specs)
    chosen = (len(specs) - 1,) if some else None
    parsed = [Parsed("m", "", owner.signature, rows, (), 0, None, chosen, id_) for rows, id_ in kinds]
    requests = [Request(one, None, "champion", Mock(), 0, 0) for one in parsed]
    total = sum(rows for rows, _ in kinds)
    outputs = [flat(spec, total) for spec in specs]
    together = list(Codec(1).encode(owner, requests, outputs))
    at = 0
    for request, answer in zip(requests, together, strict=True):
        part = [
            one[at * spec.stride : (at + request.rows) * spec.stride] for one, spec in zip(outputs, specs, strict=True)
        ]
        (alone,) = Codec(1).encode(owner, [request], part)
        assert answer == alone
        message = ModelInferResponse.FromString(answer)
        assert (message.model_name, message.model_version, message.id) == ("m", "3", request.parsed.id)
        assert len(message.raw_output_contents) == (1 if some else len(specs))
        at += request.rows


@pytest.mark.parametrize("specs", OUTPUTS)
def test_no_requests_give_no_responses(specs: tuple[TensorSpec, ...]) -> None:
    """A batch that is only a part of a large request has no complete request to answer."""
    assert list(Codec(1).encode(lane(specs), [], [flat(spec, 2) for spec in specs])) == []


@given(st.sampled_from(((PREDICTION,), (PREDICTION, PAIR))), st.sampled_from([1, 2, 40]), st.booleans())
def test_a_uniform_batch_is_answered_as_its_requests(specs: tuple[TensorSpec, ...], rows: int, named: bool) -> None:
    """With and without ids, the responses equal those of the single requests byte for byte."""
    ids = [b"\1a", b"\3bcd", b"\2ef"] if named else None
    owner = lane(specs)
    uniform = UniformBatch("m", "", owner.signature, rows, [b""] * 3, 0, ids)
    uniform.front, uniform.calls, uniform.details, uniform.arrival = Mock(), range(3), [None] * 3, 0
    outputs = [flat(spec, rows * 3) for spec in specs]
    codec = Codec(1)
    answers = list(codec.encode_uniform(owner, uniform, outputs))
    assert answers == list(codec.encode(owner, uniform.requests(), outputs))
    assert [ModelInferResponse.FromString(answer).id for answer in answers] == (
        ["a", "bcd", "ef"] if named else [""] * 3
    )


MESSAGE_MAX = 1 << 20
MATRIX, TEXT = TensorSpec("matrix", "FP64", (-1, 30)), TensorSpec("text", "BYTES", (-1, 2))


def of_rows(specs: tuple[TensorSpec, ...], rows: int) -> bytes:
    """A request with that many rows of zeros and empty texts."""
    message = ModelInferRequest(model_name="m", id="i" * 128)
    for spec in specs:
        message.inputs.add(name=spec.name, datatype=spec.datatype, shape=(rows, *spec.shape[1:]))
        size = 4 if spec.datatype == "BYTES" else spec.dtype.itemsize
        message.raw_input_contents.append(bytes(rows * spec.row_elements * size))
    return message.SerializeToString()


@pytest.mark.parametrize(
    ("specs", "rows_max", "expected"),
    [
        ((MATRIX,), 10**6, (MESSAGE_MAX - HEADER_BYTES) // 240),
        ((TEXT,), 10**6, (MESSAGE_MAX - HEADER_BYTES) // 8),
        ((TEXT, MATRIX), 10**6, (MESSAGE_MAX - HEADER_BYTES) // 248),
        ((TEXT, MATRIX), 100, 100),
    ],
)
def test_a_request_may_have_request_rows_max_rows(specs: tuple[TensorSpec, ...], rows_max: int, expected: int) -> None:
    """As many rows are accepted as fit into a message or as the setting allows; one more is refused with the limit."""
    signature = Signature(specs, (PREDICTION,))
    codec = Codec(MESSAGE_MAX, rows_max)
    fits, too_many = of_rows(specs, expected), of_rows(specs, expected + 1)
    assert codec.request_rows_max(signature) == expected
    assert codec.decode(fits, codec.open(fits), signature).rows == expected
    with pytest.raises(TooLargeError, match=rf"{expected + 1} rows, one request to model 'm' may have {expected}$"):
        codec.decode(too_many, codec.open(too_many), signature)


def test_the_row_limit_is_at_least_one() -> None:
    """If one row is as large as a message, the limit is 1 and not 0, which would mean a model without rows."""
    assert Codec(1 << 8).request_rows_max(Signature((MATRIX,), (PREDICTION,))) == 1
