"""Binding calls to lanes with the real codec: shares by key, versions with different signatures, contracts."""

from collections import Counter
from random import Random
from typing import Any

import pytest

from onnxpress.protos.inference_pb2 import ModelInferRequest
from onnxpress.server.errors import InvalidRequestError, UnknownModelError
from onnxpress.server.serving.binding import Binder
from onnxpress.server.serving.contract import Column, Contract
from onnxpress.server.serving.front import CALL, Event
from onnxpress.server.serving.routing import CANARY, NAMED, Route, Routes, Share, Target
from onnxpress.server.serving.tensors import Signature, TensorSpec, interned
from onnxpress.server.wire.codec import Codec

INPUT = TensorSpec("input", "FP32", (-1, 3))
SAME = interned(Signature((INPUT,), (TensorSpec("prediction", "FP32", (-1, 1)),)))
OTHER = interned(Signature((INPUT,), (TensorSpec("score", "FP32", (-1, 1)),)))
FRONT: Any = None
CALLS = 400


class Version:
    """A fake lane with the attributes that a binder reads."""

    def __init__(self, version: str, signature: Signature, contract: Contract) -> None:
        self.version, self.signature, self.contract = version, signature, contract


def lane(version: str, signature: Signature = SAME, contract: Contract | None = None) -> Any:
    return Version(version, signature, contract or Contract())


def routes(one: Any, two: Any, below: int) -> Routes:
    shares = (Share(below, Target(two, CANARY)),) if below else ()
    return Routes({"m": Route("m", 1, one, {"1": one, "2": two}, {}, shares=shares, salt=b"m/1")})


def event(number: int, *, key: str = "", parameter: str = "", version: str = "") -> Event:
    message = ModelInferRequest(model_name="m", model_version=version)
    message.inputs.add(name="input", datatype="FP32", shape=[1, 3])
    message.raw_input_contents.append(number.to_bytes(4, "little") * 3)
    if parameter:
        message.parameters["route_key"].string_param = parameter
    metadata = (("route-key", key),) if key else ()
    return CALL, number, 0, message.SerializeToString(), None, (metadata, "peer", None)


def keyed(count: int = CALLS) -> list[Event]:
    return [event(number, key=f"cust-{number}") for number in range(count)]


def versions(binder: Binder, events: list[Event], known: Routes, draws: list[float] | None = None) -> dict[int, str]:
    """The version that each call is bound to; asserts that uniform batches give the same as single requests."""
    draws = [] if draws is None else draws
    bound, refused = binder.requests(FRONT, events, known, 0, draws)
    assert not refused
    one_by_one = {request.call: found.version for found, requests in bound.items() for request in requests}
    together = binder.together(FRONT, events, known, 0, draws)
    if together is not None:
        alike = {call: group.lane.version for group in together for call in group.uniform.calls}
        assert alike == one_by_one
        calls = [[events[number][1] for number in group.events] for group in together]
        assert calls == [[*group.uniform.calls] for group in together]
        assert len(together) <= 2, "more groups than targets"
    return one_by_one


@pytest.mark.parametrize("second", [SAME, OTHER], ids=["same signature", "own signature"])
def test_a_route_key_always_gets_the_same_version(second: Signature) -> None:
    """With templates and uniform batches a tenth of the keys goes to version 2, the same keys every time."""
    binder, known = Binder(Codec(1 << 20), Random(1).random), routes(lane("1"), lane("2", second), 1_000)
    first = versions(binder, keyed(), known)
    share = Counter(first.values())["2"]
    assert abs(share - CALLS / 10) < 4 * (CALLS * 0.09) ** 0.5
    for _ in range(3):
        assert versions(binder, keyed(), known) == first
    shuffled = keyed()
    Random(2).shuffle(shuffled)
    assert versions(binder, shuffled, known) == first


def test_the_route_key_may_be_a_parameter() -> None:
    """A key in the request's parameters has the effect of one in the metadata, which takes precedence."""
    binder, known = Binder(Codec(1 << 20), Random(1).random), routes(lane("1"), lane("2"), 5_000)
    by_metadata = versions(binder, keyed(), known)
    parameters = [event(number, parameter=f"cust-{number}") for number in range(CALLS)]
    assert versions(binder, parameters, known) == by_metadata
    both = [event(number, key=f"cust-{number}", parameter="another") for number in range(CALLS)]
    assert versions(binder, both, known) == by_metadata


def test_calls_without_a_key_are_drawn_once() -> None:
    """A call that is bound again, because routes changed or its group is queued, keeps its random draw."""
    binder, known = Binder(Codec(1 << 20), Random(1).random), routes(lane("1"), lane("2"), 1_000)
    anonymous = [event(number) for number in range(CALLS)]
    draws: list[float] = []
    first = versions(binder, anonymous, known, draws)
    assert len(draws) == CALLS
    assert abs(Counter(first.values())["2"] - CALLS / 10) < 4 * (CALLS * 0.09) ** 0.5
    assert versions(binder, anonymous, known, draws) == first


def test_a_route_with_one_target_draws_nothing() -> None:
    """Calls to a route with a single target need no random draw."""

    def draw() -> float:
        raise AssertionError("drawn for a route with one target")

    binder, known = Binder(Codec(1 << 20), draw), routes(lane("1"), lane("2"), 0)
    assert set(versions(binder, keyed(), known).values()) == {"1"}


def test_each_version_checks_its_own_signature() -> None:
    """Over several swaps each request is checked against the signature of the version that answers it."""
    one, two = lane("1"), lane("2", OTHER)
    binder = Binder(Codec(1 << 20), Random(1).random)
    for live in (one, two, one, two):
        known = Routes({"m": Route("m", 1, live, {live.version: live}, {})})
        for _ in range(2):
            bound, refused = binder.requests(FRONT, keyed(8), known, 0, [])
            assert not refused
            assert {request.parsed.signature for request in bound[live]} == {live.signature}
        together = binder.together(FRONT, keyed(8), known, 0, [])
        assert together is not None
        assert together[0].uniform.signature is live.signature


def test_a_named_version_is_used() -> None:
    """A call that names a version is bound to it for any shares, marked as named, without a lease on the route."""
    binder, known = Binder(Codec(1 << 20), Random(1).random), routes(lane("1"), lane("2"), 5_000)
    events = [event(number, version="2") for number in range(8)]
    assert set(versions(binder, events, known).values()) == {"2"}
    together = binder.together(FRONT, events, known, 0, [])
    assert together is not None
    assert [(one.uniform.route, one.uniform.variant) for one in together] == [(None, NAMED)]


def test_each_version_checks_its_own_contract() -> None:
    """A value that one version refuses is accepted by the other, although both share the header."""
    column = Column("a", INPUT, 0, 0, ("0",))
    strict, loose = lane("1", SAME, Contract((column,))), lane("2")
    binder, known = Binder(Codec(1 << 20), Random(1).random), routes(strict, loose, 0)
    for _ in range(2):
        for version, refusals in (("1", 1), ("2", 0)):
            events = [event(0, version=version), event(7, version=version)]
            _, refused = binder.requests(FRONT, events, known, 0, [])
            assert [type(one.error) for one in refused] == [InvalidRequestError] * refusals
    assert binder.together(FRONT, [event(0), event(7)], known, 0, []) is None


def test_a_removed_model_is_unknown() -> None:
    """Calls to a removed model are refused as unknown although their header was learned."""
    binder = Binder(Codec(1 << 20), Random(1).random)
    versions(binder, keyed(2), routes(lane("1"), lane("2"), 0))
    assert binder.together(FRONT, keyed(2), Routes(), 0, []) is None
    _, refused = binder.requests(FRONT, keyed(2), Routes(), 0, [])
    assert [type(one.error) for one in refused] == [UnknownModelError] * 2
