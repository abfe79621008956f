"""The states of a version and the legal transitions. Pure: no I/O, no clock."""

from enum import Enum


class State(Enum):
    """Published after the state is reached, withdrawn before it is left."""

    AVAILABLE = "available"  # on disk, not in memory
    LOADING = "loading"  # being read, checked and warmed up; answers no request yet
    READY = "ready"  # answers requests that name it, and all others when live
    DRAINING = "draining"  # takes no new request, finishes those it holds
    FAILED = "failed"  # could not be loaded; the reason is kept


TRANSITIONS: dict[State, frozenset[State]] = {
    State.AVAILABLE: frozenset({State.LOADING}),
    State.LOADING: frozenset({State.READY, State.FAILED}),
    State.READY: frozenset({State.DRAINING}),
    State.DRAINING: frozenset({State.AVAILABLE}),
    State.FAILED: frozenset({State.LOADING}),
}


def check_transition(before: State, after: State) -> None:
    """An illegal transition: a bug in the server, not bad input."""
    assert after in TRANSITIONS[before], f"illegal transition {before.name} -> {after.name}"


def versions_to_unload(loaded: list[int], live: int, previous: int, pinned: frozenset[int]) -> list[int]:
    """Loaded versions that can be unloaded: not live, not kept warm for a rollback, not loaded by explicit request."""
    return [version for version in loaded if version not in {live, previous} | pinned]
