"""What each admin call makes of a deployment. Pure: no I/O, no clock; `now` is an argument."""

from dataclasses import replace

from onnxpress.server.errors import RolloutStateError
from onnxpress.server.versions.desired import Desired, Target
from onnxpress.server.versions.rollback_history import after_deploy, back
from onnxpress.server.versions.rollout import Plan, Rollout, RolloutAction, RolloutState, begin


def deployed(desired: Desired, version: int) -> Target:
    """A deploy of `version` to all calls; it ends an active rollout."""
    rollout = desired.rollout
    if rollout is not None and rollout.active:
        promoted = rollout.candidate == version
        state = RolloutState.PROMOTED if promoted else RolloutState.ABORTED
        rollout = replace(rollout, state=state, reason=f"version {version} was deployed")
    return Target(version, after_deploy(desired.history, desired.version, version), rollout)


def rolled_back(desired: Desired, reason: str, now: float) -> Target:
    """A rollback: takes the candidate of an active rollout out, else goes one version back.

    Raises NothingToRollBackError.
    """
    if desired.candidate:
        return changed(desired, RolloutAction.ROLL_BACK, reason or "it was rolled back by hand", now)
    return Target(*back(desired.model, desired.history), desired.rollout)


def begun(desired: Desired, candidate: int, plan: Plan, now: float) -> Target:
    """A rollout of `candidate` beside the live version. Raises RolloutStateError."""
    if not desired.version:
        raise RolloutStateError(f"model {desired.model!r} has no live version to compare with: deploy one first")
    if candidate == desired.version:
        raise RolloutStateError(f"version {candidate} of model {desired.model!r} is live already")
    if desired.candidate:
        raise RolloutStateError(
            f"version {desired.candidate} of model {desired.model!r} is being rolled out: abort or promote it first"
        )
    return Target(desired.version, desired.history, begin(desired.epoch + 1, candidate, plan, now))


def changed(desired: Desired, action: RolloutAction, reason: str, now: float) -> Target:
    """The deployment after `action` on its rollout. Raises RolloutStateError."""
    rollout = _rollout(desired).after(action, reason, now)
    if action is not RolloutAction.PROMOTE:
        return Target(desired.version, desired.history, rollout)
    version = rollout.candidate
    return Target(version, after_deploy(desired.history, desired.version, version), rollout)


def _rollout(desired: Desired) -> Rollout:
    if desired.rollout is None:
        raise RolloutStateError(f"model {desired.model!r} has no rollout")
    return desired.rollout
