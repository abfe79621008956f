"""The demo's clients against a server with planted faults, each of which must be counted."""

import itertools
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest

from examples.churn import demo
from examples.churn.calls import METHOD
from examples.churn.load import FAILED, Records, Work, clients
from onnxpress.protos.inference_pb2 import ModelInferRequest, ModelInferResponse

CALLS_MIN = 20
PATIENCE_S = 60.0
# The clients cycle through two requests; what version 1 says to each.
ANSWERS = {1: [(b"zero",), (b"one",)]}

Answer = Callable[[int, str], ModelInferResponse]


def asked(answer: Answer) -> Records:
    """What one client process records of a server that answers call number n about model m by `answer(n, m)`."""
    numbers = itertools.count()
    enough = threading.Event()

    def infer(payload: bytes, context: grpc.ServicerContext) -> bytes:
        number = next(numbers)
        if number == CALLS_MIN:
            enough.set()
        try:
            return answer(number, ModelInferRequest.FromString(payload).model_name).SerializeToString()
        except LookupError as error:
            context.abort(grpc.StatusCode.NOT_FOUND, str(error))
            raise

    server = grpc.server(ThreadPoolExecutor(4))
    _, service, method = METHOD.split("/")
    handlers = {method: grpc.unary_unary_rpc_method_handler(infer)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        requests = [ModelInferRequest(model_name=name).SerializeToString() for name in ("zero", "one")]
        with clients(Work(f"127.0.0.1:{port}", requests, 1, ANSWERS), 1) as load:
            assert enough.wait(PATIENCE_S)
        return load.records
    finally:
        server.stop(None).wait()


def echo(number: int, name: str) -> ModelInferResponse:
    return ModelInferResponse(model_version="1", raw_output_contents=[name.encode()])


def test_right_answers_are_right() -> None:
    """Every call is recorded with its version, later than it was sent, and equal to the offline answer."""
    records = asked(echo)
    assert len(records.sent) >= CALLS_MIN
    assert records.right.all()
    assert (records.version == 1).all()
    assert (records.done > records.sent).all()
    assert not records.errors


@pytest.mark.parametrize("kind", ["another request's", "another version's"])
def test_a_wrong_answer_is_seen(kind: str) -> None:
    """An answer to a neighbour's request, or of a version that the offline answers do not know, is not right."""
    swapped = {"zero": b"one", "one": b"zero"}

    def answer(number: int, name: str) -> ModelInferResponse:
        if number != CALLS_MIN // 2:
            return echo(number, name)
        if kind == "another request's":
            return ModelInferResponse(model_version="1", raw_output_contents=[swapped[name]])
        return ModelInferResponse(model_version="3", raw_output_contents=[name.encode()])

    assert (~asked(answer).right).sum() == 1


def test_a_failed_call_is_counted_with_its_error() -> None:
    """A refused call has no version and is no answer; its status and message are kept."""

    def answer(number: int, name: str) -> ModelInferResponse:
        if number == CALLS_MIN // 2:
            raise LookupError("gone")
        return echo(number, name)

    records = asked(answer)
    assert (records.version == FAILED).sum() == 1
    assert records.errors == {"NOT_FOUND: gone": 1}


def test_the_demo_does_not_empty_a_folder_of_other_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder with anything else in it is refused with one line, and left as it was."""
    precious = tmp_path / "precious.txt"
    precious.write_text("mine")
    assert demo.main(["--folder", str(tmp_path)]) == 1
    assert "not from this demo" in capsys.readouterr().err
    assert precious.read_text() == "mine"
