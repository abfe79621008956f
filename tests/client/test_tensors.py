"""Arrays as raw contents, and responses of onnxpress and other servers as arrays."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onnxpress.client.errors import ClientError
from onnxpress.client.signature import Input, Signature
from onnxpress.client.tensors import read_response, write_request
from onnxpress.protos.inference_pb2 import InferTensorContents, ModelInferResponse

TEXTS = Signature((Input("city", "BYTES", (-1, 1)),))


def response(datatype: str, shape: list[int], raw: bytes = b"", **typed: object) -> ModelInferResponse:
    message = ModelInferResponse(model_name="m", model_version="4", id="i")
    message.outputs.add(name="y", datatype=datatype, shape=shape)
    if typed:
        message.outputs[0].contents.CopyFrom(InferTensorContents(**typed))
    else:
        message.raw_output_contents.append(raw)
    return message


@given(st.lists(st.text(), min_size=1, max_size=20))
def test_text_comes_back_as_it_went(texts: list[str]) -> None:
    """Any text, empty and beyond ASCII included, is framed so that it is read back."""
    array = np.empty((len(texts), 1), object)
    array[:, 0] = texts
    request = write_request("m", "", "", TEXTS, [array], ())
    echoed = read_response(response("BYTES", [len(texts), 1], request.raw_input_contents[0]))
    assert echoed["y"].ravel().tolist() == texts


def test_numbers_are_little_endian_and_row_major() -> None:
    """A transposed or big-endian array is sent as its values, not as its memory."""
    signature = Signature((Input("x", "INT32", (-1, 2)),))
    array = np.array([[1, 2], [3, 4]], ">i4").T
    request = write_request("m", "7", "id", signature, [array], ("y",))
    assert request.raw_input_contents[0] == np.array([1, 3, 2, 4], "<i4").tobytes()
    assert (request.model_version, request.id, [one.name for one in request.outputs]) == ("7", "id", ["y"])
    assert list(request.inputs[0].shape) == [2, 2]


def test_typed_contents_are_read() -> None:
    """Servers of the protocol may answer in contents instead of raw bytes."""
    numbers = read_response(response("FP32", [2], fp32_contents=[1, 2]))
    texts = read_response(response("BYTES", [1], bytes_contents=["ü".encode()]))
    assert (numbers["y"].tolist(), numbers["y"].dtype, texts["y"].tolist()) == ([1, 2], np.float32, ["ü"])
    assert (numbers.model, numbers.version, numbers.id) == ("m", 4, "i")
    assert repr(numbers) == "InferResult(m/4: y [2])"


@pytest.mark.parametrize(
    ("datatype", "shape", "raw"),
    [
        ("FP32", [2], b"\0" * 7),
        ("FP32", [3], b"\0" * 8),
        ("BYTES", [1], b"\x05\0\0\0ab"),
        ("BYTES", [1], b"\x05\0"),
        ("FP8", [1], b"\0"),
    ],
)
def test_an_answer_that_makes_no_sense_is_an_error(datatype: str, shape: list[int], raw: bytes) -> None:
    """Contents that do not match their shape and datatype are an error that names the output."""
    with pytest.raises(ClientError, match=f"the answer's output 'y' of {datatype}"):
        read_response(response(datatype, shape, raw))
