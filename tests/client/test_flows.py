"""The calls of a request while the model's inputs change; the test answers them without a server."""

import json
from time import monotonic
from typing import Any

import grpc
import pytest

from onnxpress.client import flows
from onnxpress.client.connection import Call
from onnxpress.client.errors import CallError, ClientError, InvalidRequestError, NotFoundError, RowsError
from onnxpress.client.results import InferResult
from onnxpress.client.signature import Signatures
from onnxpress.protos import inference_pb2 as pb

INVALID = InvalidRequestError(grpc.StatusCode.INVALID_ARGUMENT, "unexpected input")
GONE = NotFoundError(grpc.StatusCode.NOT_FOUND, "no such version")


class Server:
    """One live version at a time, each with its own columns; a matrix where `matrix`, else one input per column."""

    def __init__(self, versions: dict[str, tuple[str, ...]], *, matrix: bool) -> None:
        self.versions, self.matrix = versions, matrix
        self.live = min(versions)
        self.calls: list[str] = []
        self.swaps: list[str] = []  # versions that go live just before each ModelInfer, in turn
        self.unloaded: set[str] = set()
        self.missing = 0  # questions about a numbered version that a replica without it answers
        self.configs = True

    def answer(self, call: Call) -> Any:
        request = call.request
        asked = request.model_version if call.method == "ModelInfer" else request.version
        self.calls.append(f"{call.method} {asked}".strip())
        if asked in self.unloaded:
            raise GONE
        if asked and self.missing:
            self.missing -= 1
            raise GONE
        if call.method == "ModelInfer" and self.swaps:
            self.live = self.swaps.pop(0)
        version = asked or self.live
        columns = self.versions[version]
        if call.method == "ModelMetadata":
            names = ["input"] if self.matrix else columns
            shape = [-1, len(columns)] if self.matrix else [-1, 1]
            tensor = pb.ModelMetadataResponse.TensorMetadata
            return pb.ModelMetadataResponse(inputs=[tensor(name=name, datatype="FP32", shape=shape) for name in names])
        if call.method == "ModelConfig":
            if not self.configs:
                raise CallError(grpc.StatusCode.UNIMPLEMENTED, "no")
            config = pb.ModelConfig()
            if self.matrix:
                config.parameters["features"].string_value = json.dumps(columns)
                config.parameters["version"].string_value = version
            return pb.ModelConfigResponse(config=config)
        if not self.matrix and [one.name for one in request.inputs] != list(columns):
            raise INVALID
        # The answer is the row itself, so that a test sees which value went where.
        response = pb.ModelInferResponse(model_name="m", model_version=version)
        raw = b"".join(request.raw_input_contents)
        response.outputs.add(name="row", datatype="FP32", shape=[len(raw) // 4])
        response.raw_output_contents.append(raw)
        return response

    def run(self, known: Signatures, row: dict[str, float], version: int | None = None) -> InferResult:
        asked = flows.order(
            "m", [row], version,
            outputs=(), request_id="", priority="", route_key="", timeout=60, metadata=(),
        )  # fmt: skip
        flow = flows.infer(known, asked)
        call = next(flow)
        try:
            while True:
                assert 0 < call.timeout_s <= 60
                try:
                    response = self.answer(call)
                except CallError as error:
                    call = flow.throw(error)
                else:
                    call = flow.send(response)
        except StopIteration as done:
            return done.value


def test_columns_are_asked_for_once() -> None:
    """The second request is one call."""
    server, known = Server({"1": ("a", "b")}, matrix=False), Signatures()
    for _ in range(2):
        assert server.run(known, {"b": 2, "a": 1})["row"].tolist() == [1, 2]
    assert server.calls == ["ModelMetadata", "ModelInfer", "ModelInfer"]


def test_other_columns_after_a_swap_are_learned() -> None:
    """Rows of the new version do not fit what is known, rows of the old one are refused: both ask anew, once."""
    server, known = Server({"1": ("a", "b"), "2": ("a", "c")}, matrix=False), Signatures()
    server.run(known, {"a": 1, "b": 2})
    server.live = "2"
    assert server.run(known, {"a": 1, "c": 3})["row"].tolist() == [1, 3]
    assert server.calls[2:] == ["ModelMetadata", "ModelInfer"]
    server.live = "1"
    with pytest.raises(RowsError, match="missing column 'b' and unexpected column 'c'"):
        server.run(known, {"a": 1, "c": 3})
    assert server.calls[4:] == ["ModelInfer", "ModelMetadata"]


def test_an_invalid_request_is_not_repeated() -> None:
    """INVALID_ARGUMENT is raised when fetching the inputs again shows no change."""
    server, known = Server({"1": ("a", "b")}, matrix=False), Signatures()
    server.run(known, {"a": 1, "b": 2})
    server.calls.clear()
    answer = server.answer

    def stubborn(call: Call) -> Any:
        server.versions["1"] = ("a", "b") if call.method == "ModelMetadata" else ("b", "a")
        return answer(call)

    server.answer = stubborn  # type: ignore[method-assign]
    with pytest.raises(InvalidRequestError, match="unexpected input"):
        server.run(known, {"a": 1, "b": 2})
    assert server.calls == ["ModelInfer", "ModelMetadata"]


def test_a_matrix_in_another_order_is_sent_again() -> None:
    """The answer of a version that orders its columns differently does not count, since it was to another row."""
    server, known = Server({"1": ("a", "b"), "2": ("b", "a"), "3": ("b", "a")}, matrix=True), Signatures()
    row = {"a": 1.0, "b": 2.0}
    assert server.run(known, row)["row"].tolist() == [1, 2]
    assert server.calls == ["ModelMetadata", "ModelConfig", "ModelInfer"]
    server.calls.clear()
    server.live = "2"
    result = server.run(known, row)
    assert (result.version, result["row"].tolist()) == (2, [2, 1])
    assert server.calls == ["ModelInfer", "ModelConfig 2", "ModelInfer"]
    server.live = "3"  # the same order: nothing is sent twice
    assert server.run(known, row)["row"].tolist() == [2, 1]
    assert server.calls[3:] == ["ModelInfer", "ModelConfig 3"]
    server.calls.clear()
    server.live = "2"  # known
    assert server.run(known, row)["row"].tolist() == [2, 1]
    assert server.run(known, row, 1)["row"].tolist() == [1, 2]
    assert server.calls == ["ModelInfer", "ModelMetadata 1", "ModelConfig 1", "ModelInfer 1"]


def test_a_matrix_of_another_width_is_learned() -> None:
    """A version with one column more is found out by the names, although its metadata may be of the version before."""
    server, known = Server({"1": ("a", "b"), "2": ("c", "a", "b")}, matrix=True), Signatures()
    server.run(known, {"a": 1, "b": 2})
    server.live = "2"
    assert server.run(known, {"a": 1, "b": 2, "c": 3})["row"].tolist() == [3, 1, 2]


def test_a_model_that_keeps_changing_is_an_error() -> None:
    """A request is sent five times at most."""
    server, known = Server({"1": ("a", "b"), "2": ("b", "a")}, matrix=True), Signatures()
    server.run(known, {"a": 1, "b": 2})
    server.swaps = ["2", "1", "2", "1", "2", "1"]
    with pytest.raises(ClientError, match="changed 5 times during one call"):
        server.run(known, {"a": 1, "b": 2})
    assert server.swaps == ["1"]


def test_a_replica_that_lacks_the_version_is_not_the_last_word() -> None:
    """The call for the column order is repeated, since another replica may not have loaded that version."""
    server, known = Server({"1": ("a", "b"), "2": ("b", "a")}, matrix=True), Signatures()
    server.run(known, {"a": 1, "b": 2})
    server.live = "2"
    server.missing = 4
    assert server.run(known, {"a": 1, "b": 2})["row"].tolist() == [2, 1]
    assert server.calls[3:] == ["ModelInfer", *["ModelConfig 2"] * 5, "ModelInfer"]


def test_a_version_that_is_gone_before_it_is_described_is_asked_again() -> None:
    """The answer came from a version that was unloaded meanwhile: its order is not known, so the row is sent again."""
    server, known = Server({"1": ("a", "b"), "2": ("b", "a"), "3": ("a", "b")}, matrix=True), Signatures()
    server.run(known, {"a": 1, "b": 2})
    server.unloaded = {"2"}
    server.swaps = ["2", "3"]
    result = server.run(known, {"a": 1, "b": 2})
    assert (result.version, result["row"].tolist()) == (3, [1, 2])


def test_another_server_of_the_protocol_may_have_no_configuration() -> None:
    """A matrix then has no names, and arrays are what it takes."""
    server, known = Server({"1": ("a", "b")}, matrix=True), Signatures()
    server.configs = False
    with pytest.raises(RowsError, match="does not name its columns"):
        server.run(known, {"a": 1, "b": 2})


def test_the_deadline_is_shared() -> None:
    """Each call of a request has the time that the calls before it have left."""
    asked = flows.order("m", [], None, outputs=(), request_id="", priority="", route_key="", timeout=5, metadata=())
    assert 4 < asked.call("ModelInfer", None).timeout_s <= 5
    late = flows.Order("m", [], "", (), "", monotonic() - 1, ())
    assert late.call("ModelInfer", None).timeout_s == 0


def test_a_deploy_makes_the_client_ask_again() -> None:
    """After a deploy or rollback the inputs are fetched again."""
    server, known = Server({"1": ("a",)}, matrix=False), Signatures()
    server.run(known, {"a": 1})
    flow = flows.deploy(known, "m", 2, "", None, 1.0)
    assert next(flow).request.version == 2
    assert known.get("m", "") is not None
    with pytest.raises(StopIteration):
        flow.send(flows.admin_pb2.DeployResponse(model="m", version=2))
    assert known.get("m", "") is None
