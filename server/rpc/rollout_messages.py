"""Rollouts as the admin port takes and tells them."""

from itertools import pairwise

from onnxpress.protos import admin_pb2 as pb
from onnxpress.server.errors import InvalidRequestError
from onnxpress.server.rollouts.controller import Progress
from onnxpress.server.rollouts.evidence import CLEARS, CONVICTS
from onnxpress.server.rollouts.guards import FLOORS
from onnxpress.server.versions.rollout import GuardPolicy, Plan, RolloutAction, Step

STEPS_MAX = 20
WEIGHT_MIN, WEIGHT_MAX = 0.01, 99.99  # per cent; one place of 10,000
YEAR_S = 365 * 24 * 3600


def plan_of(message: pb.RolloutPlan) -> Plan:
    """Raises InvalidRequestError that names what is wrong."""
    steps = tuple(Step(one.weight, one.baking_s, one.calls_min) for one in message.steps)
    if not 1 <= len(steps) <= STEPS_MAX:
        raise InvalidRequestError(f"rollout.steps must have 1 to {STEPS_MAX} steps, got {len(steps)}")
    for step in steps:
        if not WEIGHT_MIN <= step.weight <= WEIGHT_MAX:
            raise InvalidRequestError(
                f"a step's weight must be {WEIGHT_MIN} to {WEIGHT_MAX} per cent, got {step.weight:g}"
            )
        if step.baking_s > YEAR_S:
            raise InvalidRequestError(f"a step's baking_s must be at most a year, got {step.baking_s}")
    if any(after.weight <= before.weight for before, after in pairwise(steps)):
        weights = ", ".join(f"{step.weight:g}" for step in steps)
        raise InvalidRequestError(f"the weights of a rollout must grow from step to step, got {weights}")
    guards = {}
    for one in message.guards:
        if one.guard not in FLOORS:
            raise InvalidRequestError(f"there is no guard {one.guard[:64]!r}; there are {', '.join(FLOORS)}")
        floor = one.floor if one.HasField("floor") else None
        if floor is not None and not 0 < floor < 1:
            raise InvalidRequestError(f"the floor of guard {one.guard!r} must be between 0 and 1, got {floor:g}")
        guards[one.guard] = GuardPolicy(one.off, floor)
    return Plan(steps, guards, message.advance_without_evidence)


def action_of(request: pb.ChangeRolloutRequest) -> RolloutAction:
    """Raises InvalidRequestError."""
    for action in RolloutAction:
        if request.action == pb.RolloutAction.Value(f"ROLLOUT_ACTION_{action.name}"):
            return action
    raise InvalidRequestError(f"action must be one of {', '.join(RolloutAction.__members__)}, got {request.action}")


def to_progress(progress: Progress) -> pb.RolloutProgress:
    return pb.RolloutProgress(
        step_calls=progress.step_calls,
        next=progress.next,
        guards=[
            pb.GuardReading(
                guard=one.guard,
                evidence=one.evidence,
                convicts_at=CONVICTS,
                excess=one.excess,
                floor=one.floor,
                absence=one.absence,
                clears_at=CLEARS,
                text=one.text,
            )
            for one in progress.readings
        ],
    )
