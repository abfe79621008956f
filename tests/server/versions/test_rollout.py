"""Rollouts as a part of the desired state, and what each action makes of one."""

from dataclasses import replace

import pytest

from onnxpress.packages.errors import RefusedPackageError
from onnxpress.protos import deployment_pb2 as pb
from onnxpress.server.errors import NothingToRollBackError, RolloutStateError
from onnxpress.server.versions.desired import Desired
from onnxpress.server.versions.rollout import (
    ACTIVE,
    GuardPolicy,
    Plan,
    Rollout,
    RolloutAction,
    RolloutState,
    Step,
    begin,
)
from onnxpress.server.versions.rollout_message import from_message, to_message
from onnxpress.server.versions.targets import begun, changed, deployed, rolled_back

NOW = 1.8e9
LATER = NOW + 300
PLAN = Plan((Step(10, 60, 500), Step(50, 120, 500)), {"slow": GuardPolicy(off=True), "scores": GuardPolicy(floor=0.2)})
LIVE = Desired("churn", 2, 7, (1,))


def running(step: int = 0, state: RolloutState = RolloutState.RUNNING) -> Desired:
    return replace(LIVE, rollout=replace(begin(8, 3, PLAN, NOW), step=step, state=state), epoch=8)


def test_a_rollout_leaves_the_live_version() -> None:
    """The candidate gets the weight of the first step; the live version and the history stay."""
    target = begun(LIVE, 3, PLAN, NOW)
    assert (target.version, target.history, target.incoming) == (2, (1,), 3)
    assert target.rollout == Rollout(8, 3, PLAN, 0, NOW, RolloutState.RUNNING, "it began")
    assert target.rollout.places == 1000


@pytest.mark.parametrize(
    ("desired", "candidate", "message"),
    [
        (Desired("churn", 0, 0), 3, "no live version to compare with"),
        (LIVE, 2, "version 2 of model 'churn' is live already"),
        (running(), 4, "version 3 of model 'churn' is being rolled out"),
    ],
)
def test_a_rollout_that_cannot_begin(desired: Desired, candidate: int, message: str) -> None:
    """The refusal names the version that is in the way."""
    with pytest.raises(RolloutStateError, match=message):
        begun(desired, candidate, PLAN, NOW)


def test_advancing_and_promoting() -> None:
    """Steps follow each other; a promotion makes the candidate live, with the former live version in the history."""
    advanced = changed(running(), RolloutAction.ADVANCE, "good", LATER)
    assert advanced.rollout is not None
    assert (advanced.version, advanced.rollout.step, advanced.rollout.step_since) == (2, 1, LATER)
    assert advanced.rollout.places == 5000
    promoted = changed(running(step=1), RolloutAction.PROMOTE, "good", LATER)
    assert (promoted.version, promoted.history, promoted.incoming) == (3, (1, 2), 0)
    assert promoted.rollout is not None
    assert (promoted.rollout.state, promoted.rollout.places) == (RolloutState.PROMOTED, 0)


@pytest.mark.parametrize(
    ("action", "state"),
    [
        (RolloutAction.ROLL_BACK, RolloutState.ROLLED_BACK),
        (RolloutAction.ABORT, RolloutState.ABORTED),
        (RolloutAction.PAUSE, RolloutState.PAUSED),
    ],
)
def test_actions_that_keep_the_live_version(action: RolloutAction, state: RolloutState) -> None:
    """The rollout says why it is in its state; a candidate never enters the history before it is live."""
    target = changed(running(), action, "why", LATER)
    assert (target.version, target.history) == (2, (1,))
    assert target.rollout is not None
    assert (target.rollout.state, target.rollout.reason) == (state, "why")
    assert target.incoming == (3 if state in ACTIVE else 0)


@pytest.mark.parametrize(
    ("desired", "action", "message"),
    [
        (LIVE, RolloutAction.PAUSE, "model 'churn' has no rollout"),
        (running(state=RolloutState.ABORTED), RolloutAction.ADVANCE, "is aborted"),
        (running(), RolloutAction.RESUME, "is not paused"),
        (running(step=1), RolloutAction.ADVANCE, "at its last step"),
        (running(state=RolloutState.PAUSED), RolloutAction.ADVANCE, "is paused: resume it first"),
    ],
)
def test_actions_out_of_turn(desired: Desired, action: RolloutAction, message: str) -> None:
    """Each says in which state the rollout is."""
    with pytest.raises(RolloutStateError, match=message):
        changed(desired, action, "", NOW)


def test_a_paused_rollout_can_be_resumed_and_rolled_back() -> None:
    """Weights stay while it is paused, and so does the step."""
    paused = running(step=1, state=RolloutState.PAUSED)
    assert paused.rollout is not None
    assert paused.rollout.places == 5000
    resumed = changed(paused, RolloutAction.RESUME, "", NOW).rollout
    assert resumed is not None
    assert (resumed.state, resumed.step) == (RolloutState.RUNNING, 1)
    assert rolled_back(paused, "", NOW).incoming == 0


def test_a_rollback_takes_the_candidate_out_first() -> None:
    """While a rollout is active the live version stays; without one a rollback goes one version back."""
    first = rolled_back(running(), "", LATER)
    assert (first.version, first.history) == (2, (1,))
    assert first.rollout is not None
    assert first.rollout.state is RolloutState.ROLLED_BACK
    second = rolled_back(replace(running(), rollout=first.rollout), "", LATER)
    assert (second.version, second.history) == (1, ())
    with pytest.raises(NothingToRollBackError):
        rolled_back(replace(running(), rollout=first.rollout, history=()), "", LATER)


@pytest.mark.parametrize(("version", "state"), [(3, RolloutState.PROMOTED), (4, RolloutState.ABORTED)])
def test_a_deploy_ends_a_rollout(version: int, state: RolloutState) -> None:
    """Deploying the candidate promotes it; deploying another version aborts it; both say so."""
    target = deployed(running(), version)
    assert (target.version, target.history) == (version, (1, 2))
    assert target.rollout is not None
    assert (target.rollout.state, target.rollout.reason) == (state, f"version {version} was deployed")
    assert deployed(LIVE, 3).rollout is None


def test_salts_fit_the_hash() -> None:
    """The longest model name gives a salt of at most 64 bytes, and two rollouts of it have different ones."""
    one, two = (begin(id_, 3, PLAN, NOW).salt("m" * 200) for id_ in (8, 9))
    assert len(one) <= 64
    assert one != two
    assert begin(7, 3, PLAN, NOW).salt("churn") == b"churn/7"


@pytest.mark.parametrize("state", RolloutState)
def test_a_round_trip(state: RolloutState) -> None:
    """Every field survives deployment.json."""
    rollout = Rollout(8, 3, replace(PLAN, shadow=12.5, hold=True), 1, NOW, state, "why")
    assert from_message(to_message(rollout)) == rollout


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda m: m.ClearField("state"), "needs an id, a candidate and a state"),
        (lambda m: m.ClearField("candidate"), "needs an id, a candidate and a state"),
        (lambda m: m.ClearField("steps"), "it has 0 steps, not 1"),
    ],
)
def test_a_rollout_that_cannot_be(edit, message: str) -> None:
    """A file that somebody edited by hand is refused with the reason."""
    wrong = pb.Rollout()
    wrong.CopyFrom(to_message(begin(8, 3, PLAN, NOW)))
    edit(wrong)
    with pytest.raises(RefusedPackageError, match=message):
        from_message(wrong)
