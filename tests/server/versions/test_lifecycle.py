"""Which changes of a version's state are legal, and which versions nobody needs any more."""

import pytest

from onnxpress.server.versions.lifecycle import TRANSITIONS, State, check_transition, versions_to_unload


@pytest.mark.parametrize("before", State)
@pytest.mark.parametrize("after", State)
def test_transitions(before: State, after: State) -> None:
    """What the table names passes, everything else is a bug and asserts."""
    if after in TRANSITIONS[before]:
        check_transition(before, after)
    else:
        with pytest.raises(AssertionError, match=f"{before.name} -> {after.name}"):
            check_transition(before, after)


def test_every_state_can_be_left() -> None:
    """No state is a trap: from each there is a way to READY."""
    for start in State:
        reached, todo = set(), [start]
        while todo:
            state = todo.pop()
            if state not in reached:
                reached.add(state)
                todo += TRANSITIONS[state]
        assert State.READY in reached


@pytest.mark.parametrize(
    ("loaded", "live", "previous", "pinned", "unloaded"),
    [
        ([1, 2], 2, 1, (), []),  # live and warm for a rollback stay
        ([1, 2, 3], 3, 2, (), [1]),  # the one before goes
        ([1, 2, 3], 3, 2, (1,), []),  # unless somebody asked for it
        ([1, 2, 3], 2, 0, (), [1, 3]),  # a refused deploy leaves nothing loaded
        ([1], 0, 0, (), [1]),  # nothing live, nothing needed
        ([], 1, 2, (), []),
    ],
)
def test_versions_to_unload(
    loaded: list[int], live: int, previous: int, pinned: tuple[int, ...], unloaded: list[int]
) -> None:
    """Loaded versions go unless they are live, warm for a rollback or asked for."""
    assert versions_to_unload(loaded, live, previous, frozenset(pinned)) == unloaded
