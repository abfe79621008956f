"""Two versions that share the calls by key: each way in chooses the same version for a key, and answers exactly."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from onnxpress.protos.inference_pb2 import ModelInferRequest, ModelInferResponse
from onnxpress.server.serving.routing import place
from tests.answers import number_rows
from tests.conftest import FRONTS
from tests.e2e.planted_server import BELOW, SALT
from tests.inference_calls import DEADLINE_S, connected, decode, request, same
from tests.model_repository import Models, deploy_on_disk
from tests.server_process import ServerProcess

PLANTED = (sys.executable, "-m", "tests.e2e.planted_server", "shares")
KEYS = [f"cust-{number:07}" for number in range(300)]
STREAMS = 30
# Fewer than a connection may have: the front grpcio resets what goes beyond it before the client knows the limit.
TOGETHER = 100
LIVE, CANARY = "2", "1"


@pytest.fixture(scope="module", params=FRONTS)
def stub(request: pytest.FixtureRequest, models: Models, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    repository: Path = models.copy(tmp_path_factory.mktemp("shares"), "numbers/1", "numbers/2")
    deploy_on_disk(repository, "numbers", live=int(LIVE), previous=int(CANARY))
    flags = ("--latency-target-ms", "60000")
    with ServerProcess(repository, *flags, front=request.param, command=PLANTED) as server:
        with connected(server.ready().grpc) as connection:
            yield connection
        assert server.stop() == 0, server.log


def message(number: int, key: str = "", version: str = "") -> ModelInferRequest:
    one = request({"input": number_rows(1, number)}, version=version)
    if key:
        one.parameters["route_key"].string_param = key
    return one


def answered(stub: Any, messages: list[ModelInferRequest], keys: list[str] | None = None) -> list[ModelInferResponse]:
    """The answers to calls that are made `TOGETHER` at once, each with its key of `keys` in the metadata."""
    answers: list[ModelInferResponse] = []
    for start in range(0, len(messages), TOGETHER):
        calls = [
            stub.ModelInfer.future(
                messages[number], timeout=DEADLINE_S, metadata=(("route-key", keys[number]),) if keys else ()
            )
            for number in range(start, min(start + TOGETHER, len(messages)))
        ]
        answers += [call.result() for call in calls]
    return answers


def check(models: Models, number: int, response: ModelInferResponse) -> str:
    """The version that the answer names, and which gave it."""
    assert response.model_version in (LIVE, CANARY)
    expected = models.answers(f"numbers/{response.model_version}")({"input": number_rows(1, number)})
    assert same(decode(response), expected), number
    return response.model_version


def test_same_key_same_version(stub: Any, models: Models) -> None:
    """300 calls, three times: each key has the version that its place says, and a tenth has the canary."""
    expected = [CANARY if place(SALT, key.encode()) < BELOW else LIVE for key in KEYS]
    for _ in range(3):
        answers = answered(stub, [message(number) for number in range(len(KEYS))], KEYS)
        assert [check(models, number, answer) for number, answer in enumerate(answers)] == expected
    share = expected.count(CANARY)
    assert abs(share - len(KEYS) / 10) < 4 * (len(KEYS) * 0.09) ** 0.5


def test_streams_have_the_same_versions(stub: Any, models: Models) -> None:
    """A stream's metadata is the key of all its requests."""
    for key in KEYS[:STREAMS]:
        messages = [message(number) for number in range(3)]
        answers = list(stub.ModelStreamInfer(iter(messages), timeout=DEADLINE_S, metadata=(("route-key", key),)))
        versions = {check(models, number, answer.infer_response) for number, answer in enumerate(answers)}
        assert versions == {CANARY if place(SALT, key.encode()) < BELOW else LIVE}, key


def test_the_parameter_is_a_key_too(stub: Any, models: Models) -> None:
    """The key in the request, in calls and in one stream with a key for each request."""
    expected = [CANARY if place(SALT, key.encode()) < BELOW else LIVE for key in KEYS]
    messages = [message(number, key) for number, key in enumerate(KEYS)]
    assert [check(models, number, answer) for number, answer in enumerate(answered(stub, messages))] == expected
    answers = stub.ModelStreamInfer(iter(messages), timeout=DEADLINE_S)
    assert [check(models, number, answer.infer_response) for number, answer in enumerate(answers)] == expected


def test_without_a_key_calls_are_drawn(stub: Any, models: Models) -> None:
    """About a tenth of 600 calls without a key has the canary (4 standard deviations)."""
    answers = answered(stub, [message(number) for number in range(600)])
    versions = [check(models, number, answer) for number, answer in enumerate(answers)]
    assert abs(versions.count(CANARY) - 60) < 4 * 54**0.5


def test_a_named_version_is_no_part_of_it(stub: Any, models: Models) -> None:
    """Who names a version gets it, whatever the key says."""
    answers = answered(stub, [message(number, version=LIVE) for number in range(60)], KEYS[:60])
    assert {check(models, number, answer) for number, answer in enumerate(answers)} == {LIVE}
