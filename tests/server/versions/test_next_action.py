"""What is done next, for what is desired and what is served."""

import pytest

from onnxpress.server.versions.lifecycle import State
from onnxpress.server.versions.next_action import (
    RETRY_MAX_S,
    Action,
    Failure,
    Load,
    Observed,
    Publish,
    Rest,
    Unload,
    Wanted,
    next_action,
)

A, L, R, D, F = State.AVAILABLE, State.LOADING, State.READY, State.DRAINING, State.FAILED
NOW = 100.0
DUE, NOT_DUE = Failure("no", 1, NOW), Failure("no", 1, NOW + 0.1)


def served(version: int, epoch: int, failures: dict[int, Failure] | None = None, **states: State) -> Observed:
    return Observed(version, epoch, {int(name[1:]): state for name, state in states.items()}, failures or {})


TABLE: list[tuple[str, Wanted, Observed, Action]] = [
    ("nothing is desired", Wanted(0, 0, 0), served(0, 0), Rest()),
    ("as desired", Wanted(2, 1, 5), served(2, 5, v1=R, v2=R), Rest()),
    # To a new version.
    ("never loaded", Wanted(2, 0, 5), served(0, 0), Load(2)),
    ("on disk", Wanted(2, 1, 5), served(1, 4, v1=R, v2=A), Load(2)),
    ("failed long ago", Wanted(2, 1, 5), served(1, 4, v1=R, v2=F), Load(2)),
    ("being loaded", Wanted(2, 1, 5), served(1, 4, v1=R, v2=L), Rest()),
    ("going away first", Wanted(2, 1, 5), served(1, 4, v1=R, v2=D), Rest()),
    ("loaded", Wanted(2, 1, 5), served(1, 4, v1=R, v2=R), Publish()),
    ("loaded, and much else to do", Wanted(2, 1, 5), served(7, 4, v2=R, v3=R, v7=R), Publish()),
    ("nothing answers yet", Wanted(2, 0, 0), served(0, 0, v2=R), Publish()),
    ("the same version in another epoch", Wanted(2, 1, 6), served(2, 5, v1=R, v2=R), Publish()),
    # The desired version cannot be loaded: what answers goes on.
    ("not due", Wanted(2, 1, 5), served(1, 4, {2: NOT_DUE}, v1=R, v2=F), Rest()),
    ("due", Wanted(2, 1, 5), served(1, 4, {2: DUE}, v1=R, v2=F), Load(2)),
    ("gone from the disk", Wanted(2, 1, 5), served(1, 4, {2: NOT_DUE}, v1=R), Rest()),
    ("what answers is not unloaded", Wanted(2, 1, 5), served(9, 4, {2: NOT_DUE}, v1=R, v2=F, v9=R), Rest()),
    ("the rollback's target is loaded", Wanted(2, 1, 5), served(9, 4, {2: NOT_DUE}, v1=A, v2=F, v9=R), Load(1)),
    ("back to what answers", Wanted(1, 0, 6), served(1, 4, {2: NOT_DUE}, v1=R, v2=F), Publish()),
    # The rollback's target.
    ("not warm", Wanted(2, 1, 5), served(2, 5, v1=A, v2=R), Load(1)),
    ("not on disk", Wanted(2, 1, 5), served(2, 5, {1: NOT_DUE}, v2=R), Rest()),
    ("room is made first", Wanted(2, 1, 5), served(2, 5, v1=A, v2=R, v3=R), Unload((3,))),
    # What nobody needs.
    ("former versions", Wanted(3, 2, 5), served(3, 5, v1=R, v2=R, v3=R, v4=R), Unload((1, 4))),
    ("kept by request", Wanted(3, 2, 5, kept=frozenset({1})), served(3, 5, v1=R, v2=R, v3=R), Rest()),
    ("not loaded anyway", Wanted(3, 0, 5), served(3, 5, v1=A, v2=F, v3=R, v4=D), Rest()),
    # Unloaded by request.
    ("all goes", Wanted(3, 2, 5, suspended=True), served(3, 5, v2=R, v3=R), Unload((2, 3))),
    ("all is gone", Wanted(3, 2, 5, suspended=True), served(0, 5, v2=A, v3=A), Rest()),
    ("but one", Wanted(3, 2, 5, suspended=True, kept=frozenset({2})), served(3, 5, v2=R, v3=R), Unload((3,))),
]


@pytest.mark.parametrize(
    ("wanted", "observed", "action"), [row[1:] for row in TABLE], ids=[row[0].replace(" ", "_") for row in TABLE]
)
def test_next_action(wanted: Wanted, observed: Observed, action: Action) -> None:
    """Each row of the table."""
    assert next_action(wanted, observed, NOW) == action


def test_waits_double_up_to_a_limit() -> None:
    """A version that fails again and again is tried after 1, 2, 4 s and so on, and never less often than the limit."""
    failure, waits = None, []
    for _ in range(40):
        failure = Failure.after(failure, "no", NOW)
        waits.append(failure.retry_at - NOW)
    assert waits[:9] == [1, 2, 4, 8, 16, 32, 64, 128, 256]
    assert set(waits[9:]) == {RETRY_MAX_S}
    assert failure is not None
    assert failure.attempts == 40


def test_it_comes_to_rest() -> None:
    """From every combination of states, carrying out what is said leads to rest with the desired version live."""
    for one in State:
        for two in State:
            for live in (0, 1, 2, 3):
                states = {1: one, 2: two, 3: R}
                if live and states[live] is not R:
                    continue
                wanted, at, epoch = Wanted(2, 1, 5), live, 4
                for _ in range(10):
                    match next_action(wanted, Observed(at, epoch, states), NOW):
                        case Load(version):
                            states[version] = R
                        case Publish():
                            at, epoch = 2, 5
                        case Unload(versions):
                            states |= dict.fromkeys(versions, A)
                        case Rest():
                            break
                else:
                    raise AssertionError((one, two, live))
                settled = states[2] is R and states[3] is A
                assert (at, epoch) == (2, 5) if settled else two in (L, D)
