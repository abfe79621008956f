"""The states of a version and which changes between them are legal. Pure: no I/O, no clock."""

from enum import Enum


class State(Enum):
    """Published after it is true, withdrawn before it stops being so."""

    AVAILABLE = "available"  # on disk, not in memory
    LOADING = "loading"  # being read, checked and warmed up; answers nothing yet
    READY = "ready"  # answers requests that name it, and all others when live
    DRAINING = "draining"  # takes no new request, finishes what it holds
    FAILED = "failed"  # could not be loaded; the reason is kept


TRANSITIONS: dict[State, frozenset[State]] = {
    State.AVAILABLE: frozenset({State.LOADING}),
    State.LOADING: frozenset({State.READY, State.FAILED}),
    State.READY: frozenset({State.DRAINING}),
    State.DRAINING: frozenset({State.AVAILABLE}),
    State.FAILED: frozenset({State.LOADING}),
}


def check_transition(before: State, after: State) -> None:
    """An illegal change of state is a bug of ours, not an input."""
    assert after in TRANSITIONS[before], f"illegal transition {before.name} -> {after.name}"


def versions_to_unload(loaded: list[int], live: int, previous: int, pinned: frozenset[int]) -> list[int]:
    """Loaded versions that nothing needs: neither live, nor warm for a rollback, nor loaded by explicit request."""
    return [version for version in loaded if version not in {live, previous} | pinned]
