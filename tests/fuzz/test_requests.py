"""Arbitrary bytes at the data plane's door: INVALID_ARGUMENT or a right answer, never INTERNAL, never a crash."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from onnxpress.packages.read import read_package
from onnxpress.protos.inference_pb2 import ModelInferRequest, ModelInferResponse
from onnxpress.server.errors import InvalidRequestError, TooLargeError, UnknownModelError, UnknownVersionError
from onnxpress.server.serving.admission import Admission
from onnxpress.server.serving.pump import Pump
from onnxpress.server.serving.routing import Route
from onnxpress.server.serving.scheduler import Scheduler
from onnxpress.server.telemetry.metrics import Metrics
from onnxpress.server.versions.loader import Loader
from onnxpress.server.wire.codec import Codec
from tests.answers import churn_rows, number_rows
from tests.inference_calls import decode, request
from tests.model_repository import Models

POLITE = (InvalidRequestError, TooLargeError, UnknownModelError, UnknownVersionError)
MESSAGE_MAX = 1 << 16
SUPPRESS = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]


class Door:
    """A front without a network: events in, the outcome of each call out."""

    def __init__(self, models: Models) -> None:
        admission = Admission(1, 1e9, 10**9, 10**9)
        scheduler = Scheduler(1, admission)
        for name in ("numbers", "churn"):
            lane = Loader(100, 64).load(read_package(models.root / name / "1", name, 1, 64))
            scheduler.replace_route(Route(name, 1, lane, {"1": lane}, {}))
        self.scheduler = scheduler
        self.pump = Pump(Codec(MESSAGE_MAX), scheduler, Metrics(), admission)
        self.outcomes: dict[int, bytes | BaseException] = {}

    def answer(self, call: int, payload: bytes) -> bool:
        self.outcomes[call] = payload
        return True

    def fail(self, call: int, error: BaseException) -> str:
        self.outcomes[call] = error
        return type(error).__name__

    def ask(self, payloads: list[bytes]) -> list[bytes | BaseException]:
        """The outcome of each payload, all of them handed over at once."""
        self.outcomes = {}
        details: Any = ((), "ipv4:127.0.0.1:1", None)
        self.pump.handle(self, [(0, call, 0, payload, None, details) for call, payload in enumerate(payloads)])
        assert self.scheduler.wait_idle(0)
        return [self.outcomes[call] for call in range(len(payloads))]


@pytest.fixture(scope="module")
def door(models: Models) -> Door:
    return Door(models)


def honest(model: str, rows: int, seed: int, id_: str) -> ModelInferRequest:
    feeds = {"input": number_rows(rows, seed)} if model == "numbers" else churn_rows(rows, seed)
    return request(feeds, model=model, id_=id_)


HONEST = st.builds(
    honest, st.sampled_from(["numbers", "churn"]), st.integers(1, 4), st.integers(0, 99), st.text(max_size=3)
)


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """An honest request with some bytes changed, cut or doubled."""
    payload = bytearray(draw(HONEST).SerializeToString())
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, max(0, len(payload) - 1)))
        match draw(st.integers(0, 3)):
            case 0:
                payload[at : at + 1] = draw(st.binary(min_size=1, max_size=1))
            case 1:
                del payload[at : at + draw(st.integers(1, 40))]
            case 2:
                payload[at:at] = draw(st.binary(max_size=12))
            case _:
                payload += payload[at:]
    return bytes(payload)


def check(door: Door, models: Models, good: list[ModelInferRequest], bad: list[bytes]) -> None:
    """`bad` outcomes are polite or right; `good` ones, in the same hands, are right to the bit."""
    outcomes = door.ask([*bad, *(message.SerializeToString() for message in good)])
    for payload, outcome in zip(bad, outcomes, strict=False):
        if isinstance(outcome, bytes):
            check_answer(models, ModelInferRequest.FromString(payload), outcome)
        else:
            assert isinstance(outcome, POLITE), (payload, outcome)
    for message, outcome in zip(good, outcomes[len(bad) :], strict=True):
        assert isinstance(outcome, bytes), outcome
        check_answer(models, message, outcome)


def check_answer(models: Models, message: ModelInferRequest, answer: bytes) -> None:
    response = ModelInferResponse.FromString(answer)
    assert (response.model_name, response.model_version, response.id) == (message.model_name, "1", message.id)
    expected = models.answers(f"{message.model_name}/1")(_feeds(message))
    answered = decode(response)
    assert answered
    for name, array in answered.items():
        assert array.tobytes() == expected[name].tobytes() or array.tolist() == expected[name].tolist(), name


def _feeds(message: ModelInferRequest) -> dict[str, Any]:
    """The arrays of an honest request, read back from it."""
    as_answer = ModelInferResponse(raw_output_contents=message.raw_input_contents)
    for tensor in message.inputs:
        as_answer.outputs.add(name=tensor.name, datatype=tensor.datatype, shape=tensor.shape)
    return decode(as_answer)


@settings(max_examples=300, deadline=None, suppress_health_check=SUPPRESS)
@given(good=st.lists(HONEST, max_size=3), bad=st.lists(st.one_of(damaged(), st.binary(max_size=64)), max_size=4))
def test_damaged_requests_hurt_nobody(
    door: Door, models: Models, good: list[ModelInferRequest], bad: list[bytes]
) -> None:
    """Damaged bytes beside honest requests: each bad one is told politely, each good one is answered right."""
    check(door, models, good, bad)


@pytest.mark.long
@settings(max_examples=20_000, deadline=None, suppress_health_check=SUPPRESS)
@given(good=st.lists(HONEST, max_size=3), bad=st.lists(st.one_of(damaged(), st.binary(max_size=64)), max_size=4))
def test_damaged_requests_hurt_nobody_for_long(
    door: Door, models: Models, good: list[ModelInferRequest], bad: list[bytes]
) -> None:
    """The same with many more examples."""
    check(door, models, good, bad)


def test_a_message_over_the_limit_is_refused_unread(door: Door) -> None:
    """The size alone refuses it, whatever is inside."""
    (outcome,) = door.ask([b"\xff" * (MESSAGE_MAX + 1)])
    assert isinstance(outcome, TooLargeError)
