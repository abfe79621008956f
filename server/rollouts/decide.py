"""What to do with a rollout now, and why. Pure: no I/O, no clock."""

from collections.abc import Sequence
from dataclasses import dataclass

from onnxpress.server.rollouts.evidence import CLEARS, CONVICTS
from onnxpress.server.rollouts.guards import Reading
from onnxpress.server.versions.rollout import Rollout, RolloutAction, RolloutState


@dataclass(frozen=True)
class Decision:
    """action: None to hold. reason: one sentence with its numbers."""

    action: RolloutAction | None
    reason: str


def decide(  # noqa: PLR0911 -- one return for each decision
    rollout: Rollout, readings: Sequence[Reading], step_calls: int, step_s: float
) -> Decision:
    """The decision after the windows so far.

    `step_calls`: calls of the candidate in the current step; `step_s`: seconds since it began.
    """
    guilty = max((one for one in readings if one.convicts), key=lambda one: one.evidence, default=None)
    if guilty is not None:
        return Decision(
            RolloutAction.ROLL_BACK, f"{guilty.guard}: {guilty.text} (ln E {guilty.evidence:.1f} of {CONVICTS:.1f})"
        )
    step, last = rollout.current, rollout.last
    if rollout.state is RolloutState.PAUSED:
        return Decision(None, "paused")
    if not step.weight:  # copies are run when there is time, so how long they take says nothing
        readings = [one for one in readings if one.guard != "slow"]
    if last and rollout.plan.hold:
        return Decision(None, f"{step.weight:g} % is held until somebody decides: {_weakest(readings)}")
    action = RolloutAction.PROMOTE if last else RolloutAction.ADVANCE
    after = "the promotion" if last else f"{rollout.plan.steps[rollout.step + 1].weight:g} %"
    if step_s < step.baking_s:
        return Decision(None, f"{after} in {step.baking_s - step_s:.0f} s at the earliest")
    if rollout.plan.advance_without_evidence:
        return Decision(action, f"{step_calls:,} calls in {step_s:.0f} s, advanced by time: {_weakest(readings)}")
    if step_calls < step.calls_min:
        return Decision(None, f"{after} waits for calls: {step_calls:,} of {step.calls_min:,}")
    if not all(one.clears for one in readings):
        return Decision(None, f"{after} waits for evidence: {_weakest(readings)}")
    return Decision(action, f"{step_calls:,} calls in {step_s:.0f} s without harm: {_weakest(readings)}")


def _weakest(readings: Sequence[Reading]) -> str:
    """The guard that has least shown that nothing is wrong."""
    asked = [one for one in readings if one.absence is not None]
    if not asked:
        return "no guard asks for evidence"
    least = min(asked, key=lambda one: one.absence or 0.0)
    return f"{least.guard}: {least.text} (ln E of no harm {least.absence:.1f} of {CLEARS:.1f})"
