"""A rollout as deployment.json stores it."""

from onnxpress.packages.errors import RefusedPackageError
from onnxpress.protos import deployment_pb2 as pb
from onnxpress.server.versions.rollout import GuardPolicy, Plan, Rollout, RolloutState, Step


def to_message(rollout: Rollout) -> pb.Rollout:
    plan = rollout.plan
    message = pb.Rollout(
        id=rollout.id,
        candidate=rollout.candidate,
        steps=[pb.RolloutStep(weight=one.weight, baking_s=one.baking_s, calls_min=one.calls_min) for one in plan.steps],
        step=rollout.step,
        state=f"ROLLOUT_STATE_{rollout.state.name}",
        reason=rollout.reason,
        guards=[pb.GuardPolicy(guard=name, off=one.off, floor=one.floor) for name, one in plan.guards.items()],
        advance_without_evidence=plan.advance_without_evidence,
        shadow=plan.shadow,
        hold=plan.hold,
    )
    message.step_since.FromNanoseconds(round(rollout.step_since * 1e6) * 1000)
    return message


def from_message(message: pb.Rollout) -> Rollout:
    """Raises RefusedPackageError for a rollout that cannot be."""
    name = pb.RolloutState.Name(message.state).removeprefix("ROLLOUT_STATE_")
    if name not in RolloutState.__members__ or not message.id or not message.candidate:
        raise RefusedPackageError("its rollout is not valid: it needs an id, a candidate and a state")
    if message.step >= len(message.steps):
        raise RefusedPackageError(
            f"its rollout is not valid: it has {len(message.steps)} steps, not {message.step + 1}"
        )
    steps = tuple(Step(one.weight, one.baking_s, one.calls_min) for one in message.steps)
    guards = {one.guard: GuardPolicy(one.off, one.floor if one.HasField("floor") else None) for one in message.guards}
    return Rollout(
        message.id,
        message.candidate,
        Plan(steps, guards, message.advance_without_evidence, message.shadow, message.hold),
        message.step,
        message.step_since.ToNanoseconds() / 1e9,
        RolloutState[name],
        message.reason,
    )
