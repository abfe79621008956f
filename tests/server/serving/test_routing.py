"""Who answers which call: places, shares and named versions, without a server."""

from random import Random
from types import SimpleNamespace
from typing import Any

import pytest

from onnxpress.server.errors import InvalidRequestError, NotReadyError, UnknownVersionError
from onnxpress.server.serving.routing import CANARY, CHAMPION, NAMED, PLACES, Route, Share, Target, place

ONE, TWO = SimpleNamespace(version="1"), SimpleNamespace(version="2")
KEYS = [f"cust-{number:07}" for number in range(1, 4_001)]


def route(below: int = 0, live: Any = ONE, salt: bytes = b"churn/7") -> Route:
    """Version 1 is live, and version 2 has the places below `below`."""
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
def test_places_are_what_others_compute(salt: bytes, key: bytes, expected: int) -> None:
    """The published vectors: whoever analyses a rollout elsewhere finds the same cohorts."""
    assert place(salt, key) == expected


def test_places_are_uniform() -> None:
    """A tenth of the keys lies below a tenth of the places, and each tenth holds its part (4 standard deviations)."""
    counts = [0] * 10
    for key in KEYS:
        counts[place(b"churn/7", key.encode()) * 10 // PLACES] += 1
    assert all(abs(count - 400) < 4 * (4_000 * 0.1 * 0.9) ** 0.5 for count in counts)


def test_a_weight_that_grows_moves_nobody_away() -> None:
    """Who is on the canary at 10 % is there at 50 % and at 100 % too."""
    before: set[str] = set()
    for below in (1_000, 5_000, PLACES):
        on_canary = {key for key in KEYS if route(below).choose(key, 0.999).variant == CANARY}
        assert before <= on_canary
        before = on_canary
    assert before == set(KEYS)


def test_two_rollouts_share_no_cohort() -> None:
    """Of a tenth of the keys in each of two rollouts a hundredth is in both: the salt mixes."""
    both = [
        key for key in KEYS if all(route(1_000, salt=salt).choose(key, 0).variant == CANARY for salt in (b"a", b"b"))
    ]
    assert abs(len(both) - 40) < 4 * 40**0.5


def test_calls_without_a_key_are_drawn() -> None:
    """The draw decides for them and for nobody else."""
    shared = route(1_000)
    assert [shared.choose("", draw).variant for draw in (0.0, 0.0999, 0.1, 0.9999)] == [CANARY] * 2 + [CHAMPION] * 2
    assert {shared.choose("cust-0000001", draw).variant for draw in (0.0, 0.9999)} == {CANARY}
    random = Random(1)
    drawn = sum(shared.choose("", random.random()).variant == CANARY for _ in range(4_000))
    assert abs(drawn - 400) < 4 * 360**0.5


def test_one_target_is_known_without_choosing() -> None:
    """The usual route says who answers without a look at any call."""
    assert route().only == Target(ONE, CHAMPION)  # type: ignore[arg-type]
    assert route(1_000).only is None
    assert route(live=None).only is None


def test_named_versions_are_no_part_of_a_rollout() -> None:
    """Who names the version gets it, and is told apart from those whom the rollout sent there."""
    assert route(1_000).named("2") == Target(TWO, NAMED)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("version", "error"),
    [("3", NotReadyError), ("4", UnknownVersionError), ("abc", InvalidRequestError), ("01", InvalidRequestError)],
)
def test_versions_that_do_not_answer(version: str, error: type[Exception]) -> None:
    """Not ready, unknown, and no number at all are three things."""
    with pytest.raises(error):
        route().lane(version)


def test_nothing_is_live() -> None:
    """A call that names no version is told why there is none."""
    with pytest.raises(NotReadyError, match="version 3 is loading"):
        route(live=None).choose("", 0.5)
