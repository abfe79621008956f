"""Faults planted in a right answer, each of which must be found."""

import re
from pathlib import Path

import numpy as np
import pytest
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status

from onnxpress.loadtests.measure.answers import Examiner, Outcome, decode, outcome_of
from onnxpress.loadtests.workload.packages import read_package
from onnxpress.loadtests.workload.payloads import Payload, pool
from onnxpress.protos.inference_pb2 import ModelInferRequest, ModelInferResponse
from tests.loadtests.packages_made import weights


@pytest.fixture(scope="module")
def package(repository: Path):
    return read_package(repository / "churn" / "1")


@pytest.fixture(scope="module")
def payloads(package) -> list[Payload]:
    return pool([package], 3, None, seed=1, size=8)


def answer(payload: Payload) -> ModelInferResponse:
    """The answer of a correct server, computed by hand."""
    request = ModelInferRequest.FromString(payload.body)
    rows = np.frombuffer(request.raw_input_contents[0], np.float32).reshape(request.inputs[0].shape)
    one = (1 / (1 + np.exp(-rows.astype(np.float64) @ weights(1)))).astype(np.float32)
    probabilities = np.concatenate([1 - one, one], axis=1)
    response = ModelInferResponse(model_name="churn", model_version="1")
    response.outputs.add(name="label", datatype="INT64", shape=[len(rows)])
    response.outputs.add(name="probabilities", datatype="FP32", shape=[len(rows), 2])
    response.raw_output_contents.append(probabilities.argmax(axis=1).astype(np.int64).tobytes())
    response.raw_output_contents.append(probabilities.tobytes())
    return response


def test_a_right_answer_is_right_twice(package, payloads):
    """The first time its content is checked, the second time its bytes are compared."""
    examiner = Examiner([package], payloads)
    body = answer(payloads[0]).SerializeToString()
    assert examiner.examine(0, body) == (1, "")
    assert examiner.examine(0, body) == (1, "")


def floats(response: ModelInferResponse) -> np.ndarray:
    return np.frombuffer(response.raw_output_contents[1], np.float32).copy()


def nameless(response):
    response.model_version = ""


def other_model(response):
    response.model_name = "fraud"


def fewer_rows(response):
    response.outputs[0].shape[0] = 2
    response.raw_output_contents[0] = response.raw_output_contents[0][:-8]


def cut(response):
    response.raw_output_contents[1] = response.raw_output_contents[1][:-4]


def no_label(response):
    del response.outputs[0]
    del response.raw_output_contents[0]


def typed(response):
    del response.raw_output_contents[1]


def unnormalised(response):
    response.raw_output_contents[1] = (floats(response) * np.float32(0.999)).tobytes()


def negative(response):
    changed = floats(response)
    changed[:2] = -0.5, 1.5
    response.raw_output_contents[1] = changed.tobytes()


def not_a_number(response):
    changed = floats(response)
    changed[0] = np.nan
    response.raw_output_contents[1] = changed.tobytes()


def strange_label(response):
    response.raw_output_contents[0] = np.array([0, 1, 7], np.int64).tobytes()


def exchanged(response):
    response.raw_output_contents[1] = floats(response).reshape(-1, 2)[:, ::-1].tobytes()


def flipped_label(response):
    labels = np.frombuffer(response.raw_output_contents[0], np.int64).copy()
    labels[0] = 1 - labels[0]
    response.raw_output_contents[0] = labels.tobytes()


@pytest.mark.parametrize(
    ("fault", "says"),
    [
        (nameless, "names version ''"),
        (other_model, "of model 'fraud'"),
        (fewer_rows, r"output label: shape \[2\], expected \[3\]"),
        (cut, "output probabilities: 20 bytes, expected 24"),
        (no_label, "outputs"),
        (typed, "1 raw contents for 2 outputs"),
        (unnormalised, "sum to 1"),
        (negative, "between 0 and 1"),
        (not_a_number, "between 0 and 1"),
        (strange_label, "label '7' is not a class"),
        (exchanged, "probabilities of a golden row"),
        (flipped_label, "label of a golden row"),
    ],
)
def test_a_planted_fault_is_named(package, payloads, fault, says):
    """Payload 0 begins with a golden row, so that even a well-formed wrong answer is found."""
    response = answer(payloads[0])
    fault(response)
    _, problem = Examiner([package], payloads).examine(0, response.SerializeToString())
    assert re.search(says, problem), problem


def test_the_same_rows_answered_with_other_bits_are_found(package, payloads):
    """Payload 1 has no golden row; its answers are compared with the bits of the first."""
    examiner = Examiner([package], payloads)
    response = answer(payloads[1])
    assert examiner.examine(1, response.SerializeToString()) == (1, "")
    changed = floats(response)
    changed[:2] = np.nextafter(changed[:2], np.float32(2))
    response.raw_output_contents[1] = changed.tobytes()
    assert "other bits" in examiner.examine(1, response.SerializeToString())[1]
    response.model_version = "2"
    assert examiner.examine(1, response.SerializeToString()) == (2, "")


def test_bytes_that_are_no_response_are_found(package, payloads):
    """Half a message is no answer."""
    assert Examiner([package], payloads).examine(0, b"\xff\xff\xff")[1] == "the response is not a ModelInferResponse"


def test_text_outputs_are_read_by_their_framing():
    """A BYTES element is a length and so many bytes; anything left over is a fault."""
    raw = b"\x02\0\0\0ja\x04\0\0\0nein"
    assert decode([2], "BYTES", raw)[1].tolist() == ["ja", "nein"]
    assert "expected 2" in decode([2], "BYTES", raw[:-1])[0]
    assert "expected 3" in decode([3], "BYTES", raw)[0]


def details(delay: Duration | None) -> tuple[tuple[str, bytes], ...]:
    status = Status(code=8)
    if delay is not None:
        status.details.add().Pack(RetryInfo(retry_delay=delay))
    return (("grpc-status-details-bin", status.SerializeToString()),)


def test_only_a_refusal_with_a_retry_time_is_polite():
    """RESOURCE_EXHAUSTED needs a RetryInfo with a delay in its status details."""
    assert outcome_of("RESOURCE_EXHAUSTED", details(Duration(nanos=20_000_000))) is Outcome.REFUSED
    assert outcome_of("RESOURCE_EXHAUSTED", details(Duration(seconds=1))) is Outcome.REFUSED
    assert outcome_of("RESOURCE_EXHAUSTED", details(Duration())) is Outcome.RUDE
    assert outcome_of("RESOURCE_EXHAUSTED", details(None)) is Outcome.RUDE
    assert outcome_of("RESOURCE_EXHAUSTED", (("grpc-status-details-bin", b"\xff"),)) is Outcome.RUDE
    assert outcome_of("RESOURCE_EXHAUSTED", None) is Outcome.RUDE
    assert outcome_of("DEADLINE_EXCEEDED", ()) is Outcome.DEADLINE
    assert outcome_of("INTERNAL", ()) is Outcome.ERROR
