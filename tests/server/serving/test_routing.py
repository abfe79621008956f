"""Which lane answers a call: places of route keys, shares and named versions."""

from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from onnxpress.server.errors import InvalidRequestError, NotReadyError, UnknownVersionError
from onnxpress.server.serving.routing import CANARY, CHAMPION, NAMED, PLACES, Route, Share, Target, place

ONE, TWO = SimpleNamespace(version="1"), SimpleNamespace(version="2")
KEYS = [f"cust-{number:07}" for number in range(1, 4_001)]


def route(below: int = 0, live: Any = ONE, salt: bytes = b"churn/7") -> Route:
    """A route with version 1 live and version 2 as the canary of the places below `below`."""
    lanes: Any = {"1": ONE, "2": TWO}
    canary: Any = Target(TWO, CANARY)  # type: ignore[arg-type]
    return Route("churn", 1, live, lanes, {"3": "loading"}, shares=(Share(below, canary),) if below else (), salt=salt)


@pytest.mark.parametrize(
    ("salt", "key", "expected"),
    [
        (b"churn/7", b"cust-0000001", 184),
        (b"churn/7", b"cust-0000002", 843),
        (b"churn/8", b"cust-0000001", 9191),
        (b"churn/7", b"", 9771),
    ],
)
def test_places_match_the_published_vectors(salt: bytes, key: bytes, expected: int) -> None:
    """Places equal the published test vectors, so that cohorts can be recomputed outside the server."""
    assert place(salt, key) == expected


def test_places_are_uniform() -> None:
    """Each tenth of the places holds a tenth of the keys within 4 standard deviations."""
    counts = [0] * 10
    for key in KEYS:
        counts[place(b"churn/7", key.encode()) * 10 // PLACES] += 1
    assert all(abs(count - 400) < 4 * (4_000 * 0.1 * 0.9) ** 0.5 for count in counts)


def test_a_growing_share_keeps_its_keys() -> None:
    """Keys that are on the canary at 10 % are also there at 50 % and 100 %."""
    before: set[str] = set()
    for below in (1_000, 5_000, PLACES):
        on_canary = {key for key in KEYS if route(below).choose(key, 0.999).variant == CANARY}
        assert before <= on_canary
        before = on_canary
    assert before == set(KEYS)


def test_rollouts_have_independent_cohorts() -> None:
    """With a share of a tenth in each of two rollouts a hundredth of the keys is in both."""
    both = [
        key for key in KEYS if all(route(1_000, salt=salt).choose(key, 0).variant == CANARY for salt in (b"a", b"b"))
    ]
    assert abs(len(both) - 40) < 4 * 40**0.5


def test_calls_without_a_key_are_drawn() -> None:
    """The random draw decides for calls without a key, and only for those."""
    shared = route(1_000)
    assert [shared.choose("", draw).variant for draw in (0.0, 0.0999, 0.1, 0.9999)] == [CANARY] * 2 + [CHAMPION] * 2
    assert {shared.choose("cust-0000001", draw).variant for draw in (0.0, 0.9999)} == {CANARY}
    random = Random(1)
    drawn = sum(shared.choose("", random.random()).variant == CANARY for _ in range(4_000))
    assert abs(drawn - 400) < 4 * 360**0.5


def test_a_single_target_is_known_in_advance() -> None:
    """`only` is the live lane if there are no shares, and None if there are shares or no live version."""
    assert route().only == Target(ONE, CHAMPION)  # type: ignore[arg-type]
    assert route(1_000).only is None
    assert route(live=None).only is None


def test_named_versions_are_no_part_of_a_rollout() -> None:
    """A call that names a version gets it with the variant `named`, for any shares."""
    assert route(1_000).named("2") == Target(TWO, NAMED)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("version", "error"),
    [("3", NotReadyError), ("4", UnknownVersionError), ("abc", InvalidRequestError), ("01", InvalidRequestError)],
)
def test_versions_that_do_not_answer(version: str, error: type[Exception]) -> None:
    """A version that is not ready, unknown, or not a version number raises an error of its own class."""
    with pytest.raises(error):
        route().lane(version)


def test_no_live_version() -> None:
    """If no version is live, the error names the state of those that exist."""
    with pytest.raises(NotReadyError, match="version 3 is loading"):
        route(live=None).choose("", 0.5)
