"""What is decided, and the sentence that says why."""

from dataclasses import replace

import pytest

from onnxpress.server.rollouts.decide import decide
from onnxpress.server.rollouts.guards import Guards, Reading
from onnxpress.server.rollouts.windows import Arm, Window
from onnxpress.server.versions.rollout import GuardPolicy, Plan, Rollout, RolloutAction, RolloutState, Step, begin

NOW = 1.8e9
ROLLOUT = begin(8, 3, Plan((Step(10, 60, 500), Step(50, 60, 500))), NOW)
GOOD = Window(Arm(calls=450, checked=450, runs=100), Arm(calls=50, checked=50, runs=20))
BAD = Window(Arm(calls=450, runs=100), Arm(calls=50, errors=5, runs=20))


def after(*windows: Window, policies: dict[str, GuardPolicy] | None = None) -> Guards:
    guards = Guards(policies)
    for window in windows:
        guards.add(window)
    return guards


def decided(guards: Guards, rollout: Rollout = ROLLOUT, step_s: float = 100.0):
    return decide(rollout, guards.readings(), guards.step_calls, step_s)


@pytest.mark.parametrize("state", [RolloutState.RUNNING, RolloutState.PAUSED])
def test_harm_rolls_back(state: RolloutState) -> None:
    """At any time, also while it is paused; the sentence has the counts of both versions."""
    decision = decided(after(*[BAD] * 5), replace(ROLLOUT, state=state), step_s=1.0)
    assert decision.action is RolloutAction.ROLL_BACK
    assert decision.reason.startswith(
        "errors: 25 of 250 calls failed with the candidate, 0 of 2,250 with the champion (ln E "
    )


def test_a_step_lasts_its_time() -> None:
    """However good the candidate is."""
    decision = decided(after(*[GOOD] * 30), step_s=48.0)
    assert (decision.action, decision.reason) == (None, "50 % in 12 s at the earliest")


def test_a_step_waits_for_calls() -> None:
    """Low traffic holds a rollout where it is, and says so."""
    decision = decided(after(GOOD, GOOD))
    assert (decision.action, decision.reason) == (None, "50 % waits for calls: 100 of 500")


def test_a_step_waits_for_evidence() -> None:
    """Enough calls, and one failure too many to exclude that 1 % fail."""
    guards = after(*[GOOD] * 9, Window(Arm(calls=450, errors=5), Arm(calls=50, errors=1)))
    decision = decided(guards)
    assert decision.action is None
    assert decision.reason.startswith("50 % waits for evidence: ")


@pytest.mark.parametrize(("step", "action"), [(0, RolloutAction.ADVANCE), (1, RolloutAction.PROMOTE)])
def test_a_good_candidate_advances(step: int, action: RolloutAction) -> None:
    """To the next step, and from the last one to all calls."""
    decision = decided(after(*[GOOD] * 20), replace(ROLLOUT, step=step))
    assert decision.action is action
    assert decision.reason.startswith("1,000 calls in 100 s without harm: ")


def test_time_alone_if_it_was_asked_for() -> None:
    """For models with a few calls a day; the sentence says how little was seen."""
    by_time = replace(ROLLOUT, plan=replace(ROLLOUT.plan, advance_without_evidence=True))
    decision = decided(after(GOOD), by_time)
    assert decision.action is RolloutAction.ADVANCE
    assert "advanced by time" in decision.reason


def test_a_paused_rollout_stays() -> None:
    """It is not advanced by anybody but a person."""
    assert decided(after(*[GOOD] * 20), replace(ROLLOUT, state=RolloutState.PAUSED)).action is None


def test_guards_can_be_switched_off_and_tuned() -> None:
    """Without the guard nothing is said of errors; with a floor of 0.2 an excess of 0.1 is tolerated."""
    off = after(*[BAD] * 5, policies={"errors": GuardPolicy(off=True)})
    assert "errors" not in {one.guard for one in off.readings()}
    assert decided(off).action is not RolloutAction.ROLL_BACK
    tolerant = after(*[BAD] * 5, policies={"errors": GuardPolicy(floor=0.2)})
    assert decided(tolerant).action is not RolloutAction.ROLL_BACK


@pytest.mark.parametrize(
    ("window", "guard"),
    [
        (Window(Arm(calls=450), Arm(calls=50, refused=5)), "refused"),
        (Window(Arm(calls=450, checked=450), Arm(calls=50, checked=50, invalid=5)), "invalid"),
        (Window(Arm(calls=450, runs=100, slow_q90=10), Arm(calls=50, runs=20, slow_q90=18, slow_q99=15)), "slow"),
        (Window(Arm(calls=450), Arm(calls=50), pairs=50, flips=45), "disagree"),
        (
            Window(Arm(calls=450, bins=(45,) * 10), Arm(calls=50, bins=(0,) * 9 + (50,))),
            "scores",
        ),
    ],
)
def test_each_guard_convicts(window: Window, guard: str) -> None:
    """Its own kind of harm, and no other guard does."""
    readings = after(*[window] * 20).readings()
    assert [one.guard for one in readings if one.convicts] == [guard]
    assert decided(after(*[window] * 20)).reason.startswith(f"{guard}: ")


def test_a_new_step_shows_the_absence_of_harm_anew() -> None:
    """What was seen at 10 % does not clear 50 %; evidence of harm is kept."""
    guards = after(*[GOOD] * 20)
    before = {one.guard: one for one in guards.readings()}
    guards.start_step()
    after_ = {one.guard: one for one in guards.readings()}
    assert guards.step_calls == 0
    assert before["errors"].clears
    assert not after_["errors"].clears
    assert after_["errors"].evidence == before["errors"].evidence


def test_the_same_windows_give_the_same_readings() -> None:
    """A rollout can be replayed; windows of two observers can be merged in any order."""
    parts = [GOOD, BAD, Window(Arm(calls=3), Arm(calls=1, checked=1, invalid=1), 5, 1)]
    one, two = sum(parts, Window()), sum(reversed(parts), Window())
    assert one == two
    assert after(one, GOOD).readings() == after(two, GOOD).readings()


def test_readings_are_values() -> None:
    """A guard convicts with evidence and excess together; one alone is not enough."""
    reading = Reading("errors", 7.0, 0.1, 0.0005, 0.0, "")
    assert reading.convicts
    assert not replace(reading, excess=0.0001).convicts
    assert not replace(reading, evidence=6.0).convicts


def test_a_held_step_waits_for_somebody() -> None:
    """An A/B test is never promoted by itself, however good the candidate is; guards still roll back."""
    held = replace(ROLLOUT, plan=replace(ROLLOUT.plan, hold=True), step=1)
    decision = decided(after(*[GOOD] * 50), held, step_s=1e6)
    assert (decision.action, decision.reason.split(":")[0]) == (None, "50 % is held until somebody decides")
    assert decided(after(*[GOOD] * 50), replace(held, step=0)).action is RolloutAction.ADVANCE
    assert decided(after(*[BAD] * 5), held).action is RolloutAction.ROLL_BACK


def test_a_step_of_copies_only() -> None:
    """Copies show that calls do not fail; their run times say nothing, so no step of weight 0 waits for these."""
    copies = replace(ROLLOUT, plan=replace(ROLLOUT.plan, steps=(Step(0, 60, 500), Step(10, 60, 500)), shadow=100))
    seen = Window(Arm(calls=500, checked=500, runs=100), copies=Arm(calls=500, checked=500))
    decision = decided(after(seen, seen), copies)
    assert decision.action is RolloutAction.ADVANCE
    assert decision.reason.startswith("1,000 calls in 100 s without harm: ")
    with_calls = decided(after(seen, seen), replace(copies, step=1))
    assert (with_calls.action, "slow" in with_calls.reason) == (None, True)
    failing = Window(Arm(calls=500), copies=Arm(calls=500, errors=25))
    assert decided(after(*[failing] * 4), copies).action is RolloutAction.ROLL_BACK


@pytest.mark.parametrize(("floor", "action"), [(0.01, RolloutAction.ROLL_BACK), (0.5, None), (None, None)])
def test_a_difference_that_is_not_tolerated(floor: float | None, action: RolloutAction | None) -> None:
    """Off by default, since a better version answers differently; with a floor one row beyond it is enough."""
    policies = {} if floor is None else {"difference": GuardPolicy(floor=floor)}
    decision = decided(after(Window(pairs=1000, largest=0.25), policies=policies))
    assert decision.action is action
    if action is not None:
        assert "the scores of 1,000 rows that both answered differ by 0.25 at most" in decision.reason
